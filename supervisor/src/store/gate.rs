//! Who is asked about a request before anything is downloaded for it. What is asked for by name was judged before; here it
//! is what comes along, and how much that is.

use std::sync::Arc;

use thiserror::Error;

use super::{Sizes, StorePath, size};

/// Says what a request may download.
pub(crate) trait Gate: Sync {
    /// Has it anything to say at all? It takes a request of its own to find out what Nix would download.
    fn is_open(&self) -> bool;

    /// May this path be downloaded, because another one refers to it? The rule that forbids it.
    fn permit(&self, path: &StorePath) -> Result<(), Arc<str>>;

    /// May so many bytes be downloaded? The rule that forbids it.
    fn permit_download(&self, bytes: u64) -> Result<(), Arc<str>>;

    /// Is there a limit for bytes?
    fn limits_downloads(&self) -> bool;
}

/// Allows everything.
pub(crate) struct OpenGate;

impl Gate for OpenGate {
    fn is_open(&self) -> bool {
        true
    }
    fn permit(&self, _: &StorePath) -> Result<(), Arc<str>> {
        Ok(())
    }
    fn permit_download(&self, _: u64) -> Result<(), Arc<str>> {
        Ok(())
    }
    fn limits_downloads(&self) -> bool {
        false
    }
}

/// What a gate has against a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum GateError {
    #[error("{path}: the policy forbids it: {rule}")]
    Asked { path: StorePath, rule: Arc<str> },
    #[error("it needs {path}, which the policy forbids: {rule}")]
    Path { path: StorePath, rule: Arc<str> },
    #[error("would download {}, which the policy forbids: {rule}", size(*.bytes))]
    Download { bytes: u64, rule: Arc<str> },
    #[error(
        "nix-store --dry-run does not say how much it would download, so the policy's limits of that cannot be kept to"
    )]
    Unknown,
}

/// Asks about everything that a request for `asked` would download.
pub(super) fn pass<'p>(
    gate: &dyn Gate,
    asked: &[StorePath],
    missing: impl Iterator<Item = &'p StorePath>,
    sizes: Option<Sizes>,
) -> Result<(), GateError> {
    for path in missing.filter(|path| !asked.contains(path)) {
        gate.permit(path).map_err(|rule| GateError::Path { path: path.clone(), rule })?;
    }
    match sizes {
        Some(Sizes { download: bytes, .. }) => {
            gate.permit_download(bytes).map_err(|rule| GateError::Download { bytes, rule })
        }
        None if gate.limits_downloads() => Err(GateError::Unknown),
        None => Ok(()),
    }
}
