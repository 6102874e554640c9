//! A tree: the processes that share a filter, and all that the supervisor knows about them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sonde_policy::{Decision, Package, Policy, Request, Source};
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::index::is_shared_object_name;
use sonde_resolve::ldcache;
use tracing::{debug, warn};

use super::hello;
use super::knowledge::View;
use super::pool::{Job, Pool};
use crate::guest::notification::{Call, Notification};
use crate::guest::remote::{Address, GuestRoot, Thread};
use crate::index::{Choice, Index};
use crate::pipeline::{Step, decide};
use crate::plan::cache::ServedCache;
use crate::plan::closure::{Answer as Found, Closure};
use crate::plan::loader::Loader;
use crate::report::errors;
use crate::report::event::{How, Load, Reporter};
use crate::store::{Asked, Realiser, StoreError};
use crate::sys::features::Features;
use crate::sys::mapped_file::MappedFile;
use crate::sys::scm_rights::Socket;

/// A loader of the tree and the cache that programs under it are served.
pub(super) struct Provision {
    pub(super) loader: Loader,
    cache: OnceLock<Option<ServedCache>>,
}

/// A load that waits for its package.
pub(super) struct Waiting {
    notification: Notification,
    load: Wanted,
}

/// What a load is after.
#[derive(Clone)]
struct Wanted {
    soname: String,
    choice: Choice,
    thread: Option<Thread>,
    /// Return the file, instead of letting the loader open it by itself.
    redirect: bool,
    since: Instant,
}

pub(crate) struct Tree {
    pub(super) index: Index,
    pub(super) policy: Policy,
    pub(super) features: Features,
    /// Where loaders are mapped, in every process of the tree.
    pub(super) range: Range<u64>,
    pub(super) realiser: Realiser<Waiting>,
    pub(super) reporter: Reporter,
    /// The first program's path, for policy and reports.
    pub(super) program: PathBuf,
    provisions: RwLock<Vec<Arc<Provision>>>,
    /// Who is linked against a soname, as far as it is known.
    needed_by: Mutex<HashMap<String, PathBuf>>,
    /// Sonames that programs of the tree are linked against and nobody has.
    absent: Mutex<HashSet<String>>,
    /// Folders that are in a search path of a program of the tree, or have been searched.
    searched: RwLock<HashSet<PathBuf>>,
    /// What the served cache knows; worked out when it is first asked, which few programs make necessary.
    served: OnceLock<HashSet<String>>,
    /// What each process was told already.
    told: Mutex<HashSet<(u32, String)>>,
}

