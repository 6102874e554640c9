//! Signals of the supervisor's own process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Ignores the signals by which a terminal ends its foreground programs: they are meant for the program that is
/// traced, whose end `sonde trace` then reports.
pub(crate) fn ignore_terminal() -> io::Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        set(signal, SigHandler::SigIgn)?;
    }
    Ok(())
}

/// The signals by which this process is told to stop, received as data: what was begun is then finished.
#[derive(Debug)]
pub(crate) struct Stop(SignalFd);

impl Stop {
    /// From now on they do not end this process. Must be called while it has one thread.
    pub(crate) fn prepare() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Readable when there was one.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Undoes what a program may have set up before it executed us: blocked signals, ignored ones and limits are
/// inherited.
pub(crate) fn reset() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    // A file that must not grow is an error to us, not a reason to die.
    set(Signal::SIGXFSZ, SigHandler::SigIgn)?;
    for limit in [Resource::RLIMIT_FSIZE, Resource::RLIMIT_NOFILE, Resource::RLIMIT_AS, Resource::RLIMIT_DATA]
    {
        let (_, hard) = getrlimit(limit)?;
        setrlimit(limit, hard, hard)?;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        set(signal, SigHandler::SigDfl)?;
    }
    Ok(())
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Ends this process by a signal, as the program that it stands for was ended, without a second core dump.
pub(crate) fn die_of(signal: Signal) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if ![Signal::SIGKILL, Signal::SIGSTOP].contains(&signal) {
        set(signal, SigHandler::SigDfl)?;
    }
    raise(signal)?;
    Ok(())
}

/// What the standard library makes of `SIGPIPE`, or what it was.
pub(super) fn set_pipe(ignored: bool) -> io::Result<()> {
    set(Signal::SIGPIPE, if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl })
}

/// Is the signal ignored?
pub(super) fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction(2) writes the old action, and zeroed is a valid one.
    let action = unsafe {
        if libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        action.assume_init()
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

pub(super) fn ignore(signal: Signal) -> io::Result<()> {
    set(signal, SigHandler::SigIgn)
}

pub(super) fn set_default(signal: Signal) -> io::Result<()> {
    set(signal, SigHandler::SigDfl)
}

fn set(signal: Signal, handler: SigHandler) -> io::Result<()> {
    // SAFETY: neither SIG_IGN nor SIG_DFL runs code of ours.
    unsafe { sigaction(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }?;
    Ok(())
}
