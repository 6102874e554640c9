//! Namespaces that are made by a helper process and joined only when they are complete.
//!
//! unshare(2) cannot be undone: a process that got half of the way would have to go on in a half-made namespace. So a
//! helper goes first, and whatever fails there has happened to nobody. What is mounted in it is not decided here
//! (`guest/mount.rs`). Tested from outside, by `tests/mount.rs`: it wants a process with one thread.
#![allow(unsafe_code)]

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, chroot, fchdir};

use super::pidfd;

/// A helper process, which keeps what it has made until this is dropped.
pub(crate) struct Aside {
    helper: Pid,
    /// The helper ends when this is closed, and so also when we are killed.
    release: Option<PipeWriter>,
    namespaces: CloneFlags,
}

impl Aside {
    /// Runs `work` in a helper, which reports the namespaces that it has made, or why it could not: the inner error is
    /// the work's own, the outer one that there could be no helper.
    ///
    /// The helper ends without a signal to us (clone(2): an exit signal of 0), so that a program which is executed
    /// later meets neither a child nor a pending `SIGCHLD`. Must be called while this process has one thread.
    pub(crate) fn make(
        work: impl FnOnce() -> Result<CloneFlags, String>,
    ) -> io::Result<Result<Self, String>> {
        let (released, release) = io::pipe()?;
        let (mut reports, report) = io::pipe()?;
        // SAFETY: without flags, stack and exit signal this is fork(2), and all arguments are zero. There is one thread
        // (contract), so no lock is held by a thread that the helper does not have, and it may run any code.
        let helper = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
        if helper == 0 {
            drop((release, reports));
            help(work, report, released);
        }
        let helper = Pid::from_raw(i32::try_from(Errno::result(helper)?).map_err(io::Error::other)?);
        drop((released, report));
        let mut aside = Self { helper, release: Some(release), namespaces: CloneFlags::empty() };
        let mut text = Vec::new();
        reports.read_to_end(&mut text)?;
        match text.split_first() {
            Some((&MADE, bits)) => {
                let bits = bits.try_into().map(i32::from_ne_bytes).map_err(io::Error::other)?;
                aside.namespaces = CloneFlags::from_bits_truncate(bits);
                Ok(Ok(aside))
            }
            Some((_, reason)) => Ok(Err(String::from_utf8_lossy(reason).into_owned())),
            None => Err(io::Error::other("the helper process was killed")),
        }
    }

    /// Enters the helper's namespaces, all of them or none, with its root and working directory (setns(2); by pidfd
    /// since Linux 5.8). A new user namespace wants a process with one thread.
    pub(crate) fn join(self) -> io::Result<()> {
        // Joining a mount namespace moves to its root, which is not ours where we are in a chroot.
        let place = |name: &str| {
            let path = format!("/proc/{}/{name}", self.helper);
            open(&*path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        };
        let (root, folder): (OwnedFd, OwnedFd) = (place("root")?, place("cwd")?);
        setns(pidfd::open(self.helper.as_raw().cast_unsigned())?, self.namespaces)?;
        fchdir(&root)?;
        chroot(".")?;
        Ok(fchdir(&folder)?)
    }

    /// What the helper has made.
    pub(crate) fn namespaces(&self) -> CloneFlags {
        self.namespaces
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.release = None;
        // `__WALL`: a child without an exit signal is otherwise not waited for (wait(2)).
        while waitpid(self.helper, Some(WaitPidFlag::__WALL)) == Err(Errno::EINTR) {}
    }
}

const MADE: u8 = 0;
const FAILED: u8 = 1;

/// The helper's life. It must not return: all that is the parent's stands above it on the stack.
fn help(
    work: impl FnOnce() -> Result<CloneFlags, String>,
    mut report: PipeWriter,
    mut released: PipeReader,
) -> ! {
    let outcome =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("a fault of Sonde's own".into()));
    let text = match outcome {
        Ok(namespaces) => [&[MADE][..], &namespaces.bits().to_ne_bytes()].concat(),
        Err(reason) => [&[FAILED], reason.as_bytes()].concat(),
    };
    // If nobody reads it nobody waits for us either.
    let _ = report.write_all(&text);
    drop(report);
    let _ = released.read(&mut [0]);
    // SAFETY: no pointers; nothing of the parent's is flushed or dropped.
    unsafe { libc::_exit(0) }
}
