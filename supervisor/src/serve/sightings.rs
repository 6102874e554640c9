//! What is seen of a traced tree at its traps, before they are answered: who asks, and which file the loader is about to
//! get. Nothing of it is done for a program that nobody watches, and nothing here looks into a file: that is the
//! listener's to do, while the program goes on.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use super::witness::{lock, process_of};
use crate::guest::remote::{Address, Presence, Thread, variable_in};
use crate::report::event::{Beginning, Opened, Reporter, What};
use crate::report::watcher::Watcher;
use crate::store::{Progress, STORE, StoreFiles, StorePath};

/// More threads are not remembered: then they are looked at again.
const MOST: usize = 4096;

/// So many paths are told of at a time.
const TOGETHER: usize = 128;

/// The processes of a tree, as far as they have been seen.
pub(super) struct Sightings {
    reporter: Reporter,
    store: Arc<StoreFiles>,
    processes: Mutex<HashMap<u32, Seen>>,
    /// Which process a thread is of, which takes longest to find out. A number comes again when all others were used.
    threads: Mutex<HashMap<Thread, u32>>,
    /// Paths at which a process's loader found nothing, until there is more to tell: most opens are such.
    tried: Mutex<(u32, Vec<PathBuf>)>,
    began: Mutex<SystemTime>,
    /// Somebody has begun to watch when the tree was there already.
    is_late: AtomicBool,
}

/// A process that was seen before.
struct Seen {
    /// What the kernel says that it executes: when that changes, so has everything else.
    executable: PathBuf,
    /// Device and inode of what its loader has got.
    files: HashSet<(u64, u64)>,
}

/// A file that a loader is about to get; what it takes to tell of it.
pub(super) struct Sight {
    process: u32,
    opened: Opened,
    since: Instant,
}

/// An open as it was trapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'p> {
    pub(super) path: &'p Path,
    /// Where the thread has the path.
    pub(super) address: Address,
    pub(super) thread: Option<Thread>,
    pub(super) since: Instant,
}

impl Sightings {
    pub(super) fn new(reporter: Reporter, store: Arc<StoreFiles>) -> Self {
        Self {
            reporter,
            store,
            processes: Mutex::default(),
            threads: Mutex::default(),
            tried: Mutex::default(),
            began: Mutex::new(SystemTime::now()),
            is_late: AtomicBool::new(false),
        }
    }

    /// Somebody watches from now on, and wants to know of this process first.
    ///
    /// # Errors
    /// The watcher, if there is another one.
    pub(super) fn attend(&self, watcher: Watcher, engine: &str, member: Thread) -> Result<(), Watcher> {
        self.reporter.begin(watcher)?;
        // What the one before has been told, this one has not.
        lock(&self.processes).clear();
        lock(&self.threads).clear();
        lock(&self.tried).1.clear();
        *lock(&self.began) = SystemTime::now();
        self.is_late.store(true, Ordering::Release);
        self.report(0, What::Engine(engine.to_owned()));
        self.process(member);
        Ok(())
    }

    /// There will be nothing more.
    pub(super) fn end(&self) {
        self.tell_tried();
        self.reporter.end();
    }

    /// A program says hello.
    pub(super) fn meet(&self, thread: Thread, program: &Path) {
        if self.reporter.is_heard() {
            let process = process_of(thread);
            lock(&self.threads).insert(thread, process);
            self.begin(thread, process, Some(program));
        }
    }

    /// An open that is let through. What there is at the path is what the loader gets, unless it is taken away in this
    /// moment.
    pub(super) fn let_through(&self, asked: Asked<'_>) -> Option<Sight> {
        let thread = asked.thread.filter(|_| self.reporter.is_heard())?;
        // Most opens of a start are such, and the store is everybody's: what is not there need not be looked for twice.
        if asked.path.starts_with(STORE) && self.store.presence(asked.path) == Presence::Absent {
            self.try_in_vain(self.number(thread), asked.path.to_owned());
            return None;
        }
        let process = self.process(thread);
        let path = if asked.path.is_absolute() {
            asked.path.to_owned()
        } else {
            thread.working_directory().ok()?.join(asked.path)
        };
        let open = || thread.root().and_then(|root| root.open(&path)).ok();
        match self.store.open_elsewhere(&path).or_else(open) {
            Some(file) => self.sight(process, thread, asked, file, path, false),
            None => {
                self.try_in_vain(process, path);
                None
            }
        }
    }

    /// There is nothing at the path of an open.
    pub(super) fn missing(&self, asked: Asked<'_>) {
        if let Some(thread) = asked.thread.filter(|_| self.reporter.is_heard()) {
            self.try_in_vain(self.process(thread), asked.path.to_owned());
        }
    }

    /// Tells what is downloaded for a request, besides whoever else wants to know.
    pub(super) fn counting<'p>(&'p self, also: &'p dyn Progress) -> Counting<'p> {
        Counting { reporter: &self.reporter, also }
    }

    /// The loader looks at its cache.
    pub(super) fn consulted(&self, thread: Option<Thread>) {
        if let Some(thread) = thread.filter(|_| self.reporter.is_heard()) {
            self.report(self.process(thread), What::Consulted);
        }
    }

    /// An open that is answered with `file`, which lies at `path`.
    pub(super) fn redirected(&self, asked: Asked<'_>, file: &File, path: &Path) -> Option<Sight> {
        let thread = asked.thread.filter(|_| self.reporter.is_heard())?;
        let process = self.process(thread);
        self.sight(process, thread, asked, file.try_clone().ok()?, path.to_owned(), true)
    }

