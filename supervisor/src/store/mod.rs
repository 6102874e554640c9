//! Where store paths live, and how they get there. The only stage of a load that may wait.

mod config;
mod embedded;
mod files;
mod forecast;
mod gate;
mod limits;
mod nix;
mod path;
mod progress;
mod quota;
mod realiser;
mod tally;

pub(crate) use config::{ConfigError, StoreConfig, StoreMode};
#[cfg(feature = "fuzzing")]
pub(crate) use embedded::fuzzing;
pub(crate) use embedded::{Condition, EmbeddedError, EmbeddedStore, http_agent, http_get};
pub(crate) use files::{STORE, StoreFiles};
pub(crate) use forecast::Forecast;
pub(crate) use gate::{Gate, GateError, OpenGate};
pub(crate) use limits::{LimitError, Limits, Sizes, size};
pub(crate) use nix::{DECISIVE, Fallback, NIXPKGS, NixStore};
pub(crate) use path::StorePath;
pub(crate) use progress::{LateProgress, NoProgress, Progress};
pub(crate) use quota::Quota;
pub(crate) use realiser::{Asked, Realiser};
pub(crate) use tally::Tally;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_policy::Policy;
use thiserror::Error;

use crate::rules::Rules;
use crate::settings::Settings;

/// A place that can make store paths valid.
pub(crate) trait Store: Send + Sync {
    /// Is it valid, as far as can be told without asking anybody? The embedded store knows for certain. Of the Nix store
    /// it is whether there is anything at the path, which may be half unpacked unless a root has kept it since it was
    /// valid.
    fn has(&self, path: &StorePath) -> bool;

    /// Where the path's content lies, or would lie.
    fn location(&self, path: &StorePath) -> PathBuf;

    /// What realising these paths would fetch; fetches nothing itself.
    fn sizes(&self, paths: &[StorePath]) -> Result<Sizes, StoreError>;

    /// The same in more detail, for whoever wants to know what could be had before anything is.
    fn forecast(&self, paths: &[StorePath]) -> Result<Forecast, StoreError>;

    /// Makes the paths and everything that they refer to valid, and protects them from garbage collection by a
    /// root at `root` (and `root-2`, `root-3` … for the second path and on, as Nix names them). For paths that are valid
    /// this adds the roots and nothing else. Without `root` nothing protects them but that they are in use.
    #[cfg(test)]
    fn realise(&self, paths: &[StorePath], root: &Path, progress: &dyn Progress) -> Result<(), StoreError> {
        self.realise_through(&OpenGate, paths, Some(root), progress)
    }

    /// The same, if `gate` has nothing against what would be downloaded.
    fn realise_through(
        &self,
        gate: &dyn Gate,
        paths: &[StorePath],
        root: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<(), StoreError>;

    /// Lets go of what the root keeps; one that is not there is no error. The link is all there is of a root: Nix
    /// forgets an indirect root whose link has gone at its next collection.
    fn drop_root(&self, root: &Path) -> Result<(), StoreError> {
        match fs::read_link(root).map(|_| fs::remove_file(root)) {
            Ok(Ok(())) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(Err(error)) | Err(error) => Err(StoreError::Command {
                command: format!("removing the gc root {}", root.display()),
                reason: error.to_string(),
            }),
        }
    }
}

/// The store that this user's programs get their libraries from.
pub(crate) struct StoreInUse {
    pub(crate) store: Arc<dyn Store>,
    /// The same, if it is Nix's: that can build, too.
    pub(crate) nix: Option<Arc<NixStore>>,
    pub(crate) files: Arc<StoreFiles>,
    /// May a desktop be told of a fetch that takes long?
    pub(crate) notify: bool,
}

/// Opens the store that is configured; an embedded one that does not exist yet is made.
pub(crate) fn open(settings: &Settings) -> Result<StoreInUse, OpenError> {
    configured(settings, |store| {
        let root = store.prepare()?;
        Ok(StoreFiles::below(root).map_err(EmbeddedError::disk("opening", root))?)
    })
}

/// The same for whoever only looks: nothing is made.
pub(crate) fn to_look(settings: &Settings) -> Result<StoreInUse, OpenError> {
    // An embedded store that does not exist yet has no files.
    configured(settings, |store| Ok(StoreFiles::below(store.root()).unwrap_or_default()))
}

fn configured(
    settings: &Settings,
    files_of: impl FnOnce(&EmbeddedStore) -> Result<StoreFiles, OpenError>,
) -> Result<StoreInUse, OpenError> {
    let config = StoreConfig::load(settings)?;
    let notify = config.desktop_notification();
    if !config.wants_embedded(settings.nix_store.is_some()) {
        let nix = Arc::new(config.nix(settings.nix_store.clone()));
        let files = Arc::new(StoreFiles::in_place());
        return Ok(StoreInUse { store: nix.clone(), nix: Some(nix), files, notify });
    }
    let store = config.embedded(&Rules::load(settings, &[]).policy());
    let files = Arc::new(files_of(&store)?);
    Ok(StoreInUse { files, store: Arc::new(store), nix: None, notify })
}

/// The files of the store that is configured, for whoever only looks: nothing is made.
pub(crate) fn files(settings: &Settings) -> Result<StoreFiles, ConfigError> {
    let config = StoreConfig::load(settings)?;
    if !config.wants_embedded(settings.nix_store.is_some()) {
        return Ok(StoreFiles::in_place());
    }
    // An embedded store that does not exist yet has no files.
    Ok(StoreFiles::below(config.embedded(&Policy::allow_all()).root()).unwrap_or_default())
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
    /// The configuration forbids it.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The policy forbids something that would come along, or so much.
    #[error(transparent)]
    Gate(#[from] GateError),
}
