//! Signals of the supervisor's own process.
#![allow(unsafe_code)]

use std::io;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

/// Ignores the signals by which a terminal ends its foreground programs: they are meant for the program that is
/// traced, whose end `sonde trace` then reports.
pub(crate) fn ignore_terminal() -> io::Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        set(signal, SigHandler::SigIgn)?;
    }
    Ok(())
}

/// Undoes what a program may have set up before it executed us: blocked signals and ignored ones are inherited.
pub(crate) fn reset() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD] {
        set(signal, SigHandler::SigDfl)?;
    }
    Ok(())
}

/// Ends this process by a signal, as the program that it stands for was ended, without a second core dump.
pub(crate) fn die_of(number: i32) -> io::Result<()> {
    let signal = Signal::try_from(number)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    if ![Signal::SIGKILL, Signal::SIGSTOP].contains(&signal) {
        set(signal, SigHandler::SigDfl)?;
    }
    raise(signal)?;
    Ok(())
}

fn set(signal: Signal, handler: SigHandler) -> io::Result<()> {
    // SAFETY: neither SIG_IGN nor SIG_DFL runs code of ours.
    unsafe { sigaction(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }?;
    Ok(())
}
