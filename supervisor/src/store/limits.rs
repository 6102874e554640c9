//! What a request may cost: whether anything may be fetched at all, and how much. Both stores keep to it; how long one
//! waits for a server is `embedded`'s alone, since Nix has its own settings for that.

use bytesize::ByteSize;
use thiserror::Error;

use super::StorePath;

/// What is allowed, for each request by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Nothing may be fetched or built: what is not valid cannot be had.
    pub(crate) offline: bool,
    /// Bytes that one request may download.
    pub(crate) max_download: Option<u64>,
}

/// What a request would cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Paths that are missing, references included.
    pub(crate) paths: usize,
    /// Bytes to be transferred.
    pub(crate) download: u64,
    /// Bytes in the store afterwards.
    pub(crate) unpacked: u64,
}

/// What a limit forbids.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LimitError {
    /// [`Limits::offline`], and this is not valid (or not built).
    #[error(
        "offline: {0} is not in the store, and nothing may be fetched (`offline` in the [store] section of \
         config.toml, or SONDE_OFFLINE)"
    )]
    Offline(String),
    /// [`Limits::max_download`].
    #[error(
        "would download {}, max-download-size is {}: a larger one in the [store] section of config.toml lets it",
        size(*.download),
        size(*.limit)
    )]
    TooLarge { download: u64, limit: u64 },
}

impl Limits {
    /// Refuses to go on for the sake of a path that is not valid.
    pub(super) fn allow_fetching(&self, path: &StorePath) -> Result<(), LimitError> {
        if self.offline { Err(LimitError::Offline(path.to_string())) } else { Ok(()) }
    }

    /// Refuses to download that much.
    pub(super) fn allow(&self, sizes: Sizes) -> Result<(), LimitError> {
        match self.max_download {
            Some(limit) if sizes.download > limit => {
                Err(LimitError::TooLarge { download: sizes.download, limit })
            }
            _ => Ok(()),
        }
    }
}

/// A size for people.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
        let limits = Limits { max_download: Some(500 << 20), ..Limits::default() };
        let of = |download| Sizes { download, ..Sizes::default() };
        assert_eq!(limits.allow(of(500 << 20)), Ok(()));
        let error = limits.allow(of(812 << 20)).unwrap_err().to_string();
        assert!(error.starts_with("would download 812.0 MiB, max-download-size is 500.0 MiB: "), "{error}");
        assert!(limits.allow(of((500 << 20) + 1)).is_err());
        assert_eq!(Limits::default().allow(of(u64::MAX)), Ok(()));
    }
}
