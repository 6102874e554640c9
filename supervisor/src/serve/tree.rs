//! A tree: the processes that share a filter, and all that the supervisor knows about them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use sonde_policy::{Decision, Package, Policy, Request, Source};
use sonde_resolve::ldcache;
use tracing::{debug, warn};

use super::hello;
use super::knowledge::View;
use super::pool::{Job, Pool};
use super::witness::Witness;
use crate::guest::notification::{Call, Notification};
use crate::guest::remote::{Address, Thread};
use crate::index::{Choice, Index};
use crate::pipeline::{Step, decide};
use crate::plan::cache::ServedCache;
use crate::plan::closure::Closure;
use crate::plan::loader::Loader;
use crate::report::event::{How, Reporter};
use crate::store::{Asked, Realiser, StoreError, StoreFiles};
use crate::sys::features::Features;

/// A loader of the tree and the cache that programs under it are served, unless they have their own.
pub(super) struct Provision {
    pub(super) loader: Loader,
    cache: OnceLock<Option<ServedCache>>,
}

/// What one program of the tree is given in place of the index's own choices.
struct Special {
    provision: Arc<Provision>,
    choices: HashMap<String, Option<Choice>>,
    cache: OnceLock<Option<ServedCache>>,
}

/// What a load is after.
pub(super) struct Wanted {
    pub(super) soname: String,
    pub(super) choice: Choice,
    pub(super) thread: Option<Thread>,
    /// Return the file, instead of letting the loader open it by itself.
    redirect: bool,
    pub(super) since: Instant,
}

/// A load that waits for its package.
pub(super) struct Waiting {
    notification: Notification,
    load: Wanted,
}

pub(crate) struct Tree {
    pub(super) index: Index,
    pub(super) files: Arc<StoreFiles>,
    pub(super) policy: Policy,
    pub(super) features: Features,
    /// Where loaders are mapped, in every process of the tree.
    pub(super) range: Range<u64>,
    pub(super) realiser: Realiser<Waiting>,
    pub(super) witness: Witness,
    /// The first program's path, for policy and reports.
    pub(super) program: PathBuf,
    provisions: RwLock<Vec<Arc<Provision>>>,
    /// Programs with choices of their own, by path; few have any.
    special: RwLock<HashMap<PathBuf, Arc<Special>>>,
    /// Folders that are in a search path of a program of the tree, or have been searched.
    searched: RwLock<HashSet<PathBuf>>,
    /// What the served cache knows; worked out when it is first asked, which few programs make necessary.
    served: OnceLock<HashSet<String>>,
}

impl Tree {
    pub(super) fn new(
        index: Index,
        files: Arc<StoreFiles>,
        features: Features,
        range: Range<u64>,
        realiser: Realiser<Waiting>,
        reporter: Reporter,
        program: PathBuf,
    ) -> Self {
        Self {
            index,
            policy: Policy::allow_all(),
            features,
            range,
            realiser,
            witness: Witness::new(reporter, files.clone()),
            files,
            program,
            provisions: RwLock::default(),
            special: RwLock::default(),
            searched: RwLock::default(),
            served: OnceLock::new(),
        }
    }

    /// The first loader of the tree that meets a condition.
    pub(super) fn provision(&self, holds: impl Fn(&Provision) -> bool) -> Option<Arc<Provision>> {
        let provisions = self.provisions.read().unwrap_or_else(PoisonError::into_inner);
        provisions.iter().find(|provision| holds(provision)).cloned()
    }

    /// Adds a loader, unless another thread was faster.
    pub(super) fn add_provision(&self, loader: Loader) -> Arc<Provision> {
        let mut provisions = self.provisions.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = provisions.iter().find(|provision| provision.loader.path == loader.path) {
            return there.clone();
        }
        let provision = Arc::new(Provision { loader, cache: OnceLock::new() });
        provisions.push(provision.clone());
        provision
    }

    /// Remembers a program's needs, search paths and choices.
    pub(super) fn learn(&self, program: &Path, closure: Closure, provision: &Arc<Provision>) {
        self.witness.learn(&closure);
        let mut searched = self.searched.write().unwrap_or_else(PoisonError::into_inner);
        searched.extend(closure.searched);
        if !closure.choices.is_empty() {
            let (provision, cache) = (provision.clone(), OnceLock::new());
            let special = Arc::new(Special { provision, choices: closure.choices, cache });
            let mut all = self.special.write().unwrap_or_else(PoisonError::into_inner);
            all.insert(program.to_owned(), special);
        }
    }

