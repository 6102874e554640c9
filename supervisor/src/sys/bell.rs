//! What wakes a thread that waits in poll(2): an eventfd(2) that is read by nobody but its owner.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Readable from being rung until being hushed, however often it was rung.
#[derive(Debug)]
pub(crate) struct Bell(EventFd);

impl Bell {
    /// One that is silent.
    ///
    /// # Errors
    /// The kernel is short of descriptors or memory.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Wakes whoever waits.
    pub(crate) fn ring(&self) {
        // What else can fail is that it has been rung too often, and then it is readable. A ring that got lost would be
        // waited for without end.
        while self.0.write(1) == Err(Errno::EINTR) {}
    }

    /// Makes it silent until it is rung again.
    pub(crate) fn hush(&self) {
        // Nothing to read: it was silent. After a signal it is heard, and hushed, once more.
        let _ = self.0.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
