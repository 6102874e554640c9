//! What programs of a tree run with: the loaders that the tree has met, seeds, and the cache that is served with both;
//! some programs have choices of their own, and so a cache of their own.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing::warn;

use super::shared::Open;
use crate::guest::remote::{GuestRoot, Thread};
use crate::index::Choice;
use crate::index::late::LateIndex;
use crate::plan::cache::{self, CacheSource, ServedCache};
use crate::plan::conditions::Conditions;
use crate::plan::loader::Loader;
use crate::plan::seeds::{Seeds, Stamp, stamp};
use crate::settings::Settings;
use crate::store::StoreFiles;

/// What a program is given in place of the index's own choice, by soname; nothing, where all that there is would not do.
pub(super) type Choices = HashMap<String, Option<Choice>>;

/// A loader of the tree, seeds, and the cache that programs with both are served, unless they have their own.
pub(super) struct Provision {
    pub(super) loader: Arc<Loader>,
    /// Nothing for those that every program has.
    pub(super) seeds: Option<Arc<Seeds>>,
    cache: OnceLock<Option<ServedCache>>,
}

/// What one program of the tree is given in place of what others are.
struct Special {
    provision: Arc<Provision>,
    choices: Choices,
    cache: OnceLock<Option<ServedCache>>,
}

/// The seeds of programs that name none themselves. A start by a plan has its cache, and does without reading them.
struct CommonSeeds {
    folders: Vec<PathBuf>,
    /// The folders as they were when the tree began.
    stamp: Stamp,
    read: OnceLock<Arc<Seeds>>,
}

/// Everything that is provided to a tree.
pub(super) struct Provisions {
    index: Arc<LateIndex>,
    files: Arc<StoreFiles>,
    conditions: Arc<Conditions>,
    /// Where caches are kept.
    folder: PathBuf,
    common: CommonSeeds,
    /// Of each loader the one with the common seeds comes first.
    all: RwLock<Vec<Arc<Provision>>>,
    /// Programs with seeds or choices of their own, by path; few have any.
    special: RwLock<HashMap<PathBuf, Arc<Special>>>,
}

impl Provisions {
    pub(super) fn of(settings: &Settings, open: &Open) -> Self {
        Self {
            index: open.index.clone(),
            files: open.store.files.clone(),
            conditions: open.conditions.clone(),
            folder: cache::folder(settings),
            common: CommonSeeds::of(open.libraries.paths()),
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
        let provision = Arc::new(Provision { loader: loader.into(), seeds: None, cache: OnceLock::new() });
        all.push(provision.clone());
        provision
    }

    /// The same loader with these seeds.
    pub(super) fn with_seeds(&self, provision: &Provision, seeds: &Arc<Seeds>) -> Arc<Provision> {
        let is_common = seeds.folders() == self.common.folders && *seeds == self.common_seeds();
        let seeds = (!is_common).then(|| seeds.clone());
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let is_it = |one: &&Arc<Provision>| one.loader.path == provision.loader.path && one.seeds == seeds;
        if let Some(there) = all.iter().find(is_it) {
            return there.clone();
        }
        let loader = provision.loader.clone();
        let provision = Arc::new(Provision { loader, seeds, cache: OnceLock::new() });
        all.push(provision.clone());
        provision
    }

    /// Seeds that a program of the tree has already, if they were read from these folders in this state.
    pub(super) fn seeds_of(&self, folders: &[PathBuf], stamp: &Stamp) -> Option<Arc<Seeds>> {
        if folders == self.common.folders && *stamp == self.common.stamp {
            return Some(self.common_seeds());
        }
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut own = all.iter().filter_map(|one| one.seeds.as_ref());
        own.find(|seeds| seeds.are_of(folders, stamp)).cloned()
    }

    /// Are the folders of the common seeds as they were when the tree began?
    pub(super) fn has_current_seeds(&self) -> bool {
        stamp_now(&self.common.folders) == self.common.stamp
    }

    fn common_seeds(&self) -> Arc<Seeds> {
        let read = || {
            let Ok(root) = GuestRoot::own() else { return Arc::default() };
            let index = self.index.get();
            Seeds::read(self.common.folders.clone(), &root, |name| !index.is_glibc(name)).into()
        };
        self.common.read.get_or_init(read).clone()
    }

    fn seeds_for(&self, provision: &Provision) -> Arc<Seeds> {
        provision.seeds.clone().unwrap_or_else(|| self.common_seeds())
    }

    /// Where the loaders lie.
    pub(super) fn loaders(&self) -> Vec<PathBuf> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut loaders: Vec<PathBuf> = all.iter().map(|provision| provision.loader.path.clone()).collect();
        loaders.dedup();
        loaders
    }

