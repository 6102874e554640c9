//! Maps an ELF file as the kernel does (`elf_load` and `total_mapping_size`, fs/binfmt_elf.c).

use linux_raw_sys::general::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};
use sonde_interp::elf::{ElfError, HEAD, Image, PAGE, Segment};

use crate::sys::{self, Descriptor, Errno};

/// Where an image is to be placed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Wherever the kernel likes.
    Anywhere,
    /// Exactly here, and only if nothing is there yet.
    At(u64),
    /// Here, if nothing is there yet, or else anywhere.
    Near(u64),
}

/// Why an image is not in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MapError {
    /// The file is not what it should be.
    Elf(ElfError),
    /// The kernel refused.
    System(Errno),
}

impl MapError {
    pub(crate) fn message(self) -> &'static [u8] {
        match self {
            Self::Elf(error) => error.message().as_bytes(),
            Self::System(errno) => crate::say::describe(errno),
        }
    }
}

/// A loader that is mapped: its load bias and its entry point.
pub(crate) struct Loader {
    pub(crate) bias: u64,
    pub(crate) entry: u64,
}

/// Maps a loader.
pub(crate) fn map_loader(file: &Descriptor, image: &Image<'_>, place: Place) -> Result<Loader, MapError> {
    let bias = map_image(file, image, place)?;
    Ok(Loader { bias, entry: image.entry.wrapping_add(bias) })
}

/// The head of a file, kept for as long as its [`Image`] is looked at.
pub(crate) struct Head {
    bytes: [u8; HEAD],
    length: usize,
}

impl Head {
    /// Reads the beginning of a file.
    pub(crate) fn read(file: &Descriptor) -> Result<Self, MapError> {
        let mut head = Self { bytes: [0; HEAD], length: 0 };
        head.length = sys::read_at(file, &mut head.bytes, 0).map_err(MapError::System)?;
        Ok(head)
    }

    /// What it says.
    pub(crate) fn image(&self) -> Result<Image<'_>, MapError> {
        Image::parse(&self.bytes[..self.length]).map_err(MapError::Elf)
    }
}

/// Maps all segments of `image` and returns the load bias: what to add to the addresses in the file.
///
/// The whole span is reserved first, so that nothing of another mapping is ever replaced.
pub(crate) fn map_image(file: &Descriptor, image: &Image<'_>, place: Place) -> Result<u64, MapError> {
    let (wanted, fixed) = match place {
        _ if !image.relocatable => (image.start, MAP_FIXED_NOREPLACE),
        Place::Anywhere => (0, 0),
        Place::At(base) => (base, MAP_FIXED_NOREPLACE),
        Place::Near(base) => (base, 0),
    };
    let span = image.end - image.start;
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | fixed;
    // SAFETY: without MAP_FIXED no mapping is replaced.
    let start = unsafe { sys::map(wanted, span, PROT_NONE, flags, None) }.map_err(MapError::System)?;
    let bias = start.wrapping_sub(image.start);
    for segment in image.segments() {
        // SAFETY: the segment lies within the span just reserved (`Image` checks order and bounds).
        unsafe { map_segment(file, &segment, bias) }.map_err(MapError::System)?;
    }
    Ok(bias)
}

/// # Safety
/// The segment's pages, moved by `bias`, must be reserved for it.
unsafe fn map_segment(file: &Descriptor, segment: &Segment, bias: u64) -> Result<(), Errno> {
    let protection = [(segment.read, PROT_READ), (segment.write, PROT_WRITE), (segment.execute, PROT_EXEC)]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(PROT_NONE, |all, (_, flag)| all | flag);
    let address = segment.address.wrapping_add(bias);
    let within_page = address % PAGE;
    let file_end = address + segment.file_size;
    let memory_end = address + segment.memory_size;
    if segment.file_size > 0 {
        let length = segment.file_size + within_page;
        let source = Some((file, segment.offset - within_page));
        // SAFETY: reserved for this (caller).
        unsafe { sys::map(address - within_page, length, protection, MAP_PRIVATE | MAP_FIXED, source) }?;
    }
    if memory_end == file_end {
        return Ok(());
    }
    let zeroed_from =
        if segment.file_size > 0 { file_end.next_multiple_of(PAGE) } else { address - within_page };
    if segment.file_size > 0 && segment.write && zeroed_from > file_end {
        // SAFETY: the rest of the last file page was just mapped writable, privately.
        unsafe { core::ptr::write_bytes(file_end as *mut u8, 0, (zeroed_from - file_end) as usize) };
    }
    if memory_end > zeroed_from {
        let flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS;
        // SAFETY: reserved for this (caller).
        unsafe { sys::map(zeroed_from, memory_end - zeroed_from, protection, flags, None) }?;
    }
    Ok(())
}
