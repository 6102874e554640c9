//! A file as bytes, without reading it (mmap(2)).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, UncheckedAdvice};

/// The bytes of a file.
///
/// A file that is truncated while it is looked at ends this process with `SIGBUS`. So what is mapped is store paths,
/// which are read-only, files of our own, which are replaced by rename, and the program that is being started, whose
/// owner harms nobody else. Other foreign files are read.
#[derive(Debug)]
pub(crate) struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps a file that nobody changes in place.
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self(None)); // mmap(2) refuses an empty range
        }
        // SAFETY: the file is not changed while it is mapped, see the type.
        unsafe { Mmap::map(file) }.map(|map| Self(Some(map)))
    }
}

impl MappedFile {
    /// Gives the pages that were read back to the kernel; whichever is read again comes from the file again.
    pub(crate) fn release(&self) {
        if let Some(map) = &self.0 {
            // SAFETY: the mapping is of a file and is never written to, so that no page holds anything else than the
            // file does (madvise(2), MADV_DONTNEED).
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}
