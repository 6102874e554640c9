//! Bounds-checked reading of one ELF file: header, program headers, addresses → offsets.
//!
//! The only file in which offsets are added; everything else asks for a value at an offset and says what it
//! is reading.

use super::{Class, ElfError, Endian, Kind, Looks};
use std::ops::Range;

/// No path, soname or version is longer (`PATH_MAX`): bytes without a NUL are not read to the end of the
/// file.
pub(super) const LONGEST_NAME: u64 = 4096;
/// The same for a `RUNPATH`, which can list many folders.
pub(super) const LONGEST_PATHS: u64 = 64 * 1024;
/// Files have two or three note segments; a hostile one could list the same megabytes thousands of times.
const MOST_NOTE_SEGMENTS: usize = 64;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
/// `e_phnum` of a file whose real count is kept elsewhere: only core dumps have so many.
const PN_XNUM: u16 = 0xffff;

/// A part of memory that comes from the file (`PT_LOAD`).
struct Load {
    vaddr: u64,
    offset: u64,
    file_size: u64,
}

/// A `PT_NOTE` segment.
pub(super) struct NoteSegment {
    pub(super) range: Range<u64>,
    /// Notes are padded to this, 4 or 8.
    pub(super) align: u64,
}

/// A file whose headers have been read.
pub(super) struct Bytes<'a> {
    data: &'a [u8],
    pub(super) class: Class,
    pub(super) endian: Endian,
    pub(super) machine: u16,
    pub(super) kind: Kind,
    /// Section header table: offset, size of an entry, entries. Not to be relied on: it may be stripped.
    pub(super) sections: (u64, u16, u16),
    loads: Vec<Load>,
    stack_flags: Option<u32>,
    pub(super) interp: Option<u64>,
    pub(super) dynamic: Option<Range<u64>>,
    pub(super) notes: Vec<NoteSegment>,
}

impl<'a> Bytes<'a> {
    pub(super) fn open(data: &'a [u8]) -> Result<Bytes<'a>, ElfError> {
        if !data.starts_with(b"\x7fELF") {
            let short = data.len() < 4 && !data.is_empty() && b"\x7fELF".starts_with(data);
            return Err(if short {
                ElfError::Truncated { what: "the ELF identification", offset: 0 }
            } else {
                ElfError::NotElf(Looks::of(data))
            });
        }
        let ident = |at: usize| {
            data.get(at)
                .copied()
                .ok_or(ElfError::Truncated { what: "the ELF identification", offset: at as u64 })
        };
        let class = match ident(4)? {
            1 => Class::Elf32,
            2 => Class::Elf64,
            other => return Err(ElfError::Unsupported { what: "EI_CLASS", value: other.into() }),
        };
        let endian = match ident(5)? {
            1 => Endian::Little,
            2 => Endian::Big,
            other => return Err(ElfError::Unsupported { what: "EI_DATA", value: other.into() }),
        };
        let mut file = Bytes {
            data,
            class,
            endian,
            machine: 0,
            kind: Kind::Other(0),
            sections: (0, 0, 0),
            loads: Vec::new(),
            stack_flags: None,
            interp: None,
            dynamic: None,
            notes: Vec::new(),
        };
        file.read_headers()?;
        Ok(file)
    }

    fn read_headers(&mut self) -> Result<(), ElfError> {
        const HEADER: &str = "the ELF header";
        self.kind = match self.u16(16, HEADER)? {
            2 => Kind::Executable,
            3 => Kind::SharedObject,
            other => Kind::Other(other),
        };
        self.machine = self.u16(18, HEADER)?;
        let version = self.u32(20, HEADER)?;
        if version != 1 {
            return Err(ElfError::Unsupported { what: "e_version", value: version.into() });
        }
        let wide = self.class == Class::Elf64;
        let (table, sections, tail) = if wide { (32, 40, 54) } else { (28, 32, 42) };
        let table = self.word(table, HEADER)?;
        let sections = self.word(sections, HEADER)?;
        let entry = u64::from(self.u16(tail, HEADER)?);
        let count = self.u16(tail + 2, HEADER)?;
        self.sections = (sections, self.u16(tail + 4, HEADER)?, self.u16(tail + 6, HEADER)?);
        if count == 0 {
            return Ok(());
        }
        if count == PN_XNUM {
            return Err(ElfError::Unsupported { what: "e_phnum", value: count.into() });
        }
        if entry != if wide { 56 } else { 32 } {
            return Err(ElfError::Malformed { what: "program headers are of an unknown size" });
        }
        for index in 0..u64::from(count) {
            self.read_program_header(add(table, index * entry)?)?;
        }
        Ok(())
    }

    fn read_program_header(&mut self, at: u64) -> Result<(), ElfError> {
        const WHAT: &str = "a program header";
        let field = |wide: u64, narrow: u64| if self.class == Class::Elf64 { wide } else { narrow };
        let (flags, offset, vaddr, size, align) =
            (field(4, 24), field(8, 4), field(16, 8), field(32, 16), field(48, 28));
        let kind = self.u32(add(at, 0)?, WHAT)?;
        let flags = self.u32(add(at, flags)?, WHAT)?;
        let offset = self.word(add(at, offset)?, WHAT)?;
        let vaddr = self.word(add(at, vaddr)?, WHAT)?;
        let file_size = self.word(add(at, size)?, WHAT)?;
        let align = self.word(add(at, align)?, WHAT)?;
        let range = offset..add(offset, file_size)?;
        match kind {
            PT_LOAD => {
                if file_size > 0 && range.end > self.data.len() as u64 {
                    return Err(ElfError::Truncated { what: "a segment that must be mapped", offset });
                }
                self.loads.push(Load { vaddr, offset, file_size });
            }
            PT_DYNAMIC => self.dynamic = Some(range),
            PT_INTERP => self.interp = Some(offset),
            PT_NOTE if self.notes.len() < MOST_NOTE_SEGMENTS => {
                self.notes.push(NoteSegment { range, align: if align == 8 { 8 } else { 4 } })
            }
            PT_GNU_STACK => self.stack_flags = Some(flags),
            _ => {}
        }
        Ok(())
    }

    /// glibc takes an absent `PT_GNU_STACK` as a wish for an executable stack.
    pub(super) fn exec_stack(&self) -> bool {
        self.stack_flags.is_none_or(|flags| flags & PF_X != 0)
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.data.len() as u64
    }

    pub(super) fn slice(&self, at: u64, len: u64, what: &'static str) -> Result<&'a [u8], ElfError> {
        let cut = || ElfError::Truncated { what, offset: at };
        let start = usize::try_from(at).map_err(|_| cut())?;
        let end = at.checked_add(len).and_then(|end| usize::try_from(end).ok()).ok_or_else(cut)?;
        self.data.get(start..end).ok_or_else(cut)
    }

    fn array<const N: usize>(&self, at: u64, what: &'static str) -> Result<[u8; N], ElfError> {
        let slice = self.slice(at, N as u64, what)?;
        slice.try_into().map_err(|_| ElfError::Truncated { what, offset: at })
    }

    pub(super) fn u8(&self, at: u64, what: &'static str) -> Result<u8, ElfError> {
        self.array::<1>(at, what).map(|[byte]| byte)
    }

    pub(super) fn u16(&self, at: u64, what: &'static str) -> Result<u16, ElfError> {
        let raw = self.array(at, what)?;
        Ok(if self.endian == Endian::Little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) })
    }

