//! What makes traps. An engine yields pending calls until its tree has ended; it decides nothing.

mod seccomp;

pub(crate) use seccomp::SeccompEngine;

use std::io;

use crate::guest::notification::Notification;

/// A source of trapped calls.
pub(crate) trait Engine: Send {
    /// Waits for the next trapped call; `None` when no process of the tree is left.
    fn next(&mut self) -> io::Result<Option<Notification>>;
}