impl Tree {
    pub(super) fn new(
        index: Index,
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
            reporter,
            program,
            provisions: RwLock::default(),
            needed_by: Mutex::default(),
            absent: Mutex::default(),
            searched: RwLock::default(),
            served: OnceLock::new(),
            told: Mutex::default(),
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

    /// Remembers a program's needs and search paths.
    pub(super) fn learn(&self, closure: &Closure) {
        let mut needed_by = lock(&self.needed_by);
        for need in &closure.needs {
            needed_by.entry(need.soname.clone()).or_insert_with(|| need.needed_by.clone());
            if matches!(need.answer, Found::Absent) {
                lock(&self.absent).insert(need.soname.clone());
            }
        }
        let mut searched = self.searched.write().unwrap_or_else(PoisonError::into_inner);
        searched.extend(closure.searched.iter().cloned());
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
            Call::Supervisor => connect(notification, pool),
            Call::Stat { path, buffer } => self.describe_cache(notification, path, buffer),
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
        // Where its root cannot be seen, its store and ours are most likely the same.
        let root = thread.and_then(|thread| thread.root().ok()).map_or_else(GuestRoot::own, Ok);
        let Ok(root) = root else { return notification.let_through() };
        let step = decide(&path, &View { tree: self, root });
        debug!(path = %path.display(), ?step);
        let wanted = |choice: Choice, redirect| {
            let soname = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Wanted { soname, choice, thread, redirect, since }
        };
        match step {
            Step::LetThrough => {
                notification.let_through();
                self.report_own(&path, thread, since);
            }
            Step::ServeCache => self.serve_cache(notification, &path),
            Step::Realise(choice) => self.want(notification, wanted(choice, false), pool),
            Step::Redirect(choice) => self.want(notification, wanted(choice, true), pool),
            Step::Missing(soname) => {
                self.tell_missing(thread, &soname, since);
                notification.let_through();
            }
        }
    }

    fn serve_cache(&self, notification: Notification, path: &Path) {
        let provision = self.provision(|provision| provision.loader.cache_path.as_deref() == Some(path));
        let cache = provision.as_deref().and_then(|provision| self.cache_of(provision)?.open().ok());
        match cache {
            Some(cache) => notification.return_descriptor(cache.as_fd()),
            None => notification.let_through(),
        }
    }

    /// glibc 2.44 and later look at the cache before each search, and read it again when it has changed.
    fn describe_cache(&self, notification: Notification, path: Address, buffer: Address) {
        let Ok(path) = notification.read_path(path) else { return notification.let_through() };
        let provision = self.provision(|provision| provision.loader.cache_path.as_deref() == Some(&*path));
        let stat = provision.as_deref().and_then(|provision| self.cache_of(provision)?.metadata().ok());
        match stat {
            Some(stat) if notification.write_stat(buffer, &stat).is_ok() => notification.succeed(),
            _ => notification.let_through(),
        }
    }

    /// Built at the first use, which comes while the program's own start is under way.
    pub(super) fn cache_of<'p>(&self, provision: &'p Provision) -> Option<&'p ServedCache> {
        let build = || {
            let built = ServedCache::build(&self.index, &provision.loader);
            built.inspect_err(|error| warn!(%error, "no served cache")).ok()
        };
        provision.cache.get_or_init(build).as_ref()
    }

    /// Asks the policy, and then for the package.
    fn want(&self, notification: Notification, load: Wanted, pool: &Pool) {
        let needed_by = lock(&self.needed_by).get(&load.soname).cloned();
        let source = if needed_by.is_some() { Source::Needed } else { Source::Runtime };
        if let Decision::Refuse { rule } = self.permit(&load.soname, &load.choice, source) {
            if let Some(needed_by) = &needed_by {
                self.tell(&load, &errors::forbidden(&load.soname, needed_by, &load.choice, &rule));
            }
            self.report(&load, How::Forbidden(rule));
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
    fn provide(&self, waiting: Waiting, result: &Result<(), StoreError>, fetched: bool) {
        let Waiting { notification, load } = waiting;
        let file = match result {
            Ok(()) if load.redirect => match File::open(&load.choice.file) {
                Ok(file) => Some(file),
                Err(error) => {
                    warn!(file = %load.choice.file.display(), %error, "a realised library cannot be opened");
                    self.report(&load, How::Failed(error.to_string()));
                    return notification.let_through();
                }
            },
            Ok(()) => None,
            Err(error) => {
                let needed_by = lock(&self.needed_by).get(&load.soname).cloned();
                if let Some(needed_by) = needed_by {
                    self.tell(&load, &errors::unavailable(&load.soname, &needed_by, &load.choice, error));
                }
                self.report(&load, How::Failed(error.to_string()));
                return notification.let_through();
            }
        };
        match file {
            Some(file) => {
                notification.return_descriptor(file.as_fd());
                self.report(&load, How::Redirected);
            }
            None => {
                notification.let_through();
                self.report(&load, if fetched { How::Realised } else { How::ServedCache });
            }
        }
    }

    fn tell_missing(&self, thread: Option<Thread>, soname: &str, since: Instant) {
        // Anything else may be found further on in the search, or is a library that the program can do without.
        if !lock(&self.absent).contains(soname) {
            return;
        }
        let Some(needed_by) = lock(&self.needed_by).get(soname).cloned() else { return };
        // The loader tries several last folders; one line is enough.
        if self.tell_once(thread, soname, &errors::absent(soname, &needed_by)) {
            self.reporter.report(Load {
                process: thread.map_or(0, process_of),
                soname: soname.to_owned(),
                needed_by: Some(needed_by),
                package: None,
                path: None,
                how: How::Absent,
                took: since.elapsed(),
            });
        }
    }

    fn tell(&self, load: &Wanted, line: &str) {
        self.tell_once(load.thread, &load.soname, line);
    }

    /// Writes a line to the program's own standard error, once for a process and soname.
    fn tell_once(&self, thread: Option<Thread>, soname: &str, line: &str) -> bool {
        let Some(thread) = thread else { return false };
        let first = lock(&self.told).insert((process_of(thread), soname.to_owned()));
        if first && let Err(error) = thread.standard_error().and_then(|stderr| write_at_once(stderr, line)) {
            warn!(%error, line, "the program's standard error cannot be reached");
        }
        first
    }

    fn report(&self, load: &Wanted, how: How) {
        if !self.reporter.is_heard() {
            return;
        }
        let there = matches!(how, How::ServedCache | How::Realised | How::Redirected);
        self.reporter.report(Load {
            process: load.thread.map_or(0, process_of),
            soname: load.soname.clone(),
            needed_by: lock(&self.needed_by).get(&load.soname).cloned(),
            package: Some(format!("{}.{}", load.choice.attribute, load.choice.output)),
            path: there.then(|| load.choice.file.clone()),
            how,
            took: load.since.elapsed(),
        });
        if there {
            self.learn_from(&load.choice.file);
        }
    }

    /// Reports a library that the loader found in the store by itself.
    fn report_own(&self, path: &Path, thread: Option<Thread>, since: Instant) {
        if !self.reporter.is_heard() || !path.starts_with("/nix/store") || !path.is_file() {
            return;
        }
        let Some(soname) = path.file_name().and_then(|name| name.to_str()) else { return };
        if !is_shared_object_name(soname.as_bytes()) {
            return;
        }
        let needed_by = lock(&self.needed_by).get(soname).cloned();
        let by_runpath = needed_by.as_ref().is_some_and(|by| by.starts_with("/nix/store"));
        self.reporter.report(Load {
            process: thread.map_or(0, process_of),
            soname: soname.to_owned(),
            needed_by,
            package: self.index.at(path).map(|choice| format!("{}.{}", choice.attribute, choice.output)),
            path: Some(path.to_owned()),
            how: if by_runpath { How::Runpath } else { How::ServedCache },
            took: since.elapsed(),
        });
        self.learn_from(path);
    }

    /// Remembers what a library of the store is linked against.
    fn learn_from(&self, library: &Path) {
        let facts = File::open(library).and_then(|file| MappedFile::open(&file)).ok();
        let Some(facts) = facts.and_then(|bytes| ElfFacts::parse(bytes.as_ref()).ok()) else { return };
        let mut needed_by = lock(&self.needed_by);
        for soname in facts.needed {
            needed_by.entry(soname).or_insert_with(|| library.to_owned());
        }
    }
}

/// Writes a line if that can be done without waiting: whoever reads the other end may be a process of the tree that
/// waits for us. A pipe that is ready takes this many bytes at once (`PIPE_BUF`, pipe(7)).
fn write_at_once(mut file: File, line: &str) -> io::Result<()> {
    const AT_ONCE: usize = 4096;
    let mut descriptors = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut descriptors, PollTimeout::ZERO)?;
    if !descriptors[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut bytes = line.as_bytes().to_vec();
    bytes.truncate(AT_ONCE - 1);
    bytes.push(b'\n');
    file.write_all(&bytes)
}

/// Gives a process of the tree a socket to the supervisor.
fn connect(notification: Notification, pool: &Pool) {
    let (Ok((ours, theirs)), Some(thread)) = (Socket::pair(), notification.thread()) else {
        return notification.let_through();
    };
    notification.return_descriptor(theirs.as_fd());
    pool.submit(Job::Greet(ours, thread));
}

fn process_of(thread: Thread) -> u32 {
    thread.process().unwrap_or(thread.id())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and sets stay whole whatever happens between two of their methods.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
