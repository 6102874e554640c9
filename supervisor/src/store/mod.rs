//! Where store paths live, and how they get there. The only stage of a load that may wait.

mod config;
mod embedded;
mod nix;
mod path;
mod realiser;

pub(crate) use config::{ConfigError, StoreConfig};
pub(crate) use embedded::{Condition, EmbeddedError, EmbeddedStore, http_agent};
pub(crate) use nix::NixStore;
pub(crate) use path::StorePath;
pub(crate) use realiser::{Asked, Realiser};

use std::path::Path;

use thiserror::Error;

/// A place that can make store paths valid.
pub(crate) trait Store: Send + Sync {
    /// Is there anything at the path? Cheap, and not enough to call it valid: a substitute may be half unpacked.
    fn has(&self, path: &StorePath) -> bool;

    /// Makes the paths and everything that they refer to valid, and protects them from garbage collection by a
    /// root at `root` (and `root-2`, `root-3` … for the second path and on, as Nix names them).
    fn realise(&self, paths: &[StorePath], root: &Path) -> Result<(), StoreError>;
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
