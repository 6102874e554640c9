//! The seccomp engine: the kernel stops a thread of the tree at a call that the filter names, and tells us.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use tracing::debug;

use super::Engine;
use crate::guest::notification::{Call, Notification, Responder};
use crate::guest::remote::{Address, Thread};
use crate::sys::ledger::{Ledger, Trap};
use crate::sys::seccomp_notify::Listener;

/// Traps by user notification (seccomp_unotify(2)).
pub(crate) struct SeccompEngine {
    listener: Arc<Listener>,
    /// Received by a supervisor that is gone.
    left: Vec<Trap>,
}

impl SeccompEngine {
    /// Takes the listener of a tree's filter, and what is still to be answered there.
    pub(crate) fn new(listener: OwnedFd, ledger: Ledger) -> Self {
        let left = ledger.open_traps();
        let listener = Listener::new(listener, ledger);
        if !listener.wake_up_synchronously() {
            debug!("this kernel (before 6.6) wakes the supervisor the slow way");
        }
        Self { listener: Arc::new(listener), left }
    }

    /// The next trap that waits for an answer.
    fn trap(&mut self) -> io::Result<Option<Trap>> {
        while let Some(trap) = self.left.pop() {
            if self.listener.is_waiting(trap.id) {
                return Ok(Some(trap));
            }
            self.listener.ledger().settle(trap.id); // it was answered, or its thread is gone
        }
        self.listener.receive()
    }
}

impl Engine for SeccompEngine {
    fn next(&mut self) -> io::Result<Option<Notification>> {
        let Some(trap) = self.trap()? else { return Ok(None) };
        let call = Call::from_registers(trap.syscall, &trap.arguments);
        let (thread, instruction) = (Thread::new(trap.thread), Address(trap.instruction));
        Ok(Some(Notification::new(self.listener.clone(), trap.id, thread, call, instruction)))
    }
}

impl Responder for Listener {
    fn let_through(&self, id: u64) -> io::Result<()> {
        Self::let_through(self, id)
    }

    fn return_descriptor(&self, id: u64, descriptor: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<()> {
        Self::return_descriptor(self, id, descriptor, close_on_exec)
    }

    fn return_value(&self, id: u64, value: i64) -> io::Result<()> {
        Self::return_value(self, id, value)
    }

    fn fail(&self, id: u64, errno: Errno) -> io::Result<()> {
        Self::fail(self, id, errno)
    }

    fn is_waiting(&self, id: u64) -> bool {
        Self::is_waiting(self, id)
    }
}
