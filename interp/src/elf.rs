//! As much of ELF as it takes to map a file the way the kernel does (`load_elf_binary`, fs/binfmt_elf.c).
//!
//! Bytes in, numbers out: the mapping itself is the binary's business.

use linux_raw_sys::elf::{
    ELFCLASS, ELFDATA, ELFMAG, Elf_Phdr, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, PT_PHDR,
};

/// The page size of x86-64 in bytes; segments are mapped in these.
pub const PAGE: u64 = 4096;

/// How much of a file is read to find its program headers, in bytes. The kernel itself accepts headers
/// anywhere, up to 64 KiB of them; linkers put them right behind the ELF header.
pub const HEAD: usize = 4096;

const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const HEADER: usize = 64;

/// Why a file cannot be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElfError {
    /// Does not begin with the ELF magic.
    NotElf,
    /// ELF, but of another class, byte order or machine than x86-64.
    OtherMachine,
    /// ELF, but neither an executable nor a shared object.
    NotLoadable,
    /// Cut off, or its program headers contradict themselves.
    Malformed,
}

impl ElfError {
    /// For people: what is wrong with the file.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::NotElf => "not an ELF program",
            Self::OtherMachine => "not an x86-64 program",
            Self::NotLoadable => "neither an executable nor a shared object",
            Self::Malformed => "a damaged ELF file",
        }
    }
}

/// A `PT_LOAD` segment; addresses are relative to the load bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where the segment starts in memory.
    pub address: u64,
    /// Where it starts in the file.
    pub offset: u64,
    /// Bytes that come from the file.
    pub file_size: u64,
    /// Bytes in memory; what the file does not give is zero.
    pub memory_size: u64,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

/// The head of a file, checked: its segments can be mapped without further thought.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    headers: &'a [u8],
    /// Entry point relative to the load bias.
    pub entry: u64,
    /// Number of program headers, `AT_PHNUM`.
    pub header_count: u16,
    /// Address of the program headers relative to the load bias, `AT_PHDR`.
    pub header_address: u64,
    /// The file may be loaded anywhere (`ET_DYN`); otherwise the bias is 0.
    pub relocatable: bool,
    /// First address, rounded down to a page.
    pub start: u64,
    /// End of the last segment, rounded up to a page.
    pub end: u64,
    /// File offset and length in bytes of `PT_INTERP`, if there is one.
    pub interpreter: Option<(u64, u64)>,
}

impl<'a> Image<'a> {
    /// Reads the first bytes of a file (up to [`HEAD`]).
    pub fn parse(head: &'a [u8]) -> Result<Self, ElfError> {
        if !head.starts_with(&ELFMAG) {
            return Err(ElfError::NotElf);
        }
        let header = head.get(..HEADER).ok_or(ElfError::Malformed)?;
        let (kind, machine) = (u16_at(header, 16), u16_at(header, 18));
        if header[4] != ELFCLASS || header[5] != ELFDATA || machine != EM_X86_64 {
            return Err(ElfError::OtherMachine);
        }
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(ElfError::NotLoadable);
        }
        let offset = usize::try_from(u64_at(header, 32)).map_err(|_| ElfError::Malformed)?;
        let count = u16_at(header, 56);
        if usize::from(u16_at(header, 54)) != size_of::<Elf_Phdr>() {
            return Err(ElfError::Malformed);
        }
        let length = usize::from(count) * size_of::<Elf_Phdr>();
        let headers =
            offset.checked_add(length).and_then(|end| head.get(offset..end)).ok_or(ElfError::Malformed)?;
        let mut image = Self {
            headers,
            entry: u64_at(header, 24),
            header_count: count,
            header_address: 0,
            relocatable: kind == ET_DYN,
            start: u64::MAX,
            end: 0,
            interpreter: None,
        };
        image.survey(offset as u64)?;
        Ok(image)
    }

    /// The `PT_LOAD` segments in file order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + use<'a> {
        headers(self.headers).filter(|(kind, _)| *kind == PT_LOAD).map(|(_, segment)| segment)
    }

    /// End of the initialised and zeroed data: where the heap may begin.
    pub fn data_end(&self) -> u64 {
        self.segments().map(|segment| segment.address + segment.memory_size).max().unwrap_or(0)
    }

    fn survey(&mut self, header_offset: u64) -> Result<(), ElfError> {
        let mut previous_end = 0;
        let mut declared = None;
        for (kind, segment) in headers(self.headers) {
            match kind {
                PT_LOAD => {
                    let end = segment.address.checked_add(segment.memory_size).ok_or(ElfError::Malformed)?;
                    let file_end = segment.offset.checked_add(segment.file_size);
                    if segment.memory_size < segment.file_size
                        || end > 1 << 47
                        || file_end.is_none()
                        || segment.address < previous_end
                        || segment.address % PAGE != segment.offset % PAGE
                    {
                        return Err(ElfError::Malformed);
                    }
                    previous_end = end;
                    self.start = self.start.min(segment.address & !(PAGE - 1));
                    self.end = (end + PAGE - 1) & !(PAGE - 1);
                    let in_file = segment.offset..segment.offset + segment.file_size;
                    if in_file.contains(&header_offset) {
                        self.header_address = header_offset - segment.offset + segment.address;
                    }
                }
                PT_INTERP => self.interpreter = Some((segment.offset, segment.file_size)),
                PT_PHDR => declared = Some(segment.address),
                _ => {}
            }
        }
        if self.end <= self.start {
            return Err(ElfError::Malformed);
        }
        if let Some(address) = declared {
            self.header_address = address;
        }
        Ok(())
    }
}

