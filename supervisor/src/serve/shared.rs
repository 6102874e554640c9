//! What all trees of one supervisor share: where things lie, what the kernel can do, and the index, which is opened anew
//! when it has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::inline::Callers;
use crate::index::{Index, IndexError};
use crate::settings::Settings;
use crate::store::{self, OpenError, StoreInUse};
use crate::sys::features::Features;

/// What the command line says of the policy, for all trees of a supervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Files that narrow those in force.
    pub(crate) policies: Vec<PathBuf>,
    /// Refusals are only told.
    pub(crate) audit: bool,
}

/// Common to all trees.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) orders: Orders,
    pub(super) features: Features,
    /// The process that a program is to let read its memory: this one, or one that it descends from.
    pub(super) reader: u32,
    /// Where programs of the engine inline ask, and who of them does.
    pub(super) door: Option<Vec<u8>>,
    pub(super) callers: Callers,
    open: Mutex<Option<Open>>,
}

/// What was opened, and from what.
#[derive(Clone)]
struct Open {
    stamp: Stamp,
    store: Arc<StoreInUse>,
    index: Arc<Index>,
}

/// A file or folder by its inode and the time of its last change, in nanoseconds; nothing, if it does not exist.
type Stamp = Vec<(PathBuf, Option<(u64, u64, i64, i64)>)>;

/// Why neither index nor store can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SharedError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Store(#[from] OpenError),
}

impl Shared {
    pub(super) fn new(settings: Settings, orders: Orders, reader: u32, door: Option<Vec<u8>>) -> Self {
        let (features, callers) = (Features::probe(), Callers::default());
        Self { settings, orders, features, reader, door, callers, open: Mutex::default() }
    }

    /// Store and index, as they are now.
    pub(super) fn open(&self) -> Result<(Arc<StoreInUse>, Arc<Index>), SharedError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at before they are read: what changes meanwhile is noticed by the next one.
        let stamp = stamp(&self.settings);
        if let Some(open) = open.as_ref().filter(|open| open.stamp == stamp) {
            return Ok((open.store.clone(), open.index.clone()));
        }
        let store = Arc::new(store::open(&self.settings)?);
        let index = Arc::new(Index::open(&self.settings, store.files.clone())?);
        *open = Some(Open { stamp, store: store.clone(), index: index.clone() });
        Ok((store, index))
    }
}

/// Indexes are replaced by rename, which changes their folder; configuration may be written in place.
fn stamp(settings: &Settings) -> Stamp {
    let files = ["config.toml", "lists.toml", "policy.toml"];
    let configuration = settings.configuration.iter().flat_map(|folder| files.map(|file| folder.join(file)));
    let all = settings.index_folders.iter().cloned().chain(configuration);
    all.map(|path| {
        let data = fs::metadata(&path).ok();
        let data = data.map(|data| (data.dev(), data.ino(), data.ctime(), data.ctime_nsec()));
        (path, data)
    })
    .collect()
}