    /// Which package is to provide this soname to the program that a thread runs.
    pub(super) fn choose(&self, thread: Option<Thread>, soname: &str) -> Option<Choice> {
        let special = self.special_of(thread);
        match special.as_ref().and_then(|special| special.choices.get(soname)) {
            Some(choice) => choice.clone(),
            None => self.index.choose(soname),
        }
    }

    fn special_of(&self, thread: Option<Thread>) -> Option<Arc<Special>> {
        let all = self.special.read().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return None;
        }
        all.get(&thread?.executable_path().ok()?).cloned()
    }

    /// Is the folder in a search path?
    pub(super) fn is_searched(&self, folder: &Path) -> bool {
        self.searched.read().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    /// Does the served cache know this soname?
    pub(super) fn is_served(&self, soname: &str) -> bool {
        let names = || {
            let cache = self.index.base_cache().and_then(|cache| ldcache::parse(cache).ok());
            cache.unwrap_or_default().into_iter().map(|entry| entry.soname).collect()
        };
        self.served.get_or_init(names).contains(soname)
    }

    /// A search of a folder begins with its folders for newer processors (`glibc-hwcaps`, ld.so(8)); an open by whole
    /// path has none. So a folder is found out that a library opened later has in its search path.
    fn notice_search(&self, path: &Path) {
        let folder =
            path.ancestors().skip(1).find(|folder| folder.ends_with("glibc-hwcaps")).and_then(Path::parent);
        if let Some(folder) = folder.filter(|folder| !self.is_searched(folder)) {
            self.searched.write().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        }
    }

    /// Answers a trapped call, now or, through the pool, later.
    pub(super) fn handle(&self, notification: Notification, pool: &Pool) {
        match notification.call() {
            Call::Supervisor { .. } => {
                if let Some((socket, thread)) = notification.connect() {
                    pool.submit(Job::Greet(socket, thread));
                }
            }
            Call::Stat { path, buffer } => self.describe(notification, path, buffer),
            Call::Open { path, .. } => self.open(notification, path, pool),
            Call::Other => notification.let_through(),
        }
    }

    /// Does what the pool was given.
    pub(super) fn work(&self, job: Job) {
        match job {
            Job::Greet(socket, thread) => {
                if let Err(error) = hello::greet_member(self, &socket, thread) {
                    debug!(%error, "a process of the tree could not be greeted");
                }
            }
            Job::Realise(object) => {
                let (result, waiting) = self.realiser.run(&object);
                for waiting in waiting {
                    self.provide(waiting, &result, true);
                }
            }
        }
    }

    fn open(&self, notification: Notification, address: Address, pool: &Pool) {
        let since = Instant::now();
        let Ok(path) = notification.read_path(address) else { return notification.let_through() };
        let thread = notification.thread();
        self.notice_search(&path);
        let step = decide(&path, &View::new(self, thread));
        debug!(path = %path.display(), ?step);
        if step != Step::LetThrough && !notification.is_waiting() {
            return notification.let_through();
        }
        let wanted = |choice: Choice, redirect| {
            let soname = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Wanted { soname, choice, thread, redirect, since }
        };
        match step {
            Step::LetThrough => {
                self.go_on(notification, &path);
                self.witness.found(&path, thread, since, &self.index);
            }
            Step::ServeCache => match self.with_cache(thread, &path, ServedCache::open) {
                Some(cache) => notification.return_descriptor(cache.as_fd()),
                None => notification.let_through(),
            },
            Step::Realise(choice) => self.want(notification, wanted(choice, false), pool),
            Step::Redirect(choice) => self.want(notification, wanted(choice, true), pool),
            Step::Missing(soname) => {
                self.witness.missing(&soname, thread, since);
                notification.let_through();
            }
        }
    }

    /// Lets a call through; what lies elsewhere than at its path is returned instead.
    fn go_on(&self, notification: Notification, path: &Path) {
        match self.files.open_elsewhere(path).filter(|_| notification.is_waiting()) {
            Some(file) => notification.return_descriptor(file.as_fd()),
            None => notification.let_through(),
        }
    }

    /// glibc 2.44 and later look at the cache before each search, and read it again when it has changed. All look at a
    /// folder of a search path in which they have found nothing yet, and give it up if it does not exist.
    fn describe(&self, notification: Notification, path: Address, buffer: Address) {
        let Ok(path) = notification.read_path(path) else { return notification.let_through() };
        let stat = self
            .with_cache(notification.thread(), &path, ServedCache::metadata)
            .or_else(|| self.files.stat_elsewhere(&path));
        // Writing the answer asks whether the thread still waits.
        match stat {
            Some(stat) if notification.write_stat(buffer, &stat).is_ok() => notification.succeed(),
            _ => notification.let_through(),
        }
    }

    /// Does something with the cache that the program of a thread is to be served at a path.
    fn with_cache<T>(
        &self,
        thread: Option<Thread>,
        path: &Path,
        act: impl FnOnce(&ServedCache) -> io::Result<T>,
    ) -> Option<T> {
        let is_its = |provision: &Provision| provision.loader.cache_path.as_deref() == Some(path);
        if let Some(special) = self.special_of(thread).filter(|special| is_its(&special.provision)) {
            return act(self.special_cache(&special)?).ok();
        }
        let provision = self.provision(is_its)?;
        act(self.common_cache(&provision)?).ok()
    }

    /// Builds a program's cache ahead of its first use.
    pub(super) fn prepare_cache(&self, program: &Path, provision: &Provision) {
        let special = self.special.read().unwrap_or_else(PoisonError::into_inner).get(program).cloned();
        match special {
            Some(special) => self.special_cache(&special).is_some(),
            None => self.common_cache(provision).is_some(),
        };
    }

    fn common_cache<'p>(&self, provision: &'p Provision) -> Option<&'p ServedCache> {
        provision.cache.get_or_init(|| self.build_cache(&provision.loader, &HashMap::new())).as_ref()
    }

    fn special_cache<'s>(&self, special: &'s Special) -> Option<&'s ServedCache> {
        special.cache.get_or_init(|| self.build_cache(&special.provision.loader, &special.choices)).as_ref()
    }

    fn build_cache(&self, loader: &Loader, choices: &HashMap<String, Option<Choice>>) -> Option<ServedCache> {
        let built = ServedCache::build(&self.index, &self.files, loader, choices);
        built.inspect_err(|error| warn!(%error, "no served cache")).ok()
    }

    /// Asks the policy, and then for the package.
    fn want(&self, notification: Notification, load: Wanted, pool: &Pool) {
        let needed = self.witness.needed_by(&load.soname).is_some();
        let source = if needed { Source::Needed } else { Source::Runtime };
        if let Decision::Refuse { rule } = self.permit(&load.soname, &load.choice, source) {
            self.witness.forbidden(&load, &rule);
            return notification.not_there();
        }
        let object = load.choice.object.clone();
        match self.realiser.ask(&object, Waiting { notification, load }) {
            Asked::Answered(waiting, result) => self.provide(waiting, &result, false),
            Asked::Start => pool.submit(Job::Realise(object)),
            Asked::Waiting => {}
        }
    }

    pub(super) fn permit(&self, soname: &str, choice: &Choice, source: Source) -> Decision {
        self.policy.decide(&Request {
            program: std::os::unix::ffi::OsStrExt::as_bytes(self.program.as_os_str()),
            soname: soname.as_bytes(),
            package: Package {
                attribute: &choice.attribute,
                output: &choice.output,
                store_path: choice.object.as_str(),
            },
            source,
        })
    }

    /// Answers a load whose package is there now, or cannot be had. `fetched`: it was not there when the load began.
    ///
    /// What is to be told is told first: with the answer the program goes on, and may be the last of its tree.
    fn provide(&self, waiting: Waiting, result: &Result<(), StoreError>, fetched: bool) {
        let Waiting { notification, load } = waiting;
        if let Err(error) = result {
            self.witness.failed(&load, error);
            return notification.let_through();
        }
        if !load.redirect {
            self.witness.provided(&load, if fetched { How::Realised } else { How::ServedCache });
            return self.go_on(notification, &load.choice.file);
        }
        match self.files.open(&load.choice.file) {
            Ok(file) => {
                self.witness.provided(&load, How::Redirected);
                notification.return_descriptor(file.as_fd());
            }
            Err(error) => {
                warn!(file = %load.choice.file.display(), %error, "a realised library cannot be opened");
                notification.let_through();
            }
        }
    }
}
