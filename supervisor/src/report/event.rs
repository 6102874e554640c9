//! What the supervisor sees of a tree that is traced: raw, in order, and without looking into any file. What it means is
//! worked out elsewhere ([`super::trace`]), by a thread that no program waits for.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde::{Deserialize, Serialize};

use super::lossy;
use super::watcher::Watcher;
use crate::store::StorePath;

/// Something that was seen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Since the trace began.
    pub(crate) at: Duration,
    /// The process that it is about; 0 where it cannot be told.
    pub(crate) process: u32,
    pub(crate) what: What,
}

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum What {
    /// The engine that serves the tree, and why it is that one.
    Engine(String),
    /// A process begins, or executes another program.
    Process(Beginning),
    /// The loader opened paths at which there was nothing.
    Tried(#[serde(serialize_with = "lossy::list")] Vec<PathBuf>),
    /// The loader looked at its cache. It keeps it while it starts a program, and for the length of one dlopen(3).
    Consulted,
    /// The loader got a file.
    Opened(Opened),
    /// The loader was refused a library.
    Refused(Refused),
    /// A store path was fetched; so many bytes were downloaded, where that is known.
    Fetched(StorePath, u64),
    /// So many things happened that whoever watches could not be told of in time.
    Lost(u64),
    /// The tree has ended, and its first program so.
    Over { status: Option<i32>, signal: Option<i32> },
}

/// A program at its start.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Beginning {
    #[serde(serialize_with = "lossy::path")]
    pub(crate) program: PathBuf,
    /// The program's file; none if it cannot be read.
    #[serde(skip)]
    pub(crate) file: Option<File>,
    pub(crate) parent: u32,
    /// `LD_LIBRARY_PATH`.
    pub(crate) library_path: Option<String>,
    /// `LD_PRELOAD`.
    pub(crate) preload: Option<String>,
    /// The files that it has in memory already, if it is not at its start: highest address first, which is about the
    /// order in which they came.
    #[serde(serialize_with = "lossy::list")]
    pub(crate) present: Vec<PathBuf>,
}

/// A file that the loader got.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    /// The path that the loader opened.
    #[serde(serialize_with = "lossy::path")]
    pub(crate) asked: PathBuf,
    /// The file that it got: another one, where it was redirected.
    #[serde(serialize_with = "lossy::path")]
    pub(crate) path: PathBuf,
    /// None only on its way to a watcher.
    #[serde(skip)]
    pub(crate) file: Option<File>,
    /// Who has called dlopen(3) for it, if that was seen.
    #[serde(serialize_with = "lossy::option")]
    pub(crate) caller: Option<PathBuf>,
    /// The loader has not put the path together in a search: it was given it, or has it from its cache.
    pub(crate) is_whole: bool,
    /// It was returned by the supervisor; otherwise the loader opened it by itself.
    pub(crate) is_redirected: bool,
    /// The process had it mapped already: the loader looks and closes it again.
    pub(crate) is_known: bool,
    /// It was not in the store when the trace began.
    pub(crate) was_realised: bool,
    /// From trap to answer.
    pub(crate) took: Duration,
}

/// A library that was not provided, or not there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) soname: String,
    /// Who brought it up, where that is not who is linked against it.
    #[serde(serialize_with = "lossy::option")]
    pub(crate) needed_by: Option<PathBuf>,
    /// Who has called dlopen(3) for it, if that was seen.
    #[serde(serialize_with = "lossy::option")]
    pub(crate) caller: Option<PathBuf>,
    /// Attribute and output of the package that has it.
    pub(crate) package: Option<String>,
    pub(crate) why: Refusal,
    pub(crate) took: Duration,
}

/// Why a library was not provided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// No package has it, or none that would do; the sentence that says so.
    Absent(String),
    /// A package has it and cannot be had.
    Failed(String),
    /// The policy forbids it; the rule.
    Forbidden(String),
}

/// Where events go; nowhere, for a program that nobody watches. Somebody may begin to while it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Is there a listener? Asked at each trap.
    is_heard: AtomicBool,
    listener: Mutex<Option<Listener>>,
}

#[derive(Debug)]
enum Listener {
    /// In this process; what is sent waits for nobody.
    Here(Instant, Sender<Event>),
    Elsewhere(Watcher),
}

impl Reporter {
    /// A reporter, and where its events arrive. What is sent waits for nobody.
    pub(crate) fn listening(since: Instant) -> (Self, Receiver<Event>) {
        let (sender, receiver) = unbounded();
        let listener = Mutex::new(Some(Listener::Here(since, sender)));
        (Self(Arc::new(Shared { is_heard: AtomicBool::new(true), listener })), receiver)
    }

    /// Is anybody listening? What only a report needs is not worked out otherwise.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_heard.load(Ordering::Acquire)
    }

    /// From now on events go to a watcher. If somebody listens already, and is still there, that is who it is.
    ///
    /// # Errors
    /// The watcher, if it is not wanted.
    pub(crate) fn begin(&self, watcher: Watcher) -> Result<(), Watcher> {
        let mut listener = self.listener();
        if is_taken(listener.as_ref()) {
            return Err(watcher);
        }
        *listener = Some(Listener::Elsewhere(watcher));
        self.0.is_heard.store(true, Ordering::Release);
        Ok(())
    }

    /// Is there nobody who listens already?
    pub(crate) fn may_begin(&self) -> bool {
        !is_taken(self.listener().as_ref())
    }

    /// Tells a watcher that there will be no more.
    pub(crate) fn end(&self) {
        let mut listener = self.listener();
        if let Some(Listener::Elsewhere(watcher)) = listener.as_mut() {
            watcher.end();
            *listener = None;
            self.0.is_heard.store(false, Ordering::Release);
        }
    }

    /// Tells what was seen.
    pub(crate) fn report(&self, process: u32, what: What) {
        if !self.is_heard() {
            return;
        }
        let mut listener = self.listener();
        let is_gone = match listener.as_mut() {
            // Whoever has stopped listening does not want to know.
            Some(Listener::Here(since, sender)) => {
                sender.send(Event { at: since.elapsed(), process, what }).is_err()
            }
            Some(Listener::Elsewhere(watcher)) => watcher.tell(process, what).is_err(),
            None => true,
        };
        if is_gone {
            *listener = None;
            self.0.is_heard.store(false, Ordering::Release);
        }
    }

    fn listener(&self) -> MutexGuard<'_, Option<Listener>> {
        // Replaced as a whole, whatever happens.
        self.0.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_taken(listener: Option<&Listener>) -> bool {
    match listener {
        None => false,
        Some(Listener::Here(..)) => true,
        Some(Listener::Elsewhere(watcher)) => watcher.is_there(),
    }
}
