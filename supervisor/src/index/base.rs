//! The prebuilt part of the served cache, for all databases together.
//!
//! Each index file carries the one of its own names. When there are several databases, or lists of the user's own,
//! none of these is right: then one is made of all, kept under a number of what it was made from, and made anew when
//! that changes. That takes a fraction of a second, once; import does it ahead.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sonde_interp::plan::digest;
use sonde_resolve::choose::base_cache;
use sonde_resolve::index::table::Table;
use sonde_resolve::lists::Lists;

use super::registry::FILE_MODE;
use crate::sys::mapped_file::MappedFile;
use crate::sys::whole_file::write;

const MAGIC: &[u8; 8] = b"SONDEBAS";
/// The magic and the length of what follows it, u64, little-endian.
const HEAD: usize = 16;

/// What is not in use is kept for as long: somebody may go back and forth between two configurations.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The cache of several databases, worked out at its first use.
pub(super) struct Base {
    folder: PathBuf,
    combined: OnceLock<Option<Combined>>,
}

enum Combined {
    Kept(MappedFile),
    /// It could not be kept.
    Made(Vec<u8>),
}

impl Base {
    pub(super) fn in_cache(cache: &Path) -> Self {
        Self { folder: cache.join("base"), combined: OnceLock::new() }
    }

    /// The cache for these databases and lists; `added` are the lists that Sonde does not come with.
    pub(super) fn get<'b>(
        &'b self,
        tables: &[&'b Table<MappedFile>],
        lists: &Lists,
        added: &[String],
    ) -> Option<&'b [u8]> {
        if let ([one], []) = (tables, added) {
            return one.base_cache();
        }
        let combined = self.combined.get_or_init(|| {
            let path = self.folder.join(format!("{:016x}.cache", number(tables, added)));
            kept(&path).map(Combined::Kept).or_else(|| self.make(&path, tables, lists))
        });
        match combined.as_ref()? {
            Combined::Kept(file) => file.as_ref().get(HEAD..),
            Combined::Made(bytes) => bytes.get(HEAD..),
        }
    }

    /// Gives back the memory of what was read.
    pub(super) fn release(&self) {
        if let Some(Some(Combined::Kept(file))) = self.combined.get() {
            file.release();
        }
    }

    fn make(&self, path: &Path, tables: &[&Table<MappedFile>], lists: &Lists) -> Option<Combined> {
        let cache = base_cache::build(tables, lists).ok()?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(cache.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&cache);
        match fs::create_dir_all(&self.folder).and_then(|()| write(path, &bytes, FILE_MODE)) {
            Ok(()) => self.sweep(path),
            Err(error) => tracing::debug!(%error, path = %path.display(), "the common cache cannot be kept"),
        }
        Some(Combined::Made(bytes))
    }

    fn sweep(&self, current: &Path) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let age =
                entry.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
            if entry.path() != current && age.is_some_and(|age| age > KEPT) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn kept(path: &Path) -> Option<MappedFile> {
    let file = File::open(path).and_then(|file| MappedFile::open(&file)).ok()?;
    let body = file.as_ref().strip_prefix(MAGIC)?;
    let (length, cache) = body.split_first_chunk()?;
    (u64::from_le_bytes(*length) == cache.len() as u64).then_some(file)
}

/// A digest of what the cache is made from: the databases in their order, the added lists, and this version's rules.
fn number(tables: &[&Table<MappedFile>], added: &[String]) -> u64 {
    let identities = tables.iter().flat_map(|table| table.identity().to_le_bytes());
    let texts = added.iter().flat_map(|text| text.bytes().chain([0]));
    let version = env!("CARGO_PKG_VERSION").bytes();
    digest(&identities.chain(texts).chain(version).collect::<Vec<u8>>())
}
