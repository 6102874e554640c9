//! Tells several threads of this process that something has happened to a child or tracee.
//!
//! `SIGCHLD` is sent to the process and not to the thread that traces (ptrace(2)), and signalfd(2) gives a signal to one
//! reader only. So a handler rings a bell for each tracer, and each looks whether it was meant.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::bell::Bell;

/// No process has as many tracing threads; one more is refused.
const MOST: usize = 256;

const NOBODY: i32 = -1;

/// The descriptors of all bells.
static BELLS: [AtomicI32; MOST] = [const { AtomicI32::new(NOBODY) }; MOST];

/// Readable when something may have happened to a child.
#[derive(Debug)]
pub(crate) struct ChildBell {
    bell: Bell,
    place: usize,
}

impl ChildBell {
    /// Hangs up a bell; from then on the handler is installed.
    pub(crate) fn new() -> io::Result<Self> {
        let bell = Bell::new()?;
        let number = bell.as_fd().as_raw_fd();
        let take = |place: &AtomicI32| {
            place.compare_exchange(NOBODY, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = BELLS.iter().position(take).ok_or(Errno::EAGAIN)?;
        let action = SigAction::new(SigHandler::Handler(ring), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler makes system calls only and keeps `errno` (signal-safety(7)).
        unsafe { sigaction(Signal::SIGCHLD, &action) }?;
        let mut child = SigSet::empty();
        child.add(Signal::SIGCHLD);
        child.thread_unblock()?;
        Ok(Self { bell, place })
    }

    /// Makes it silent until it is rung again.
    pub(crate) fn hush(&self) {
        self.bell.hush();
    }
}

impl AsFd for ChildBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for ChildBell {
    fn drop(&mut self) {
        // Before its number can become another descriptor's.
        BELLS[self.place].store(NOBODY, Ordering::Release);
    }
}

extern "C" fn ring(_: libc::c_int) {
    let errno = Errno::last_raw();
    let one = 1_u64.to_ne_bytes();
    for bell in BELLS.iter().map(|bell| bell.load(Ordering::Acquire)).filter(|bell| *bell != NOBODY) {
        // SAFETY: write(2) reads eight bytes. A bell that has just been taken down is at worst another descriptor of
        // this process for one instruction: its owner takes it off the list before it closes it.
        while unsafe { libc::write(bell, one.as_ptr().cast(), one.len()) } < 0
            && Errno::last() == Errno::EINTR
        {}
    }
    Errno::set_raw(errno);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::process::Command;

    #[test]
    fn all_bells_ring_at_the_end_of_a_child() {
        let bells = [ChildBell::new().unwrap(), ChildBell::new().unwrap()];
        assert!(Command::new("true").status().unwrap().success());
        for bell in &bells {
            let mut polled = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut polled, PollTimeout::from(10_000_u16)).unwrap(), 1);
            bell.hush();
        }
    }
}
