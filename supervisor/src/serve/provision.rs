//! What programs of a tree run with: the loaders that the tree has met, and the cache that is served under each; some
//! programs have choices of their own, and so a cache of their own.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing::warn;

use super::shared::Open;
use crate::guest::remote::Thread;
use crate::index::Choice;
use crate::index::late::LateIndex;
use crate::plan::cache::{self, CacheSource, ServedCache};
use crate::plan::conditions::Conditions;
use crate::plan::loader::Loader;
use crate::settings::Settings;
use crate::store::StoreFiles;

/// What a program is given in place of the index's own choice, by soname; nothing, where all that there is would not do.
pub(super) type Choices = HashMap<String, Option<Choice>>;

/// A loader of the tree and the cache that programs under it are served, unless they have their own.
pub(super) struct Provision {
    pub(super) loader: Loader,
    cache: OnceLock<Option<ServedCache>>,
}

/// What one program of the tree is given in place of the index's own choices.
struct Special {
    provision: Arc<Provision>,
    choices: Choices,
    cache: OnceLock<Option<ServedCache>>,
}

/// Everything that is provided to a tree.
pub(super) struct Provisions {
    index: Arc<LateIndex>,
    files: Arc<StoreFiles>,
    conditions: Arc<Conditions>,
    /// Where caches are kept.
    folder: PathBuf,
    all: RwLock<Vec<Arc<Provision>>>,
    /// Programs with choices of their own, by path; few have any.
    special: RwLock<HashMap<PathBuf, Arc<Special>>>,
}

impl Provisions {
    pub(super) fn of(settings: &Settings, open: &Open) -> Self {
        Self {
            index: open.index.clone(),
            files: open.store.files.clone(),
            conditions: open.conditions.clone(),
            folder: cache::folder(settings),
            all: RwLock::default(),
            special: RwLock::default(),
        }
    }

    /// The first loader of the tree that meets a condition.
    pub(super) fn find(&self, holds: impl Fn(&Loader) -> bool) -> Option<Arc<Provision>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|provision| holds(&provision.loader)).cloned()
    }

    /// Adds a loader, unless another thread was faster.
    pub(super) fn add(&self, loader: Loader) -> Arc<Provision> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.iter().find(|provision| provision.loader.path == loader.path) {
            return there.clone();
        }
        let provision = Arc::new(Provision { loader, cache: OnceLock::new() });
        all.push(provision.clone());
        provision
    }

    /// Where the loaders lie.
    pub(super) fn loaders(&self) -> Vec<PathBuf> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|provision| provision.loader.path.clone()).collect()
    }

    /// Gives a program choices of its own.
    /// `cache`: what it is served, if that is known already.
    pub(super) fn specialise(
        &self,
        program: &Path,
        provision: &Arc<Provision>,
        choices: Choices,
        cache: Option<ServedCache>,
    ) {
        let cache = cache.map_or_else(OnceLock::new, |cache| OnceLock::from(Some(cache)));
        let special = Special { provision: provision.clone(), choices, cache };
        let mut all = self.special.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(program.to_owned(), Arc::new(special));
    }

    /// Programs with choices of their own: path, loader and choices.
    pub(super) fn special(&self) -> Vec<(PathBuf, PathBuf, Choices)> {
        let all = self.special.read().unwrap_or_else(PoisonError::into_inner);
        let whole = |(program, special): (&PathBuf, &Arc<Special>)| {
            (program.clone(), special.provision.loader.path.clone(), special.choices.clone())
        };
        all.iter().map(whole).collect()
    }

    /// Which package is to provide this soname to the program that a thread runs.
    pub(super) fn choose(&self, thread: Option<Thread>, soname: &str) -> Option<Choice> {
        let special = self.special_of(thread);
        match special.as_ref().and_then(|special| special.choices.get(soname)) {
            Some(choice) => choice.clone(),
            None => self.index.get().choose(soname),
        }
    }

    /// Does something with the cache that the program of a thread is to be served at a path.
    pub(super) fn with_cache<T>(
        &self,
        thread: Option<Thread>,
        path: &Path,
        act: impl FnOnce(&ServedCache) -> io::Result<T>,
    ) -> Option<T> {
        let is_its = |loader: &Loader| loader.cache_path.as_deref() == Some(path);
        if let Some(special) = self.special_of(thread).filter(|special| is_its(&special.provision.loader)) {
            return act(self.special_cache(&special)?).ok();
        }
        let provision = self.find(is_its)?;
        act(self.common_cache(&provision)?).ok()
    }

    /// Builds a program's cache ahead of its first use; returns where it is, if it is on disk already.
    pub(super) fn prepare_cache(&self, program: &Path, provision: &Provision) -> Option<PathBuf> {
        let special = self.special.read().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
        let place = |cache: &ServedCache| cache.place().map(Path::to_owned);
        match special {
            Some(special) => self.special_cache(&special).and_then(place),
            None => self.common_cache(provision).and_then(place),
        }
    }

    /// Sees to it that a program's cache is on disk; returns where.
    pub(super) fn keep_cache(&self, program: &Path, loader: &Path) -> io::Result<PathBuf> {
        let none = || io::Error::other("there is none");
        let special = self.special.read().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
        if let Some(special) = special {
            return self.special_cache(&special).ok_or_else(none)?.keep().map(Path::to_owned);
        }
        let provision = self.find(|one| one.path == loader).ok_or_else(none)?;
        self.common_cache(&provision).ok_or_else(none)?.keep().map(Path::to_owned)
    }

    fn special_of(&self, thread: Option<Thread>) -> Option<Arc<Special>> {
        let all = self.special.read().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        all.get(&thread?.executable_path().ok()?).cloned()
    }

    /// What is served under a loader, if it is known already.
    pub(super) fn preset(&self, provision: &Provision, cache: ServedCache) {
        // Unless somebody has made it: it is the same.
        let _ = provision.cache.set(Some(cache));
    }

    fn common_cache<'p>(&self, provision: &'p Provision) -> Option<&'p ServedCache> {
        provision.cache.get_or_init(|| self.build_cache(&provision.loader, &HashMap::new())).as_ref()
    }

    fn special_cache<'s>(&self, special: &'s Special) -> Option<&'s ServedCache> {
        special.cache.get_or_init(|| self.build_cache(&special.provision.loader, &special.choices)).as_ref()
    }

    fn build_cache(&self, loader: &Loader, choices: &Choices) -> Option<ServedCache> {
        let source = CacheSource {
            index: &self.index,
            store: &self.files,
            conditions: &self.conditions,
            folder: &self.folder,
        };
        let built = ServedCache::of(&source, loader, choices);
        built.inspect_err(|error| warn!(%error, "no served cache")).ok()
    }
}
