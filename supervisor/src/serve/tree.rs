//! A tree: the processes that share a filter, and all that the supervisor knows about them.

use std::collections::HashSet;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use sonde_resolve::ldcache;
use tracing::{Span, debug, debug_span, info_span, warn};

use super::admission;
use super::fallback::Fallback;
use super::keeper::Custody;
use super::knowledge::View;
use super::permission::Permission;
use super::plans::Plans;
use super::pool::{Job, Pool};
use super::provision::{Provision, Provisions};
use super::record::{Record, Special};
use super::shared::{Shared, SharedError};
use super::sightings::Asked as Trapped;
use super::strangers::{Caller, Strangers};
use super::witness::Witness;
use crate::engine::choose::EngineConfig;
use crate::guest::notification::{Call, Notification};
use crate::guest::remote::{Address, GuestRoot, Thread};
use crate::index::late::LateIndex;
use crate::index::{Choice, Index};
use crate::pipeline::{Step, decide};
use crate::plan::cache::ServedCache;
use crate::plan::closure::Closure;
use crate::plan::libraries::Libraries;
use crate::plan::loader::Loader;
use crate::plan::roots;
use crate::report::event::Reporter;
use crate::store::{Asked, NoProgress, Realiser, StoreError, StoreFiles};
use crate::sys::features::Features;

/// What a load is after.
pub(super) struct Wanted {
    pub(super) soname: String,
    pub(super) choice: Choice,
    pub(super) thread: Option<Thread>,
    /// The path that the loader opens, and where the thread has it.
    asked: (PathBuf, Address),
    /// Return the file, instead of letting the loader open it by itself.
    pub(super) redirect: bool,
    pub(super) since: Instant,
}

/// A load that waits for its package.
pub(super) struct Waiting {
    notification: Notification,
    load: Wanted,
}

pub(crate) struct Tree {
    pub(super) late_index: Arc<LateIndex>,
    pub(super) libraries: Arc<Libraries>,
    pub(super) files: Arc<StoreFiles>,
    pub(super) permission: Permission,
    pub(super) features: Features,
    /// See [`super::shared::Shared`].
    pub(super) reader: u32,
    /// Where loaders are mapped, in every process of the tree.
    pub(super) range: Range<u64>,
    pub(super) realiser: Realiser<Waiting>,
    pub(super) fallback: Fallback,
    /// May a desktop be told of a fetch that takes long?
    pub(super) notify: bool,
    pub(super) witness: Witness,
    /// In which everything that is logged about the tree stands.
    pub(super) span: Span,
    /// The first program's path, for reports.
    pub(super) program: PathBuf,
    pub(super) provisions: Provisions,
    pub(super) plans: Plans,
    pub(super) engine: EngineConfig,
    /// Folders that are in a search path of a program of the tree, or have been searched.
    searched: RwLock<HashSet<PathBuf>>,
    strangers: Strangers,
    custody: OnceLock<Custody>,
    /// What the served cache knows; worked out when it is first asked, which few programs make necessary.
    served: OnceLock<HashSet<String>>,
}

impl Tree {
    /// A tree of which nothing is known but its first program.
    pub(super) fn new(
        shared: &Shared,
        range: Range<u64>,
        reporter: Reporter,
        program: PathBuf,
    ) -> Result<Self, SharedError> {
        let open = shared.open()?;
        let (store, files) = (open.store.clone(), open.store.files.clone());
        Ok(Self {
            provisions: Provisions::of(&shared.settings, &open),
            plans: Plans::of(shared, &open),
            late_index: open.index,
            libraries: open.libraries,
            engine: open.engine,
            permission: Permission::of(shared),
            features: shared.features,
            reader: shared.reader,
            range,
            realiser: Realiser::new(store.store.clone(), roots::folder(&shared.settings, &program)),
            fallback: Fallback::by(store.nix.clone()),
            notify: store.notify,
            witness: Witness::new(reporter, files.clone()),
            files,
            span: info_span!("tree", program = %program.display()),
            program,
            searched: RwLock::default(),
            strangers: Strangers::default(),
            custody: OnceLock::new(),
            served: OnceLock::new(),
        })
    }