/// The build id (`NT_GNU_BUILD_ID`) of a file of which these are the first bytes; empty if it has none there.
///
/// Linkers put its note right behind the program headers. Source: elf(5), "Notes".
#[must_use]
pub fn build_id(head: &[u8]) -> &[u8] {
    let find = || {
        let image = Image::parse(head).ok()?;
        let notes = headers(image.headers).filter(|(kind, _)| *kind == PT_NOTE);
        notes.filter_map(|(_, segment)| notes_in(head, segment)).find_map(build_id_among)
    };
    find().unwrap_or_default()
}

fn notes_in(head: &[u8], segment: Segment) -> Option<&[u8]> {
    let start = usize::try_from(segment.offset).ok()?;
    head.get(start..start.checked_add(usize::try_from(segment.file_size).ok()?)?)
}

fn build_id_among(mut notes: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8; 4] = b"GNU\0";
    while notes.len() >= 12 {
        let (name, description) = (u32_at(notes, 0) as usize, u32_at(notes, 4) as usize);
        let (kind, rest) = (u32_at(notes, 8), &notes[12..]);
        let after_name = rest.get(name.checked_next_multiple_of(4)?..)?;
        if kind == NT_GNU_BUILD_ID && rest.get(..name)? == NAME {
            return after_name.get(..description);
        }
        notes = after_name.get(description.checked_next_multiple_of(4)?..)?;
    }
    None
}

fn headers(bytes: &[u8]) -> impl Iterator<Item = (u32, Segment)> + use<'_> {
    bytes.chunks_exact(size_of::<Elf_Phdr>()).map(|header| {
        let flags = u32_at(header, 4);
        let segment = Segment {
            offset: u64_at(header, 8),
            address: u64_at(header, 16),
            file_size: u64_at(header, 32),
            memory_size: u64_at(header, 40),
            read: flags & PF_R != 0,
            write: flags & PF_W != 0,
            execute: flags & PF_X != 0,
        };
        (u32_at(header, 0), segment)
    })
}

// The callers have checked that `at + N` lies within `bytes`: ELF header and program header have fixed sizes.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(path: &str) -> Vec<u8> {
        let mut bytes = std::fs::read(path).unwrap();
        bytes.truncate(HEAD);
        bytes
    }

    #[test]
    fn the_running_test_program_can_be_mapped() {
        let head = head_of("/proc/self/exe");
        let image = Image::parse(&head).unwrap();
        assert!(image.segments().count() >= 2);
        assert!(image.segments().any(|segment| segment.execute && !segment.write));
        assert!(image.start < image.entry && image.entry < image.end);
        assert!(image.interpreter.is_some());
        assert_eq!(image.header_address, 64);
    }

    #[test]
    fn a_build_id_is_found_where_there_is_one() {
        let note: &[u8] = b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0abc\0";
        let other: &[u8] = b"\x04\0\0\0\x01\0\0\0\x01\0\0\0GNU\0x\0\0\0";
        assert_eq!(build_id_among(note), Some(&b"abc"[..]));
        assert_eq!(build_id_among(&[other, note].concat()), Some(&b"abc"[..]));
        assert_eq!(build_id_among(other), None);
        for cut in 0..note.len() - 1 {
            assert_eq!(build_id_among(&note[..cut]), None, "{cut}");
        }
        assert_eq!(build_id_among(&[0xff; 40]), None);
        assert_eq!(build_id(&head_of("/bin/true")).len(), 20);
        assert_eq!(build_id(b"#!/bin/sh"), b"");
    }

    #[test]
    fn text_and_other_machines_are_told_apart() {
        assert_eq!(Image::parse(b"#!/bin/sh\n").unwrap_err(), ElfError::NotElf);
        assert_eq!(Image::parse(b"").unwrap_err(), ElfError::NotElf);
        let mut head = head_of("/proc/self/exe");
        head[18] = 3; // EM_386
        assert_eq!(Image::parse(&head).unwrap_err(), ElfError::OtherMachine);
        head[18] = 62;
        head[16] = 4; // ET_CORE
        assert_eq!(Image::parse(&head).unwrap_err(), ElfError::NotLoadable);
    }

    #[test]
    fn a_head_cut_anywhere_or_with_any_byte_changed_never_panics() {
        let head = head_of("/proc/self/exe");
        for cut in 0..1024 {
            let _ = Image::parse(&head[..cut]).map(|image| image.segments().count());
        }
        for at in 0..1024 {
            let mut changed = head.clone();
            for value in [0, 0x7f, 0x80, 0xff] {
                changed[at] = value;
                let _ = Image::parse(&changed).map(|image| image.data_end());
            }
        }
    }
}
