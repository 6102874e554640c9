//! What the files say that a traced program loads, each read once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use sonde_resolve::elf::ElfFacts;

use crate::sys::mapped_file::MappedFile;

/// Libraries larger than this are not looked into, in bytes.
const LARGEST: u64 = 1 << 30;

/// Device, inode and ctime with its nanoseconds: which file, and in which state.
type Identity = (u64, u64, i64, i64);

/// Files that were read.
#[derive(Default)]
pub(super) struct FactsOnce(HashMap<Identity, Option<Rc<ElfFacts>>>);

impl FactsOnce {
    /// Reads a file once, however many processes load it. Of what `may_be_mapped` ([`MappedFile`]) only what is needed;
    /// others whole, because their owner could truncate them meanwhile.
    pub(super) fn of(&mut self, file: &File, may_be_mapped: bool) -> Option<Rc<ElfFacts>> {
        let data = file.metadata().ok()?;
        let identity = (data.dev(), data.ino(), data.ctime(), data.ctime_nsec());
        let read = || {
            if may_be_mapped {
                return ElfFacts::parse(MappedFile::open(file).ok()?.as_ref()).ok();
            }
            let mut bytes = Vec::new();
            if data.len() > LARGEST {
                return None;
            }
            // A descriptor of its own: the loader's must not move.
            let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
            again.and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)).ok()?;
            ElfFacts::parse(&bytes).ok()
        };
        self.0.entry(identity).or_insert_with(|| read().map(Rc::new)).clone()
    }
}
