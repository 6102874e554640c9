//! seccomp user notification (seccomp_unotify(2)): receiving traps and answering them.
//!
//! libseccomp receives, answers and validates. What it has no function for is here: `ADDFD` (Linux 5.9, with
//! `FLAG_SEND` since 5.14) and `SET_FLAGS` (6.6).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The supervisor's end of a filter.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

/// A trapped system call as the kernel reports it; answered by its `id`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trap {
    pub(crate) id: u64,
    /// The calling thread; 0 where it lives in a pid namespace that this process cannot see.
    pub(crate) thread: u32,
    /// Number of the system call on x86-64.
    pub(crate) syscall: i32,
    pub(crate) arguments: [u64; 6],
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

const ADDFD_FLAG_SEND: u32 = 1 << 1;
const FD_SYNC_WAKE_UP: i32 = 1 << 0;

impl Listener {
    /// Takes a listener that a shim sent.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Asks the kernel to wake the supervisor on the processor of the trapped thread (Linux 6.6), which makes a
    /// trap several times cheaper. `false` where the kernel cannot.
    pub(crate) fn wake_up_synchronously(&self) -> bool {
        // SAFETY: the request takes its flags by value.
        unsafe { ioctl::set_flags(self.0.as_raw_fd(), FD_SYNC_WAKE_UP) }.is_ok()
    }

    /// Waits for a trap; `None` when no process with this filter is left.
    pub(crate) fn receive(&self) -> io::Result<Option<Trap>> {
        loop {
            // RECV alone would wait for ever once the last process is gone, before Linux 6.11.
            let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
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
            match ScmpNotifReq::receive(self.0.as_raw_fd()) {
                Ok(request) => {
                    return Ok(Some(Trap {
                        id: request.id,
                        thread: request.pid,
                        syscall: request.data.syscall.as_raw_syscall(),
                        arguments: request.data.args,
                    }));
                }
                // The thread was killed or interrupted between poll and RECV (ENOENT), or we were (EINTR); libseccomp
                // reports either as ECANCELED. What does not pass, poll finds.
                Err(error) if error.sysrawrc().is_some() => {
                    let errno = error.sysrawrc().map_or(0, |code| code.abs());
                    if ![libc::ENOENT, libc::EINTR, libc::ECANCELED].contains(&errno) {
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// Does the trapped thread still wait for this answer? What was read from its memory counts only if it did
    /// so *after* the read: until then its process id may have become somebody else's.
    pub(crate) fn is_waiting(&self, id: u64) -> bool {
        libseccomp::notify_id_valid(self.0.as_raw_fd(), id).is_ok()
    }

    /// Lets the kernel execute the call as if there were no filter (`FLAG_CONTINUE`, Linux 5.5).
    pub(crate) fn let_through(&self, id: u64) -> io::Result<()> {
        self.respond(&ScmpNotifResp::new_continue(id, ScmpNotifRespFlags::empty()))
    }

    /// Makes the call return a value.
    pub(crate) fn return_value(&self, id: u64, value: i64) -> io::Result<()> {
        self.respond(&ScmpNotifResp::new_val(id, value, ScmpNotifRespFlags::empty()))
    }

    /// Makes the call fail.
    pub(crate) fn fail(&self, id: u64, errno: Errno) -> io::Result<()> {
        self.respond(&ScmpNotifResp::new_error(id, -(errno as i32), ScmpNotifRespFlags::empty()))
    }

    /// Makes the call return a copy of `descriptor`, with close-on-exec if asked for.
    pub(crate) fn return_descriptor(
        &self,
        id: u64,
        descriptor: BorrowedFd<'_>,
        close: bool,
    ) -> io::Result<()> {
        let mut request = ioctl::AddFd {
            id,
            flags: ADDFD_FLAG_SEND,
            source: descriptor.as_raw_fd().cast_unsigned(),
            target: 0,
            target_flags: if close { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
        };
        // SAFETY: `request` is what the kernel expects, and is only read.
        match unsafe { ioctl::add_fd(self.0.as_raw_fd(), &raw const request) } {
            Ok(_) => Ok(()),
            // Before Linux 5.14: two steps. If the second fails the process keeps a descriptor, and a chance.
            Err(Errno::EINVAL) => {
                request.flags = 0;
                // SAFETY: as above.
                let number = unsafe { ioctl::add_fd(self.0.as_raw_fd(), &raw const request) }?;
                self.return_value(id, number.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn respond(&self, response: &ScmpNotifResp) -> io::Result<()> {
        response.respond(self.0.as_raw_fd()).map_err(|error| match error.sysrawrc() {
            Some(code) => io::Error::from_raw_os_error(code.abs()),
            None => io::Error::other(error),
        })
    }
}
