//! The listening socket that a service manager passes to a service that it starts on demand (sd_listen_fds(3)).
#![allow(unsafe_code)]

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};

/// The number of the first descriptor that is passed (`SD_LISTEN_FDS_START`, sd-daemon.h).
const FIRST: i32 = 3;

/// Takes over the socket that was passed to this process, if one was; close-on-exec and non-blocking. Must be called
/// before anything else could take ownership of that number.
///
/// # Errors
/// What was passed is no listening `SOCK_SEQPACKET` socket, or there are several.
pub(crate) fn passed() -> io::Result<Option<OwnedFd>> {
    let number = |name: &str| env::var(name).ok()?.parse::<u32>().ok();
    // The variables may be another process's, inherited by mistake.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(several) => {
            return Err(io::Error::other(format!("{several} sockets were passed, and one is needed")));
        }
    }
    // SAFETY: borrowed for harmless calls, which fail if the number is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(FIRST) };
    if getsockopt(&descriptor, sockopt::SockType)? != SockType::SeqPacket
        || !getsockopt(&descriptor, sockopt::AcceptConn)?
    {
        return Err(io::Error::other("what was passed is no listening socket of the kind SOCK_SEQPACKET"));
    }
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // SAFETY: it is open, and by this function's contract nobody else in this process owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(FIRST) }))
}

/// Where a listening socket is bound in the file system; none for one without a path.
pub(crate) fn path_of(listening: &OwnedFd) -> Option<PathBuf> {
    let address: UnixAddr = getsockname(listening.as_fd().as_raw_fd()).ok()?;
    address.path().map(Into::into)
}
