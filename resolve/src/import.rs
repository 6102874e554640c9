//! A nix-index database → the bytes of our index, base cache included: the one place where import and choice
//! meet.

use crate::choose::base_cache;
use crate::index::nix_index::{self, ReadError, Stats};
use crate::index::table::{About, OpenError, TableBuilder};
use crate::ldcache::CacheError;
use crate::lists::Lists;
use std::io::Read;
use thiserror::Error;

/// A finished import.
#[derive(Debug)]
pub struct Import {
    /// The index file's contents.
    pub bytes: Vec<u8>,
    /// What the database held.
    pub stats: Stats,
}

/// Why a database could not be imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is complete and useless.
    #[error(
        "the database lists {executables} programs and not one library: it is a `-small` one, made for finding commands; import the full database (`index-x86_64-linux`, without `-small`)"
    )]
    NoLibraries {
        /// Entries under `/bin/`.
        executables: u64,
    },
    /// The result is not a table.
    #[error(transparent)]
    Table(#[from] OpenError),
    /// The base cache could not be made.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Reads a database and makes an index of it. Needs about 200 MB for a moment.
///
/// # Errors
/// As [`ImportError`].
pub fn import(source: impl Read, about: About, lists: &Lists) -> Result<Import, ImportError> {
    let mut builder = TableBuilder::new();
    let stats = nix_index::read(source, |package| builder.add(package))?;
    if stats.has_no_libraries() {
        return Err(ImportError::NoLibraries { executables: stats.executables });
    }
    let image = builder.build(about, &stats);
    let base_cache = base_cache::build(&[&image.table()?], lists)?;
    Ok(Import { bytes: image.to_bytes(&base_cache), stats })
}