    /// A program has this provision, and choices of its own, from now on. Most have what everybody has.
    /// `cache`: what it is served, if that is known already.
    pub(super) fn specialise(
        &self,
        program: &Path,
        provision: &Arc<Provision>,
        choices: Choices,
        mut cache: Option<ServedCache>,
    ) {
        if choices.is_empty()
            && let Some(cache) = cache.take()
        {
            // Unless somebody has made it: it is the same.
            let _ = provision.cache.set(Some(cache));
        }
        // What a program is served without having anything of its own: see `with_cache`.
        let common = self.find(|loader| loader.cache_path == provision.loader.cache_path);
        let is_common = choices.is_empty() && common.is_some_and(|common| Arc::ptr_eq(&common, provision));
        let mut all = self.special.write().unwrap_or_else(PoisonError::into_inner);
        if is_common {
            all.remove(program);
            return;
        }
        let cache = cache.map_or_else(OnceLock::new, |cache| OnceLock::from(Some(cache)));
        let special = Special { provision: provision.clone(), choices, cache };
        all.insert(program.to_owned(), Arc::new(special));
    }

    /// Programs that have something of their own: path, provision and choices.
    pub(super) fn special(&self) -> Vec<(PathBuf, Arc<Provision>, Choices)> {
        let all = self.special.read().unwrap_or_else(PoisonError::into_inner);
        let whole = |(program, special): (&PathBuf, &Arc<Special>)| {
            (program.clone(), special.provision.clone(), special.choices.clone())
        };
        all.iter().map(whole).collect()
    }

    /// The seeds of the program of a thread.
    pub(super) fn seeds(&self, thread: Option<Thread>) -> Arc<Seeds> {
        let special = self.special_of(thread).map(|special| special.provision.clone());
        let provision = special.or_else(|| self.find(|_| true));
        provision.map_or_else(Arc::default, |provision| self.seeds_for(&provision))
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
        self.with_first_cache(program, provision, |cache| cache.place().map(Path::to_owned)).flatten()
    }

    /// Sees to it that a program's cache is on disk before its first use; returns where.
    pub(super) fn place_cache(&self, program: &Path, provision: &Provision) -> io::Result<PathBuf> {
        let placed = self.with_first_cache(program, provision, |cache| cache.keep().map(Path::to_owned));
        placed.unwrap_or_else(|| Err(io::Error::other("there is no served cache")))
    }

    fn with_first_cache<T>(
        &self,
        program: &Path,
        provision: &Provision,
        then: impl FnOnce(&ServedCache) -> T,
    ) -> Option<T> {
        let special = self.special.read().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
        match special {
            Some(special) => self.special_cache(&special).map(then),
            None => self.common_cache(provision).map(then),
        }
    }

    /// Sees to it that the cache of a program with this loader and these seeds is on disk; returns where.
    pub(super) fn keep_cache(
        &self,
        program: &Path,
        loader: &Path,
        seeds: Option<&Seeds>,
    ) -> io::Result<PathBuf> {
        let is_it = |one: &Provision| one.loader.path == loader && one.seeds.as_deref() == seeds;
        let other = || io::Error::other("the program has another one by now");
        let special = self.special.read().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
        let common = self.find(|one| one.path == loader);
        let cache = match (&special, &common) {
            (Some(special), _) if is_it(&special.provision) => self.special_cache(special),
            (None, Some(common)) if is_it(common) => self.common_cache(common),
            _ => return Err(other()),
        };
        cache.ok_or_else(|| io::Error::other("there is none"))?.keep().map(Path::to_owned)
    }

    fn special_of(&self, thread: Option<Thread>) -> Option<Arc<Special>> {
        let all = self.special.read().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        all.get(&thread?.executable_path().ok()?).cloned()
    }

    fn common_cache<'p>(&self, provision: &'p Provision) -> Option<&'p ServedCache> {
        provision.cache.get_or_init(|| self.build_cache(provision, &HashMap::new())).as_ref()
    }

    fn special_cache<'s>(&self, special: &'s Special) -> Option<&'s ServedCache> {
        if special.choices.is_empty() {
            return self.common_cache(&special.provision);
        }
        special.cache.get_or_init(|| self.build_cache(&special.provision, &special.choices)).as_ref()
    }

    fn build_cache(&self, provision: &Provision, choices: &Choices) -> Option<ServedCache> {
        let source = CacheSource {
            index: &self.index,
            store: &self.files,
            conditions: &self.conditions,
            folder: &self.folder,
        };
        let built = ServedCache::of(&source, &provision.loader, &self.seeds_for(provision), choices);
        built.inspect_err(|error| warn!(%error, "no served cache")).ok()
    }
}

impl CommonSeeds {
    fn of(folders: &[PathBuf]) -> Self {
        Self { folders: folders.to_owned(), stamp: stamp_now(folders), read: OnceLock::new() }
    }
}

/// Folders of our own root.
fn stamp_now(folders: &[PathBuf]) -> Stamp {
    GuestRoot::own().map(|root| stamp(folders, &root)).unwrap_or_default()
}
