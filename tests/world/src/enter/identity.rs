//! Who runs the command, and leaving nothing of the caller behind but what a child should inherit.
#![allow(unsafe_code)] // close_range and signal have no safe wrapper

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

/// Alice's ids, as etc/passwd in the root has them.
pub(super) const ALICE: (u32, u32) = (1000, 100);

/// A user of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// uid 0
    Root,
    /// uid 1000, gid 100
    Alice,
}

impl Identity {
    /// The login name.
    pub fn name(self) -> &'static str {
        match self {
            Identity::Root => "root",
            Identity::Alice => "alice",
        }
    }

    /// The home folder inside the root.
    pub fn home(self) -> &'static str {
        match self {
            Identity::Root => "/root",
            Identity::Alice => "/home/alice",
        }
    }

    /// Where user services keep their sockets, inside the root.
    pub fn runtime_dir(self) -> &'static str {
        match self {
            Identity::Root => "/run/user/0",
            Identity::Alice => "/run/user/1000",
        }
    }

    /// Becomes this user. `no_new_privs` stays unset: whether a filter may set it is the tests' business.
    pub(super) fn assume(self, privileged: bool) -> Result<()> {
        if !privileged {
            return Ok(()); // already the namespace's only user
        }
        let (uid, gid) = match self {
            Identity::Root => (0, 0),
            Identity::Alice => ALICE,
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setgroups(&[gid]).context("setting the supplementary groups")?;
        setgid(gid).context("setting the group")?;
        setuid(uid).with_context(|| format!("becoming {}", self.name()))
    }
}

/// Undoes what Rust's runtime changed, and keeps every descriptor but the standard ones from the command.
pub(super) fn reset_inherited_state() -> Result<()> {
    // SAFETY: SIG_DFL installs no handler of ours, so no code of ours can run in signal context.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.context("resetting SIGPIPE")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // SAFETY: only marks descriptors; nothing in this process reads them as closed before the exec.
    let rc = unsafe {
        nix::libc::syscall(nix::libc::SYS_close_range, 3u32, u32::MAX, nix::libc::CLOSE_RANGE_CLOEXEC)
    };
    nix::errno::Errno::result(rc).context("marking descriptors close-on-exec").map(drop)
}
