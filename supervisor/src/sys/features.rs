//! What this kernel can do. Probed, never guessed from a version: backports and container profiles lie.
//!
//! `docs/kernel-support.md` lists each with the release that brought it and what happens without it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::prctl;

use super::ledger::Ledger;
use super::seccomp_notify::Listener;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (Linux 5.0): the filter comes with a listener.
const NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): once a trap was received only a fatal signal interrupts it.
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// `BPF_RET | BPF_K` (linux/bpf_common.h).
const RETURN: u16 = 0x06;

/// The features that Sonde uses where it finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    /// User notification (Linux 5.0). Without it nothing can be trapped.
    pub(crate) user_notification: bool,
    /// Linux 5.9, which brought `ADDFD`. That and `CONTINUE` (5.5) cannot be probed without a listener; close_range(2)
    /// came in the same release.
    pub(crate) adds_descriptors: bool,
    /// Traps that only fatal signals interrupt (Linux 5.19).
    pub(crate) wait_killable: bool,
}

impl Features {
    /// Asks the running kernel.
    pub(crate) fn probe() -> Self {
        Self {
            user_notification: knows(NEW_LISTENER),
            adds_descriptors: has_close_range(),
            wait_killable: knows(NEW_LISTENER | WAIT_KILLABLE_RECV),
        }
    }

    /// Can programs be supervised at all?
    pub(crate) fn sufficient(self) -> bool {
        self.user_notification && self.adds_descriptors
    }

    /// The flags with which a shim is to install its filter.
    pub(crate) fn filter_flags(self) -> u32 {
        NEW_LISTENER | if self.wait_killable { WAIT_KILLABLE_RECV } else { 0 }
    }
}

/// What a listener can do here, which only one that there is can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listening {
    /// It can wake the supervisor on the processor of the trapped thread (Linux 6.6).
    pub(crate) wakes_synchronously: bool,
}

impl Features {
    /// Installs a filter with a listener as a shim would, with `no_new_privs` only if it may and must be. The filter allows
    /// everything, and is that of a thread which ends with it.
    ///
    /// # Errors
    /// What the kernel refused the filter with: `EBUSY` where there is a listener already, `EACCES` without
    /// `no_new_privs` (seccomp(2)).
    pub(crate) fn try_listener(self, no_new_privs: bool) -> io::Result<Listening> {
        thread::scope(|scope| {
            let tried = thread::Builder::new().name("filter".into()).spawn_scoped(scope, move || {
                let listener = match install(self.filter_flags()) {
                    Err(Errno::EACCES) if no_new_privs => {
                        prctl::set_no_new_privs()?;
                        install(self.filter_flags())
                    }
                    result => result,
                }?;
                let listener = Listener::new(listener, Ledger::new(1)?);
                Ok(Listening { wakes_synchronously: listener.wake_up_synchronously() })
            })?;
            tried.join().unwrap_or_else(|_| Err(io::Error::other("the thread that tried it panicked")))
        })
    }
}

/// Gives this thread, and no other, a filter that allows everything; returns its listener.
fn install(flags: u32) -> nix::Result<OwnedFd> {
    let mut rows = [sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let program = sock_fprog { len: 1, filter: rows.as_mut_ptr() };
    // SAFETY: `program` says how many rows there are, and both live until the kernel has copied them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    let descriptor = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// seccomp(2) checks its flags before it looks at the filter: a null filter tells `EFAULT`, an unknown flag
/// `EINVAL`.
fn knows(flags: u32) -> bool {
    let filter = std::ptr::null::<libc::c_void>();
    // SAFETY: a null filter can only be refused.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, filter) };
    result == -1 && Errno::last() == Errno::EFAULT
}

/// An empty range is refused with `EINVAL` by kernels that know the call.
fn has_close_range() -> bool {
    // SAFETY: closes nothing, since the range is empty.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 2, 1, 0) };
    result == -1 && Errno::last() == Errno::EINVAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_no_kernel_has_is_not_found() {
        assert!(!knows(1 << 31));
    }

    #[test]
    fn the_flags_follow_what_was_found() {
        let old = Features { user_notification: true, adds_descriptors: true, wait_killable: false };
        assert_eq!(old.filter_flags(), 8);
        assert_eq!(Features { wait_killable: true, ..old }.filter_flags(), 40);
    }

    #[test]
    fn a_listener_that_was_tried_leaves_the_process_as_it_was() {
        let status = || std::fs::read_to_string("/proc/self/status").unwrap();
        let privileges = || status().lines().find(|line| line.starts_with("NoNewPrivs:")).map(str::to_owned);
        let filters =
            || status().lines().find(|line| line.starts_with("Seccomp_filters:")).map(str::to_owned);
        let before = (privileges(), filters());
        // Twice: the first is gone, or the kernel would say EBUSY.
        for _ in 0..2 {
            Features::probe().try_listener(true).unwrap();
        }
        assert_eq!((privileges(), filters()), before);
    }
}
