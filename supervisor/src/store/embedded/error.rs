//! Why a store path could not be had: what, why, and the way out.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::hash::Sha;
use crate::store::{GateError, LimitError, StoreError, StorePath};

/// What one cache did wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Forbidden(String),
    #[error("{cache} does not have it")]
    Missing { cache: String },
    #[error("{url}: {reason}; is the network there, and is a proxy needed (https_proxy)?")]
    Unreachable { url: String, reason: String },
    #[error("{url}: nothing has arrived for {seconds} seconds; try again later")]
    Stalled { url: String, seconds: u64 },
    #[error("{url}: the server answered {status}; try again later")]
    Status { url: String, status: u16 },
    #[error("{url}: the connection ended after {received} of {expected} bytes; try again")]
    CutOff { url: String, received: u64, expected: u64 },
    #[error("{url}: {reason}")]
    Narinfo { url: String, reason: String },
    #[error("{cache} has it, but nobody signed it, so it is not used")]
    Unsigned { cache: String },
    #[error(
        "{cache} has it, signed by {}, which is not trusted; if it should be, add its key to trusted-public-keys in \
         the [store] section of config.toml",
        .names.join(" and ")
    )]
    Untrusted { cache: String, names: Vec<String> },
    #[error(
        "{cache} has it, but the signature by {key} is not of this content or not by that key, so it is not used"
    )]
    WrongSignature { cache: String, key: String },
    #[error("{url}: this archive is damaged: {reason}")]
    Damaged { url: String, reason: String },
    #[error("{url}: its hash is {found} where {expected} was promised, so it is not used")]
    WrongHash { url: String, expected: Sha, found: Sha },
}

impl Fault {
    /// Can the same request go well in a moment?
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::CutOff { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            _ => false,
        }
    }

    /// Is the whole cache out of reach, and not just this path?
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Stalled { .. })
    }
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(crate) enum EmbeddedError {
    /// No cache has the path in a form that can be used.
    #[error("{path}: {}", reasons(.faults))]
    Unavailable { path: StorePath, faults: Vec<FaultText> },
    #[error("{operation} {}: {source}{}", path.display(), hint(source))]
    Disk { operation: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Gate(#[from] GateError),
}

/// A fault in words.
pub(crate) type FaultText = String;

impl EmbeddedError {
    /// For `map_err`: what was done to which path.
    pub(crate) fn disk(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk { operation, path: path.to_owned(), source }
    }

    pub(super) fn unavailable(path: &StorePath, faults: &[Fault]) -> Self {
        let missing: Vec<&str> = faults
            .iter()
            .filter_map(
                |fault| if let Fault::Missing { cache } = fault { Some(cache.as_str()) } else { None },
            )
            .collect();
        let faults = if missing.len() < faults.len() {
            // Whoever does not have it is not to blame when somebody has.
            let rest = faults.iter().filter(|fault| !matches!(fault, Fault::Missing { .. }));
            rest.map(ToString::to_string).collect()
        } else if missing.is_empty() {
            vec![
                "no cache is configured; name one in the [store] section of config.toml (caches = […])"
                    .to_owned(),
            ]
        } else {
            vec![format!("no cache has it ({}); a newer index may name another version", missing.join(", "))]
        };
        Self::Unavailable { path: path.clone(), faults }
    }
}

impl From<EmbeddedError> for StoreError {
    fn from(error: EmbeddedError) -> Self {
        match error {
            EmbeddedError::Limit(limit) => Self::Limit(limit),
            EmbeddedError::Gate(error) => Self::Gate(error),
            error => Self::Refused(error.to_string()),
        }
    }
}

fn reasons(faults: &[FaultText]) -> String {
    faults.join("; ")
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, as with `sonde store gc`",
        io::ErrorKind::PermissionDenied => "; is the folder yours?",
        io::ErrorKind::ReadOnlyFilesystem => "; XDG_DATA_HOME can name a folder that can be written to",
        _ => "",
    }
}
