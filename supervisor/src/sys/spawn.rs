//! Becoming a program, and starting one: with the arguments, signals and descriptors that a shell would have given it.
//!
//! The standard library's `Command` would reset the signal mask and `SIGPIPE`, which a program may have been started
//! with on purpose (nohup(1) does the like).
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, execvp, fork, setsid};

use super::{original, signals};

/// Executes a program in place of this one; returns only the error. A file without a format that the kernel knows is
/// given to the shell, as execvp(3) does.
pub(crate) fn become_program(path: &Path, arguments: &[OsString]) -> io::Error {
    let words = match words(path, arguments) {
        Ok(words) => words,
        Err(error) => return error,
    };
    if let Err(error) = original::restore() {
        return error;
    }
    let Err(errno) = execvp(&words.path, &words.arguments);
    errno.into()
}

/// Starts a program as a child. `SIGCHLD` is what it was for the child and the default for this process, which would
/// lose the child's status otherwise. Must be called while this process has one thread.
pub(crate) fn spawn(path: &Path, arguments: &[OsString]) -> io::Result<Pid> {
    let words = words(path, arguments)?;
    let ignored = signals::is_ignored(Signal::SIGCHLD)?;
    signals::set_default(Signal::SIGCHLD)?;
    // SAFETY: there is one thread (contract), so the child may do what it likes; it executes or exits.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            if ignored {
                let _ = signals::ignore(Signal::SIGCHLD);
            }
            let errno = match original::restore() {
                Ok(()) => execvp(&words.path, &words.arguments).err().unwrap_or(Errno::UnknownErrno),
                Err(_) => Errno::UnknownErrno,
            };
            // SAFETY: no pointers; nothing of the parent's is flushed or dropped.
            unsafe { libc::_exit(if errno == Errno::ENOENT { 127 } else { 126 }) }
        }
    }
}

/// In which of the two processes after [`split`] this is.
pub(crate) enum Split {
    Parent(Pid),
    Child,
}

/// Makes a copy of this process. Must be called while it has one thread.
pub(crate) fn split() -> io::Result<Split> {
    // SAFETY: there is one thread (contract), so that the child finds no lock held by anybody.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Split::Parent(child)),
        ForkResult::Child => Ok(Split::Child),
    }
}

/// Does something in a process that is nobody's child: of another session, with `kept` and `/dev/null` as its only
/// descriptors. Must be called while this process has one thread.
pub(crate) fn apart(kept: &impl AsFd, act: impl FnOnce()) -> io::Result<()> {
    match split()? {
        Split::Parent(child) => waitpid(child, None).map(drop).map_err(io::Error::from),
        Split::Child => {
            // The one in between goes at once: what it made is then the init process's.
            if let Ok(Split::Child) = split()
                && keep_nothing_but(kept.as_fd().as_raw_fd()).is_ok()
            {
                act();
            }
            // SAFETY: no pointers; nothing of the parent's is flushed or dropped.
            unsafe { libc::_exit(0) }
        }
    }
}

fn keep_nothing_but(kept: RawFd) -> io::Result<()> {
    setsid()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for standard in 0..3 {
        // SAFETY: numbers, no pointers; who writes to standard output from now on is heard by nobody.
        Errno::result(unsafe { libc::dup2(null.as_raw_fd(), standard) })?;
    }
    drop(null);
    let kept = u32::try_from(kept).map_err(io::Error::other)?;
    for (first, last) in [(3, kept.saturating_sub(1)), (kept + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: numbers, no pointers. What owns these descriptors in this copy of the process is never used again:
            // it does `act` and exits.
            Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

struct Words {
    path: CString,
    arguments: Vec<CString>,
}

fn words(path: &Path, arguments: &[OsString]) -> io::Result<Words> {
    let word = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::other);
    // A path without a slash would be looked up.
    let path =
        if path.as_os_str().as_bytes().contains(&b'/') { path.to_owned() } else { Path::new(".").join(path) };
    let arguments = arguments.iter().map(|text| word(text)).collect::<io::Result<_>>()?;
    Ok(Words { path: word(path.as_os_str())?, arguments })
}
