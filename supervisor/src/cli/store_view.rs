//! Where a program that is run sees the embedded store: `--store-mode`, the configuration, and what is possible.
//!
//! Only `sonde run` and `sonde trace` can put a program into a mount namespace, since they are there before it. What
//! is started through `/lib64` gets its libraries by redirection, as does everything where mounting is impossible.

use thiserror::Error;
use tracing::debug;

use crate::guest::mount::{MountError, mount_store};
use crate::settings::Settings;
use crate::store::{ConfigError, EmbeddedError, StoreConfig, StoreMode};

/// Why `--store-mode mount` cannot be had.
#[derive(Debug, Error)]
pub(super) enum ViewError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] EmbeddedError),
    #[error("the store cannot be mounted: {0}; leave it to --store-mode auto or redirect")]
    Mount(#[from] MountError),
}

/// Gives this process, and so the program, the view of the store that was asked for. Only who insists on a mount is
/// told that there is none: everybody else runs without. Must be called while there is one thread.
pub(super) fn enter(asked: Option<StoreMode>, settings: &Settings) -> Result<(), ViewError> {
    match try_to_enter(asked, settings) {
        Err((StoreMode::Mount, error)) => Err(error),
        Err((_, error)) => {
            debug!(%error, "no mount");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// An error comes with the mode that was wanted.
fn try_to_enter(asked: Option<StoreMode>, settings: &Settings) -> Result<(), (StoreMode, ViewError)> {
    // A configuration that cannot be read is complained of by the supervisor, which needs more of it.
    let config = StoreConfig::load(settings).map_err(|error| (asked.unwrap_or_default(), error.into()))?;
    let mode = asked.unwrap_or_else(|| config.mode());
    if mode == StoreMode::Redirect || !config.wants_embedded(settings.nix_store.is_some()) {
        return Ok(());
    }
    let objects = config.objects().map_err(|error| (mode, error.into()))?;
    mount_store(&objects).map_err(|error| (mode, error.into()))
}
