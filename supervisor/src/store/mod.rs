//! Where store paths live, and how they get there. The only stage of a load that may wait.

mod config;
mod embedded;
mod files;
mod nix;
mod path;
mod realiser;

pub(crate) use config::{ConfigError, StoreConfig, StoreMode};
pub(crate) use embedded::{Condition, EmbeddedError, EmbeddedStore, http_agent};
pub(crate) use files::StoreFiles;
pub(crate) use path::StorePath;
pub(crate) use realiser::{Asked, Realiser};

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::settings::Settings;
use nix::NixStore;

/// A place that can make store paths valid.
pub(crate) trait Store: Send + Sync {
    /// Is there anything at the path? Cheap, and not enough to call it valid: a substitute may be half unpacked.
    fn has(&self, path: &StorePath) -> bool;

    /// Makes the paths and everything that they refer to valid, and protects them from garbage collection by a
    /// root at `root` (and `root-2`, `root-3` … for the second path and on, as Nix names them).
    fn realise(&self, paths: &[StorePath], root: &Path) -> Result<(), StoreError>;
}

/// The store that this user's programs get their libraries from.
pub(crate) struct StoreInUse {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) files: Arc<StoreFiles>,
}

/// Opens the store that is configured; an embedded one that does not exist yet is made.
pub(crate) fn open(settings: &Settings) -> Result<StoreInUse, OpenError> {
    let config = StoreConfig::load(settings)?;
    if !config.wants_embedded(settings.nix_store.is_some()) {
        let store = Arc::new(NixStore::new(settings.nix_store.clone()));
        return Ok(StoreInUse { store, files: Arc::new(StoreFiles::in_place()) });
    }
    let store = config.embedded();
    let root = store.prepare()?;
    let files = StoreFiles::below(root).map_err(EmbeddedError::disk("opening", root))?;
    Ok(StoreInUse { files: Arc::new(files), store: Arc::new(store) })
}

/// The files of the store that is configured, for whoever only looks: nothing is made.
pub(crate) fn files(settings: &Settings) -> Result<StoreFiles, ConfigError> {
    let config = StoreConfig::load(settings)?;
    if !config.wants_embedded(settings.nix_store.is_some()) {
        return Ok(StoreFiles::in_place());
    }
    // An embedded store that does not exist yet has no files.
    Ok(StoreFiles::below(config.embedded().root()).unwrap_or_default())
}

/// Why there is no store to use.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
}

/// Why a store path is not there.
#[derive(Debug, Clone, Error)]
pub(crate) enum StoreError {
    /// No Nix was found on this machine.
    #[error("there is no nix-store command on this machine")]
    NoNix,
    /// The command could not be run.
    #[error("{command}: {reason}")]
    Command { command: String, reason: String },
    /// Nix ran and refused; its own words.
    #[error("{0}")]
    Refused(String),
}