    pub(super) fn u32(&self, at: u64, what: &'static str) -> Result<u32, ElfError> {
        let raw = self.array(at, what)?;
        Ok(if self.endian == Endian::Little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    }

    fn u64(&self, at: u64, what: &'static str) -> Result<u64, ElfError> {
        let raw = self.array(at, what)?;
        Ok(if self.endian == Endian::Little { u64::from_le_bytes(raw) } else { u64::from_be_bytes(raw) })
    }

    /// An address or offset: 4 or 8 bytes by class.
    pub(super) fn word(&self, at: u64, what: &'static str) -> Result<u64, ElfError> {
        match self.class {
            Class::Elf32 => self.u32(at, what).map(u64::from),
            Class::Elf64 => self.u64(at, what),
        }
    }

    /// Bytes of a word.
    pub(super) fn word_size(&self) -> u64 {
        if self.class == Class::Elf64 { 8 } else { 4 }
    }

    /// Where the byte at a virtual address lies in the file.
    pub(super) fn offset_of(&self, vaddr: u64, what: &'static str) -> Result<u64, ElfError> {
        self.loads
            .iter()
            .find_map(|load| {
                let inside = vaddr.checked_sub(load.vaddr)?;
                (inside < load.file_size).then(|| load.offset.checked_add(inside)).flatten()
            })
            .ok_or(ElfError::Malformed { what })
    }

    /// The NUL-terminated string at an offset, as it is in the file; at most `longest` bytes.
    pub(super) fn string(&self, at: u64, longest: u64, what: &'static str) -> Result<&'a [u8], ElfError> {
        let left = self.len().saturating_sub(at);
        let rest = self.slice(at, left.min(longest), what)?;
        match rest.iter().position(|&byte| byte == 0) {
            Some(end) => Ok(rest.get(..end).unwrap_or_default()),
            None if left < longest => Err(ElfError::Truncated { what, offset: at }),
            None => Err(ElfError::Malformed { what: "a name is longer than any path" }),
        }
    }
}

/// Addition that a hostile file cannot wrap.
pub(super) fn add(a: u64, b: u64) -> Result<u64, ElfError> {
    a.checked_add(b).ok_or(ElfError::Malformed { what: "an offset beyond the address space" })
}
