//! What this kernel can do. Probed, never guessed from a version: backports and container profiles lie.
//!
//! `docs/kernel-support.md` lists each with the release that brought it and what happens without it.
#![allow(unsafe_code)]

use nix::errno::Errno;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (Linux 5.0): the filter comes with a listener.
const NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): once a trap was received only a fatal signal interrupts it.
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

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
}
