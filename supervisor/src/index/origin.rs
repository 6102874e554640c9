//! Where a database was fetched from, kept beside its index so that it is fetched again only when it has changed.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::registry::Registry;

/// An origin, as it stands in `NAME.origin`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) url: String,
    /// The server's `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    /// The server's `Last-Modified`; of a file its time stamp and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_modified: Option<String>,
    /// The index that was made from it: another one has another origin, whatever lies beside it.
    pub(crate) index: u64,
}

impl Origin {
    /// The origin of a database, if it was fetched.
    pub(crate) fn read(registry: &Registry, name: &str) -> Option<Self> {
        let (path, index) = (registry.origin_path(name), registry.find(name).ok()?);
        let origin: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (origin.index == super::open_table(&index.path).ok()?.identity()).then_some(origin)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// What a local file is known by, in place of what a server says.
    pub(super) fn file_stamp(path: &Path) -> Option<String> {
        let data = fs::metadata(path).ok()?;
        let modified = data.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(format!("{}.{:09} {}", modified.as_secs(), modified.subsec_nanos(), data.len()))
    }
}