    /// Who has called dlopen(3) for a name that the thread's loader is after.
    pub(super) fn caller(&self, thread: Option<Thread>, soname: &str) -> Option<PathBuf> {
        let thread = thread.filter(|_| self.reporter.is_heard())?;
        thread.dlopen_caller(thread.stack_pointer().ok()?, Path::new(soname))
    }

    /// Tells of a file that the loader has got, or will with the answer.
    pub(super) fn tell(&self, sight: Option<Sight>) {
        if let Some(Sight { process, mut opened, since }) = sight {
            opened.took = since.elapsed();
            self.report(process, What::Opened(opened));
        }
    }

    /// Tells something, and what was tried before it.
    pub(super) fn report(&self, process: u32, what: What) {
        self.tell_tried();
        self.reporter.report(process, what);
    }

    /// Tells what was tried so far.
    pub(super) fn tell_tried(&self) {
        let (process, paths) = std::mem::take(&mut *lock(&self.tried));
        if !paths.is_empty() {
            self.reporter.report(process, What::Tried(paths));
        }
    }

    fn try_in_vain(&self, process: u32, path: PathBuf) {
        if lock(&self.tried).0 != process {
            self.tell_tried();
        }
        let mut tried = lock(&self.tried);
        tried.0 = process;
        tried.1.push(path);
        let is_much = tried.1.len() >= TOGETHER;
        drop(tried);
        if is_much {
            self.tell_tried();
        }
    }

    /// The process of a thread, which is told of if it has not been seen, or executes another program by now.
    fn process(&self, thread: Thread) -> u32 {
        let process = self.number(thread);
        let executable = thread.executable_path().unwrap_or_default();
        let known = lock(&self.processes).get(&process).is_some_and(|seen| seen.executable == executable);
        if !known {
            self.begin(thread, process, None);
        }
        process
    }

    /// The number of a thread's process.
    fn number(&self, thread: Thread) -> u32 {
        let mut threads = lock(&self.threads);
        if threads.len() >= MOST {
            threads.clear();
        }
        *threads.entry(thread).or_insert_with(|| process_of(thread))
    }

    fn begin(&self, thread: Thread, process: u32, program: Option<&Path>) {
        let executable = thread.executable_path().unwrap_or_default();
        let named = program.and_then(|program| thread.root().and_then(|root| root.open(program)).ok());
        let environment = thread.environment().unwrap_or_default();
        let text = |name: &str| {
            variable_in(&environment, name).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let parent = thread.parent().unwrap_or(0);
        let is_fork = lock(&self.processes).get(&parent).is_some_and(|seen| seen.executable == executable);
        // Who says hello has nothing yet, and who only forked has what its parent had.
        let is_under_way = self.is_late.load(Ordering::Acquire) && program.is_none() && !is_fork;
        let beginning = Beginning {
            program: program.unwrap_or(&executable).to_owned(),
            file: named.or_else(|| thread.executable().ok()),
            parent,
            library_path: text("LD_LIBRARY_PATH"),
            preload: text("LD_PRELOAD"),
            present: if is_under_way { thread.mapped_files().unwrap_or_default() } else { Vec::new() },
        };
        lock(&self.processes).insert(process, Seen { executable, files: HashSet::new() });
        self.report(process, What::Process(beginning));
    }

    fn sight(
        &self,
        process: u32,
        thread: Thread,
        asked: Asked<'_>,
        file: File,
        path: PathBuf,
        is_redirected: bool,
    ) -> Option<Sight> {
        let data = file.metadata().ok()?;
        let identity = (data.dev(), data.ino());
        let pointer = thread.stack_pointer().ok();
        let is_new = lock(&self.processes).get_mut(&process).is_none_or(|seen| seen.files.insert(identity));
        let opened = Opened {
            asked: asked.path.to_owned(),
            is_whole: !pointer.is_none_or(|pointer| asked.address.is_near(pointer)),
            is_redirected,
            caller: pointer.and_then(|pointer| thread.dlopen_caller(pointer, asked.path)),
            // After a dlclose(3) it may have to be loaded again.
            is_known: !is_new && is_mapped(thread, &file),
            was_realised: data.created().is_ok_and(|born| born >= *lock(&self.began)),
            took: asked.since.elapsed(),
            path,
            file: Some(file),
        };
        Some(Sight { process, opened, since: asked.since })
    }
}

/// The progress of a request, of which downloads are told.
pub(super) struct Counting<'p> {
    reporter: &'p Reporter,
    also: &'p dyn Progress,
}

impl Progress for Counting<'_> {
    fn begin(&self, paths: usize, bytes: Option<u64>) {
        self.also.begin(paths, bytes);
    }

    fn started(&self, path: &StorePath, bytes: Option<u64>) {
        self.also.started(path, bytes);
    }

    fn received(&self, path: &StorePath, bytes: u64) {
        self.also.received(path, bytes);
    }

    fn finished(&self, path: &StorePath, bytes: u64) {
        self.also.finished(path, bytes);
        self.reporter.report(0, What::Fetched(path.clone(), bytes));
    }

    fn end(&self) {
        self.also.end();
    }
}

/// Has the thread's process mapped this file? Both paths are as we see them.
fn is_mapped(thread: Thread, file: &File) -> bool {
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
    path.is_some_and(|path| thread.maps(&path).unwrap_or(false))
}