    /// The index, which is opened when it is first asked for.
    pub(super) fn index(&self) -> &Index {
        self.late_index.get()
    }

    /// Takes up a tree that a worker has left: the loaders are those that it had met.
    pub(super) fn restore(&self, record: Record) {
        for path in record.loaders {
            match self
                .files
                .open(&path)
                .map_err(|error| error.to_string())
                .and_then(|file| Loader::new(&path, file).map_err(|error| error.to_string()))
            {
                Ok(loader) => drop(self.provisions.add(loader)),
                Err(error) => warn!(%error, "a loader of the tree is gone"),
            }
        }
        for Special { program, loader, seeds, choices } in record.special {
            if let Some(provision) = self.provisions.find(|one| one.path == loader) {
                let provision = match (seeds, GuestRoot::own()) {
                    (Some(own), Ok(root)) => {
                        self.provisions.with_seeds(&provision, &self.seeds_in(own, &root))
                    }
                    _ => provision,
                };
                self.provisions.specialise(&program, &provision, choices, None);
            }
        }
    }

    /// What the next worker has to know.
    pub(super) fn record(&self) -> Vec<u8> {
        let special = self.provisions.special().into_iter();
        let special = special.map(|(program, provision, choices)| Special {
            program,
            loader: provision.loader.path.clone(),
            seeds: provision.seeds.as_ref().map(|seeds| seeds.folders().to_owned()),
            choices,
        });
        let record = Record {
            program: self.program.clone(),
            base: self.range.start,
            loaders: self.provisions.loaders(),
            special: special.collect(),
        };
        record.to_bytes().unwrap_or_default()
    }

    /// From now on the keeper is told what changes.
    pub(super) fn give_into(&self, custody: Custody) {
        // A tree is given away once.
        let _ = self.custody.set(custody);
    }

    /// Remembers a program's needs, search paths and choices.
    /// `cache`: what it is served, if that is known already.
    pub(super) fn learn(
        &self,
        program: &Path,
        closure: Closure,
        provision: &Arc<Provision>,
        cache: Option<ServedCache>,
    ) {
        self.witness.learn(&closure);
        let mut searched = self.searched.write().unwrap_or_else(PoisonError::into_inner);
        searched.extend(closure.searched);
        drop(searched);
        self.provisions.specialise(program, provision, closure.choices, cache);
        if let Some(custody) = self.custody.get() {
            custody.update(&self.record());
        }
    }

    /// Is the folder in a search path?
    pub(super) fn is_searched(&self, folder: &Path) -> bool {
        self.searched.read().unwrap_or_else(PoisonError::into_inner).contains(folder)
    }

    /// Does the served cache know this soname?
    pub(super) fn is_served(&self, soname: &str) -> bool {
        let names = || {
            let cache = self.index().base_cache().and_then(|cache| ldcache::parse(cache).ok());
            cache.unwrap_or_default().into_iter().map(|entry| entry.soname).collect()
        };
        self.served.get_or_init(names).contains(soname)
    }

