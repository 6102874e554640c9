//! What all trees of one supervisor share: where things lie, what the kernel can do, store and index, which are opened
//! anew when what they depend on has changed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::door::is_neighbour;
use super::limits::{Limits, LimitsError};
use super::watch::Roster;
use crate::engine::choose::{ConfigError, EngineConfig};
use crate::engine::inline::Callers;
use crate::guest::remote::Thread;
use crate::index::late::LateIndex;
use crate::plan::conditions::{self, Conditions};
use crate::plan::drivers::Drivers;
use crate::plan::libraries::{Libraries, LibrariesError};
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
    /// For those who want to watch one.
    pub(super) trees: Roster,
    pub(super) limits: Limits,
    open: Mutex<Option<Open>>,
}

/// What was opened, and under which conditions.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) conditions: Arc<Conditions>,
    pub(super) store: Arc<StoreInUse>,
    pub(super) index: Arc<LateIndex>,
    pub(super) libraries: Arc<Libraries>,
    pub(super) drivers: Arc<Drivers>,
    pub(super) engine: EngineConfig,
}

/// Why a tree cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SharedError {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Libraries(#[from] LibrariesError),
    #[error(transparent)]
    Limits(#[from] LimitsError),
}

impl Shared {
    pub(super) fn new(settings: Settings, orders: Orders, reader: u32, door: Option<Vec<u8>>) -> Self {
        let (features, callers) = (Features::probe(), Callers::default());
        let (trees, open) = (Roster::default(), Mutex::default());
        // A mistake in the file is told to those who are greeted.
        let limits = Limits::load(&settings).unwrap_or_default().within_our_means();
        Self { settings, orders, features, reader, door, callers, trees, limits, open }
    }

    /// See [`is_neighbour`].
    pub(super) fn is_neighbour(&self, thread: Thread, environment: &[u8]) -> bool {
        let has_fallback = |open: Open| open.store.nix.as_ref().is_some_and(|nix| nix.has_fallback());
        is_neighbour(thread, environment, || self.open().is_ok_and(has_fallback))
    }

    /// Store, index and configuration, as they are now.
    pub(super) fn open(&self) -> Result<Open, SharedError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.as_ref().filter(|open| conditions::hold(&open.conditions)) {
            return Ok(open.clone());
        }
        // Looked at before they are read: what changes meanwhile is noticed by the next one.
        let (conditions, drivers) = conditions::now(&self.settings)?;
        let store = Arc::new(store::open(&self.settings)?);
        Limits::load(&self.settings)?;
        let now = Open {
            conditions: Arc::new(conditions),
            index: Arc::new(LateIndex::new(&self.settings, store.files.clone())),
            libraries: Arc::new(Libraries::load(&self.settings)?),
            drivers: Arc::new(drivers),
            engine: EngineConfig::load(&self.settings)?,
            store,
        };
        *open = Some(now.clone());
        Ok(now)
    }
}
