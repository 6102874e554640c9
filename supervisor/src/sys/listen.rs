//! The descriptors that a service manager passes to a service that it starts (sd_listen_fds(3)): sockets that it listens on,
//! and what it has held for the service.
#![allow(unsafe_code)]

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{SockType, UnixAddr, getsockname, getsockopt, sockopt};

/// The number of the first descriptor that is passed (`SD_LISTEN_FDS_START`, sd-daemon.h).
const FIRST: i32 = 3;

/// More are passed to nobody: a manager's own limit is lower.
const MOST: usize = 1 << 20;

/// Takes over what was passed to this process, close-on-exec, each with its name; empty where nothing was. Must be called
/// before anything else could take ownership of these numbers.
///
/// # Errors
/// One of them is not open.
pub(crate) fn passed() -> io::Result<Vec<(String, OwnedFd)>> {
    let number = |name: &str| env::var(name).ok()?.parse::<usize>().ok();
    // The variables may be another process's, inherited by mistake.
    if number("LISTEN_PID") != usize::try_from(std::process::id()).ok() {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or_default().min(MOST);
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    (FIRST..).take(count).zip(names).map(|(number, name)| Ok((name, take(number)?))).collect()
}

/// See [`passed`].
fn take(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: borrowed for one harmless call, which fails if the number is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and by the contract of `passed` nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The one listening socket among what was passed, non-blocking; none if nothing was.
///
/// # Errors
/// It is no listening `SOCK_SEQPACKET` socket, or there are several.
pub(crate) fn door(mut passed: Vec<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    if passed.len() > 1 {
        let several = passed.len();
        return Err(io::Error::other(format!("{several} sockets were passed, and one is needed")));
    }
    let Some(listening) = passed.pop() else { return Ok(None) };
    if getsockopt(&listening, sockopt::SockType)? != SockType::SeqPacket
        || !getsockopt(&listening, sockopt::AcceptConn)?
    {
        return Err(io::Error::other("what was passed is no listening socket of the kind SOCK_SEQPACKET"));
    }
    let flags = OFlag::from_bits_retain(fcntl(&listening, FcntlArg::F_GETFL)?);
    fcntl(&listening, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(Some(listening))
}

/// Where a listening socket is bound in the file system; none for one without a path.
pub(crate) fn path_of(listening: &OwnedFd) -> Option<PathBuf> {
    let address: UnixAddr = getsockname(listening.as_fd().as_raw_fd()).ok()?;
    address.path().map(Into::into)
}