    /// A search of a folder begins with its folders for newer processors (`glibc-hwcaps`, ld.so(8)); an open by whole
    /// path has none. So a folder is found out that a library opened later has in its search path. Of those nobody is told
    /// who is told of misses only; but then every search of a folder is one by what the miss says.
    fn notice_search(&self, path: &Path, call: &Call) {
        let folder = match call {
            Call::Missed { on_stack: true, .. } => path.parent(),
            _ => path
                .ancestors()
                .skip(1)
                .find(|folder| folder.ends_with("glibc-hwcaps"))
                .and_then(Path::parent),
        };
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
            Call::Stat { buffer, .. } => {
                let buffer = *buffer;
                self.describe(notification, buffer);
            }
            Call::Open { .. } if !self.is_by_a_loader(&notification) => notification.let_through(),
            Call::Open { .. } | Call::Missed { .. } => self.open(notification, pool),
            Call::Other => notification.let_through(),
        }
    }

    /// Only a loader is served: the tree's, or one that the kernel has started a process under.
    fn is_by_a_loader(&self, notification: &Notification) -> bool {
        let (instruction, Some(thread)) = (notification.instruction(), notification.thread()) else {
            return true; // whose memory cannot be read either
        };
        if self.range.contains(&instruction.0) {
            return true;
        }
        match self.strangers.caller(thread, instruction) {
            Caller::Loader => true,
            Caller::Other => false,
            Caller::NewLoader(path) => {
                let met = admission::provide_loader(self, &path, || self.files.open(&path));
                met.inspect_err(|error| debug!(%error, "a loader cannot be read")).is_ok()
            }
        }
    }

    /// Does what the pool was given.
    pub(super) fn work(&self, job: Job) {
        match job {
            Job::Greet(socket, thread) => {
                if let Err(error) = super::hello::greet_member(self, &socket, thread) {
                    debug!(%error, "a process of the tree could not be greeted");
                }
            }
            Job::Realise(object, thread) => {
                let _load = debug_span!("load", package = %object, thread = thread.map(Thread::id)).entered();
                let gate = self.gate(self.permission.askers.of(thread));
                let progress = self.witness.sightings.counting(&NoProgress);
                let (result, waiting) = self.realiser.run(&object, &progress, &gate);
                for waiting in waiting {
                    match &result {
                        Err(error) if self.fallback.helps(error) => self.rebuild(waiting, error),
                        _ => self.provide(waiting, &result),
                    }
                }
                if self.plans.has_news() {
                    self.plans.write(self);
                }
            }
            Job::Rebuild(waiting, error) => self.rebuild(*waiting, &error),
            Job::Keep => self.plans.write(self),
        }
    }

    fn open(&self, notification: Notification, pool: &Pool) {
        let since = Instant::now();
        let Ok(path) = notification.path() else { return notification.let_through() };
        let (thread, address) = (notification.thread(), notification.address());
        self.notice_search(&path, notification.call());
        let step = decide(&path, &View::new(self, &notification));
        let load = debug_span!("load", path = %path.display(), thread = thread.map(Thread::id));
        let _load = load.entered();
        debug!(?step);
        if step != Step::LetThrough && !notification.is_waiting() {
            return notification.let_through();
        }
        let wanted = |choice: Choice, redirect| {
            let soname = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Wanted { soname, choice, thread, asked: (path.clone(), address), redirect, since }
        };
        let asked = Trapped { path: &path, address, thread, since };
        match step {
            Step::LetThrough => {
                if let Some(refusal) = self.objection_to_file(&path, thread)
                    && notification.is_waiting()
                {
                    let soname = path.file_name().unwrap_or_default().to_string_lossy();
                    self.forbid(&soname, thread, since, &refusal);
                    return notification.not_there();
                }
                let sight = self.witness.sightings.let_through(asked);
                self.go_on(notification, &path);
                self.witness.sightings.tell(sight);
            }
            Step::ServeCache => {
                self.witness.sightings.consulted(thread);
                match self.provisions.with_cache(thread, &path, ServedCache::open) {
                    Some(cache) => notification.return_descriptor(cache.as_fd()),
                    None => notification.let_through(),
                }
            }
            Step::Realise(choice) => self.want(notification, wanted(choice, false), pool),
            Step::Redirect(choice) => self.want(notification, wanted(choice, true), pool),
            Step::Driver(file) => self.give_driver(notification, asked, &file),
            Step::Seed(file) => self.give_seed(notification, &file),
            Step::Missing(soname) => {
                self.witness.sightings.missing(asked);
                match self.objection_to_all(&soname, thread) {
                    Some(refusal) => {
                        self.forbid(&soname, thread, since, &refusal);
                    }
                    None => {
                        self.witness.missing(&soname, thread, since);
                        if let Some(program) = self.program_of(thread) {
                            self.plans.learn_absence(&program, &soname);
                        }
                    }
                }
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
    fn describe(&self, notification: Notification, buffer: Address) {
        let Ok(path) = notification.path() else { return notification.let_through() };
        let stat = self.provisions.with_cache(notification.thread(), &path, ServedCache::metadata);
        if stat.is_some() {
            self.witness.sightings.consulted(notification.thread());
        }
        let stat = stat.or_else(|| self.files.stat_elsewhere(&path));
        // Writing the answer asks whether the thread still waits.
        match stat {
            Some(stat) if notification.write_stat(buffer, &stat).is_ok() => notification.succeed(),
            _ => notification.let_through(),
        }
    }

    /// Asks the policy, and then for the package.
    fn want(&self, notification: Notification, load: Wanted, pool: &Pool) {
        if let Some(refusal) = self.objection_to(&load) {
            self.forbid(&load.soname, load.thread, load.since, &refusal);
            return notification.not_there();
        }
        self.forget_failures_of_another_policy();
        let (object, thread) = (load.choice.object.clone(), load.thread);
        match self.realiser.ask(&object, Waiting { notification, load }) {
            Asked::Answered(waiting, Err(error)) if self.fallback.helps(&error) => {
                pool.submit(Job::Rebuild(Box::new(waiting), error));
            }
            Asked::Answered(waiting, result) => self.provide(waiting, &result),
            Asked::Start => pool.submit(Job::Realise(object, thread)),
            Asked::Waiting => {}
        }
    }

    /// Answers a load whose package cannot be had with the same file of one that is built now.
    fn rebuild(&self, waiting: Waiting, error: &StoreError) {
        let Waiting { notification, mut load } = waiting;
        match self.build(&load.choice) {
            Ok(choice) => {
                load.choice = choice;
                load.redirect = true;
                if let Some(refusal) = self.objection_to(&load) {
                    self.forbid(&load.soname, load.thread, load.since, &refusal);
                    return notification.not_there();
                }
                self.give(Waiting { notification, load }, &Ok(()));
            }
            Err(second) => {
                warn!(package = %load.choice.attribute, error = %second, "cannot be built either");
                let both = StoreError::Refused(format!("{error}; and the fallback: {second}"));
                self.give(Waiting { notification, load }, &Err(both));
            }
        }
    }

    /// Answers a load whose package is there now, or cannot be had, and remembers it for the next start.
    fn provide(&self, waiting: Waiting, result: &Result<(), StoreError>) {
        let Wanted { soname, choice, thread, .. } = &waiting.load;
        if let (Ok(()), Some(program)) = (result, self.program_of(*thread)) {
            self.plans.learn(&program, soname, choice);
        }
        self.give(waiting, result);
    }

    /// The program that a thread runs.
    fn program_of(&self, thread: Option<Thread>) -> Option<PathBuf> {
        thread?.executable_path().ok()
    }

    /// What is to be told is told first: with the answer the program goes on, and may be the last of its tree.
    fn give(&self, waiting: Waiting, result: &Result<(), StoreError>) {
        let Waiting { notification, load } = waiting;
        if let Err(error) = result {
            self.witness.failed(&load, error);
            return match error {
                StoreError::Gate(_) => notification.not_there(),
                _ => notification.let_through(),
            };
        }
        self.expect_dependencies_of(&load.choice.file);
        let sightings = &self.witness.sightings;
        let (path, address) = &load.asked;
        let asked = Trapped { path, address: *address, thread: load.thread, since: load.since };
        if !load.redirect {
            sightings.tell(sightings.let_through(asked));
            return self.go_on(notification, &load.choice.file);
        }
        match self.files.open(&load.choice.file) {
            Ok(file) => {
                sightings.tell(sightings.redirected(asked, &file, &load.choice.file));
                notification.return_descriptor(file.as_fd());
            }
            Err(error) => {
                warn!(file = %load.choice.file.display(), %error, "a realised library cannot be opened");
                notification.let_through();
            }
        }
    }
}
