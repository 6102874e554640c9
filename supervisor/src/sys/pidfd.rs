//! Other processes by descriptor, and borrowing theirs (pidfd_open(2), Linux 5.3; pidfd_getfd(2), 5.6).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A copy of descriptor `number` of a process. Needs what ptrace(2) needs; sharing it disturbs nobody.
pub(crate) fn copy_descriptor(process: u32, number: i32) -> io::Result<OwnedFd> {
    let pidfd = open(process)?;
    // SAFETY: no pointers; the result is a new descriptor that nobody else knows.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0)) }
}

/// A descriptor that stands for a process, and for no other that gets its number later (pidfd_open(2), Linux 5.3).
pub(crate) fn open(process: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is a new descriptor that nobody else knows.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_open, process, 0)) }
}

/// # Safety
/// `result` must be that of a system call which returns a new descriptor.
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the caller's promise.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(io::Error::last_os_error()),
    }
}
