//! Locks on files and folders (flock(2)), which end with their process. Unlike those of the crate nix they never panic: on
//! a network's file system even to let go can fail.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Waits until nobody has it.
    Alone,
    /// Fails if somebody has it.
    AloneAtOnce,
    /// Waits until nobody has it alone.
    Shared,
}

/// A locked file; the lock is let go with it.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Locks an open file or folder. A signal does not end the wait.
    ///
    /// # Errors
    /// Somebody has it, or it cannot be locked; the file is returned.
    pub(crate) fn take(file: File, how: How) -> Result<Self, (File, io::Error)> {
        let how = match how {
            How::Alone => libc::LOCK_EX,
            How::AloneAtOnce => libc::LOCK_EX | libc::LOCK_NB,
            How::Shared => libc::LOCK_SH,
        };
        loop {
            match change(&file, how) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err((file, errno.into())),
            }
        }
    }
}

impl Deref for Lock {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Of copies of the descriptor the lock would be, too. If it cannot be let go, it goes with the last of them.
        let _ = change(&self.0, libc::LOCK_UN);
    }
}

fn change(file: &File, how: i32) -> nix::Result<()> {
    // SAFETY: a descriptor that is open, and a number; no pointers.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), how) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_alone_or_several_share_it_and_the_end_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::open(folder.path()).unwrap();
        let alone = Lock::take(open(), How::Alone).unwrap();
        let copy = alone.try_clone().unwrap();
        assert!(Lock::take(open(), How::AloneAtOnce).is_err());
        drop(alone);
        let shared = [Lock::take(open(), How::Shared).unwrap(), Lock::take(open(), How::Shared).unwrap()];
        let (_, error) = Lock::take(open(), How::AloneAtOnce).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop((shared, copy));
        assert!(Lock::take(open(), How::AloneAtOnce).is_ok());
    }
}
