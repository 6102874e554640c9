//! seccomp user notification (seccomp_unotify(2)): receiving traps and answering them.
//!
//! libseccomp answers and validates. What it has no function for is here: `ADDFD` (Linux 5.9), `SET_FLAGS` (6.6), and
//! receiving into memory of our own ([`Ledger`]).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libseccomp::{ScmpNotifResp, ScmpNotifRespFlags};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ledger::{Ledger, Trap};

/// The supervisor's end of a filter, and the traps that wait for their answers.
#[derive(Debug)]
pub(crate) struct Listener {
    descriptor: OwnedFd,
    ledger: Ledger,
}

mod ioctl {
    use nix::{ioctl_write_int_bad, ioctl_write_ptr, request_code_write};

    /// `struct seccomp_notif_addfd`, linux/seccomp.h.
    #[repr(C)]
    pub(super) struct AddFd {
        pub(super) id: u64,
        pub(super) flags: u32,
        pub(super) source: u32,
        pub(super) target: u32,
        pub(super) target_flags: u32,
    }

    ioctl_write_ptr!(add_fd, b'!', 3, AddFd);
    ioctl_write_int_bad!(set_flags, request_code_write!(b'!', 4, size_of::<u64>()));
}

const FD_SYNC_WAKE_UP: i32 = 1 << 0;

impl Listener {
    /// Takes a listener that a shim sent, with an empty ledger, or one that has another process's open traps.
    pub(crate) fn new(descriptor: OwnedFd, ledger: Ledger) -> Self {
        Self { descriptor, ledger }
    }

    /// Its open traps.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Asks the kernel to wake the supervisor on the processor of the trapped thread (Linux 6.6), which makes a
    /// trap several times cheaper. `false` where the kernel cannot.
    pub(crate) fn wake_up_synchronously(&self) -> bool {
        // SAFETY: the request takes its flags by value.
        unsafe { ioctl::set_flags(self.descriptor.as_raw_fd(), FD_SYNC_WAKE_UP) }.is_ok()
    }

    /// Waits for a trap; `None` when no process with this filter is left.
    pub(crate) fn receive(&self) -> io::Result<Option<Trap>> {
        loop {
            // RECV alone would wait for ever once the last process is gone, before Linux 6.11.
            let mut descriptors = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            match poll(&mut descriptors, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let events = descriptors[0].revents().unwrap_or(PollFlags::empty());
            if !events.contains(PollFlags::POLLIN) {
                if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
                    return Ok(None);
                }
                continue;
            }
            match self.ledger.receive(self.descriptor.as_raw_fd()) {
                Ok(trap) => return Ok(Some(trap)),
                // The thread was killed or interrupted between poll and RECV (ENOENT), or we were (EINTR). What does not
                // pass, poll finds.
                Err(Errno::ENOENT | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Does the trapped thread still wait for this answer? What was read from its memory counts only if it did
    /// so *after* the read: until then its process id may have become somebody else's.
    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        // The kernel waits for a lock, in which a signal can interrupt it; what libseccomp returns does not say so.
        loop {
            match libseccomp::notify_id_valid(self.descriptor.as_raw_fd(), id) {
                Ok(()) => return true,
                Err(_) if Errno::last() == Errno::EINTR => {}
                Err(_) => return false,
            }
        }
    }

    /// Lets the kernel execute the call as if there were no filter (`FLAG_CONTINUE`, Linux 5.5).
    pub(crate) fn let_through(&self, id: u64) -> io::Result<()> {
        self.respond(id, &ScmpNotifResp::new_continue(id, ScmpNotifRespFlags::empty()))
    }

    /// Makes the call return a value.
    pub(crate) fn return_value(&self, id: u64, value: i64) -> io::Result<()> {
        self.respond(id, &ScmpNotifResp::new_val(id, value, ScmpNotifRespFlags::empty()))
    }

    /// Makes the call fail.
    pub(crate) fn fail(&self, id: u64, errno: Errno) -> io::Result<()> {
        self.respond(id, &ScmpNotifResp::new_error(id, -(errno as i32), ScmpNotifRespFlags::empty()))
    }

    /// Makes the call return a copy of `descriptor`, with close-on-exec if asked for.
    pub(crate) fn return_descriptor(
        &self,
        id: u64,
        descriptor: BorrowedFd<'_>,
        close: bool,
    ) -> io::Result<()> {
        let request = ioctl::AddFd {
            id,
            flags: 0,
            source: descriptor.as_raw_fd().cast_unsigned(),
            target: 0,
            target_flags: if close { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        // In two steps, although FLAG_SEND (Linux 5.14) would do it in one: a supervisor that is killed while that is under
        // way makes the call return 0, which is somebody's standard input (`seccomp_notify_addfd`, kernel/seccomp.c, sets
        // the state to "replied" before it waits). A kill between these two leaves the call to the next supervisor, and
        // the process one descriptor more.
        loop {
            // SAFETY: `request` is what the kernel expects, and is only read.
            match unsafe { ioctl::add_fd(self.descriptor.as_raw_fd(), &raw const request) } {
                Ok(number) => return self.return_value(id, number.into()),
                Err(Errno::EINTR) => {} // then nothing was added
                Err(error) => return self.settled(id, Err(error.into())),
            }
        }
    }

    fn respond(&self, id: u64, response: &ScmpNotifResp) -> io::Result<()> {
        loop {
            let given =
                response.respond(self.descriptor.as_raw_fd()).map_err(|error| match error.sysrawrc() {
                    Some(code) => io::Error::from_raw_os_error(code.abs()),
                    None => io::Error::other(error),
                });
            if given.is_ok() || Errno::last() != Errno::EINTR {
                return self.settled(id, given);
            }
        }
    }

    /// Takes an answer off the ledger, unless it was refused and the thread still waits for another.
    fn settled(&self, id: u64, given: io::Result<()>) -> io::Result<()> {
        if given.is_ok() || !self.is_waiting(id) {
            self.ledger.settle(id);
        }
        given
    }
}
