//! What realising some paths would do, found out without doing it.

use super::{Sizes, StoreError, StorePath};

/// What a request would fetch, and what of it could not be had.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forecast {
    /// How much it is, without what could not be had; nothing where the store does not say.
    pub(crate) sizes: Option<Sizes>,
    /// Everything that would be fetched, what comes along included.
    pub(crate) fetched: Vec<StorePath>,
    /// Of what was asked for: what could not be had, and why.
    pub(crate) unavailable: Vec<(StorePath, StoreError)>,
}
