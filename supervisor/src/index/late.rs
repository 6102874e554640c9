//! An index that is opened when it is first asked something: a start with a plan asks nothing.

use std::sync::{Arc, OnceLock};

use tracing::debug;

use super::{Index, IndexError};
use crate::settings::Settings;
use crate::store::StoreFiles;

/// The index of a user, sooner or later.
pub(crate) struct LateIndex {
    settings: Settings,
    store: Arc<StoreFiles>,
    opened: OnceLock<Result<Index, Arc<IndexError>>>,
    empty: OnceLock<Index>,
}

impl LateIndex {
    pub(crate) fn new(settings: &Settings, store: Arc<StoreFiles>) -> Self {
        Self { settings: settings.clone(), store, opened: OnceLock::new(), empty: OnceLock::new() }
    }

    /// The index, or why there is none.
    pub(crate) fn open(&self) -> Result<&Index, Arc<IndexError>> {
        let opened = self.opened.get_or_init(|| {
            debug!("the index is opened");
            Index::open(&self.settings, self.store.clone()).map_err(Arc::new)
        });
        opened.as_ref().map_err(Arc::clone)
    }

    /// The index; where there is none, one that knows nobody.
    pub(crate) fn get(&self) -> &Index {
        self.open().unwrap_or_else(|_| {
            self.empty.get_or_init(|| Index::with_lists(&self.settings, self.store.clone()))
        })
    }

    /// Gives back the memory of what has been read, if anything has.
    pub(crate) fn release(&self) {
        if let Some(Ok(index)) = self.opened.get() {
            index.release();
        }
    }
}
