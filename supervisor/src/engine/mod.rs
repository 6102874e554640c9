//! What makes traps. An engine yields pending calls until its tree has ended; it decides nothing.

pub(crate) mod choose;
pub(crate) mod inline;
mod ptrace;
mod seccomp;

pub(crate) use inline::InlineEngine;
pub(crate) use ptrace::{PtraceEngine, Stops};
pub(crate) use seccomp::SeccompEngine;

use std::io;

use crate::guest::notification::Notification;
use crate::guest::remote::Thread;

/// A source of trapped calls. It stays in the thread that made it, which ptrace(2) demands.
pub(crate) trait Engine {
    /// Waits for the next trapped call; `None` when no process of the tree is left.
    fn next(&mut self) -> io::Result<Option<Notification>>;

    /// The process that is all of the tree, under an engine of which a tree is one process.
    fn only_process(&self) -> Option<Thread> {
        None
    }
}
