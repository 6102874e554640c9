//! What the supervisor sees of a tree that is traced: raw, in order, and without looking into any file. What it means is
//! worked out elsewhere ([`super::trace`]), by a thread that no program waits for.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::store::StorePath;

/// Something that was seen.
#[derive(Debug)]
pub(crate) struct Event {
    /// Since the trace began.
    pub(crate) at: Duration,
    /// The process that it is about; 0 where it cannot be told.
    pub(crate) process: u32,
    pub(crate) what: What,
}

/// What was seen.
#[derive(Debug)]
pub(crate) enum What {
    /// The engine that serves the tree, and why it is that one.
    Engine(String),
    /// A process begins, or executes another program.
    Process(Beginning),
    /// The loader opened paths at which there was nothing.
    Tried(Vec<PathBuf>),
    /// The loader looked at its cache. It keeps it while it starts a program, and for the length of one dlopen(3).
    Consulted,
    /// The loader got a file.
    Opened(Opened),
    /// The loader was refused a library.
    Refused(Refused),
    /// A store path was fetched; so many bytes were downloaded, where that is known.
    Fetched(StorePath, u64),
    /// The tree has ended, and its first program so.
    Over { status: Option<i32>, signal: Option<i32> },
}

/// A program at its start.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    pub(crate) program: PathBuf,
    /// The program's file; none if it cannot be read.
    pub(crate) file: Option<File>,
    pub(crate) parent: u32,
    /// `LD_LIBRARY_PATH`.
    pub(crate) library_path: Option<String>,
    /// `LD_PRELOAD`.
    pub(crate) preload: Option<String>,
}

/// A file that the loader got.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The path that the loader opened.
    pub(crate) asked: PathBuf,
    /// The file that it got: another one, where it was redirected.
    pub(crate) path: PathBuf,
    pub(crate) file: File,
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
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) soname: String,
    /// Who brought it up, where that is not who is linked against it.
    pub(crate) needed_by: Option<PathBuf>,
    /// Attribute and output of the package that has it.
    pub(crate) package: Option<String>,
    pub(crate) why: Refusal,
    pub(crate) took: Duration,
}

/// Why a library was not provided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No package has it, or none that would do; the sentence that says so.
    Absent(String),
    /// A package has it and cannot be had.
    Failed(String),
    /// The policy forbids it; the rule.
    Forbidden(String),
}

/// Where events go; nowhere, for a program that nobody watches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter(Option<(Instant, Sender<Event>)>);

impl Reporter {
    /// A reporter, and where its events arrive. What is sent waits for nobody.
    pub(crate) fn listening(since: Instant) -> (Self, Receiver<Event>) {
        let (sender, receiver) = unbounded();
        (Self(Some((since, sender))), receiver)
    }

    /// Is anybody listening? What only a report needs is not worked out otherwise.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Tells what was seen.
    pub(crate) fn report(&self, process: u32, what: What) {
        if let Some((since, sender)) = &self.0 {
            // Whoever has stopped listening does not want to know.
            let _ = sender.send(Event { at: since.elapsed(), process, what });
        }
    }
}
