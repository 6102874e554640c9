//! How a child of ours ended, whoever of our threads was told by the kernel.
//!
//! A thread that traces a child must be the one that waits for it: a wait of any other would take its stops away, since
//! the kernel shows a tracee's stops to all threads of its tracer. So nobody waits for the child before it is dead, and
//! when the tracer was faster than the one who wants to know, it passes the status on.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::pidfd;

/// Between the kernel's word to the tracer and the tracer's to us there are a few instructions.
const PATIENCE: Duration = Duration::from_secs(10);

/// The child that somebody wants to know about, and its wait status once the tracer has seen it.
static CHILD: Mutex<Option<(u32, Option<i32>)>> = Mutex::new(None);
static REAPED: Condvar = Condvar::new();

/// Waits for the end of a child, the only one that is asked about at a time.
pub(crate) fn wait(child: Pid) -> io::Result<WaitStatus> {
    let number = child.as_raw().cast_unsigned();
    *child_of_interest() = Some((number, None));
    // None if it is reaped already, or this kernel has no such descriptor; then there is no ptrace engine either.
    if let Ok(process) = pidfd::open(number) {
        // Readable once all threads of the process are dead (pidfd_open(2)).
        let mut descriptors = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        while poll(&mut descriptors, PollTimeout::NONE) == Err(Errno::EINTR) {}
    }
    // The dead do not stop. It may still have to wait for a debugger to look at them first.
    match waitpid(child, None) {
        Err(Errno::ECHILD) => told(child),
        result => Ok(result?),
    }
}

/// Passes on what the tracer was told; of no interest for any other process.
pub(crate) fn tell(process: u32, status: i32) {
    if let Some((child, told)) = child_of_interest().as_mut()
        && *child == process
    {
        *told = Some(status);
        REAPED.notify_all();
    }
}

fn told(child: Pid) -> io::Result<WaitStatus> {
    let guard = child_of_interest();
    let waits = |entry: &mut Option<(u32, Option<i32>)>| entry.is_none_or(|(_, status)| status.is_none());
    let (guard, _) =
        REAPED.wait_timeout_while(guard, PATIENCE, waits).unwrap_or_else(PoisonError::into_inner);
    match *guard {
        Some((_, Some(status))) => Ok(WaitStatus::from_raw(child, status)?),
        _ => Err(io::Error::other("nobody knows how the program ended")),
    }
}

fn child_of_interest() -> MutexGuard<'static, Option<(u32, Option<i32>)>> {
    CHILD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_somebody_else_waited_for_is_told_about() {
        let mut command = std::process::Command::new("true").spawn().unwrap();
        let child = Pid::from_raw(command.id().cast_signed());
        let asker = std::thread::spawn(move || wait(child).unwrap());
        let status = command.wait().map(std::os::unix::process::ExitStatusExt::into_raw);
        if let Ok(status) = status {
            // The asker may not have begun to ask.
            while !asker.is_finished() {
                tell(command.id(), status);
                std::thread::yield_now();
            }
        }
        assert_eq!(asker.join().unwrap(), WaitStatus::Exited(child, 0));
    }
}
