//! From a nix-index database to an index in its place: read as a stream, and put there when it is whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sonde_resolve::import::{self as resolve, ImportError};
use sonde_resolve::index::nix_index::Stats;
use sonde_resolve::index::table::{About, OpenError, Table};
use thiserror::Error;

use super::origin::Origin;
use super::registry::{Place, Registry, RegistryError};
use super::symbols::Symbols;
use super::{Index, lists};
use crate::settings::Settings;
use crate::store;

/// Where a new index is to go.
pub(crate) struct Target<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) registry: Registry,
    pub(crate) name: &'a str,
    pub(crate) place: Place,
}

/// A finished import.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) path: PathBuf,
    pub(crate) stats: Stats,
}

/// Why everything was left as it was.
#[derive(Debug, Error)]
pub(crate) enum ImportFailure {
    /// The database is no database, or not one to use.
    #[error("{from}: {source}")]
    Database { from: String, source: ImportError },
    /// The result is not what was written.
    #[error("{from}: {source}")]
    Made { from: String, source: OpenError },
    /// The database could not be opened.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The index could not be put in place.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Imports a file. `watch` may wrap the reader to show how far it is; it is told the file's length.
pub(crate) fn import_file(
    target: &Target<'_>,
    database: &Path,
    watch: impl FnOnce(u64, File) -> Box<dyn Read>,
) -> Result<Imported, ImportFailure> {
    target.registry.check(&target.place)?;
    let failure = |source| ImportFailure::File { path: database.to_owned(), source };
    let (file, length) = open_regular(database).map_err(failure)?;
    let from = database.display().to_string();
    import(target, from, watch(length, file), |_| None)
}

/// A file and its length; folders, devices and pipes are refused.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // Looked at before it is opened: opening a FIFO would wait for a writer.
    let data = std::fs::metadata(path)?;
    if !data.is_file() {
        return Err(io::Error::other("not a regular file; give a nix-index database"));
    }
    Ok((File::open(path)?, data.len()))
}

/// Imports what can be read. `origin` is asked for what to keep beside the index, which it is given the identity of.
pub(super) fn import(
    target: &Target<'_>,
    from: String,
    database: impl Read,
    origin: impl FnOnce(u64) -> Option<Origin>,
) -> Result<Imported, ImportFailure> {
    let imported_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let about = About { source: from.clone(), imported_at };
    let loaded = lists::load(target.settings);
    let made = resolve::import(database, about, &loaded.lists)
        .map_err(|source| ImportFailure::Database { from: from.clone(), source })?;
    let identity =
        Table::open(&made.bytes).map_err(|source| ImportFailure::Made { from, source })?.identity();
    let origin = origin(identity).map(|origin| origin.to_bytes());
    let path = target.registry.install(target.name, &made.bytes, origin.as_deref(), &target.place)?;
    prepare(target.settings);
    Ok(Imported { path, stats: made.stats })
}

/// Does ahead what the next start would have to wait for, and forgets what no index needs any more.
pub(crate) fn prepare(settings: &Settings) {
    // With a configuration that cannot be read, sets are forgotten that have to be made again: no worse.
    let files = Arc::new(store::files(settings).unwrap_or_default());
    if let Ok(index) = Index::open(settings, files.clone()) {
        index.base_cache();
    }
    Symbols::of(settings, files).prune();
}
