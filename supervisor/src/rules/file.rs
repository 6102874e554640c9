//! One policy file, read with suspicion: what is no plain file, too long, no text, or not the administrator's where it
//! has to be, is an error that says which.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sonde_policy::LONGEST;
use thiserror::Error;

/// Who may write besides the owner: the group and everybody else (inode(7)).
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Whose a file is, and so who has to own it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The administrator's: a ceiling for everybody, so nobody else may have written it.
    Machine,
    User,
    /// Named on the command line: it must be there.
    Command,
}

/// Why a policy file cannot be believed, or not read.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: is {kind}; a policy is a plain file", path.display())]
    Kind { path: PathBuf, kind: &'static str },
    #[error("{}: is longer than {LONGEST} bytes, which no policy is", path.display())]
    Long { path: PathBuf },
    #[error("{}:{line}: is no UTF-8 text", path.display())]
    Encoding { path: PathBuf, line: usize },
    #[error("{}: belongs to user {owner}; it must be root's (`chown root {}`)", path.display(), path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error(
        "{}: others than root can write it (mode {mode:04o}); `chmod go-w {}`", path.display(), path.display()
    )]
    Mode { path: PathBuf, mode: u32 },
}

/// What a file is known by: if it is the same, so is the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    owner: u32,
    mode: u32,
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
            owner: data.uid(),
            mode: data.mode(),
        }
    }

    /// The stamp of what is at a path now; nothing if nothing is.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|data| Self::of(&data))
    }
}

/// Reads a file. Nothing: there is none, which only a file that was named must not be.
pub(crate) fn read(path: &Path, whose: Whose) -> Result<Option<String>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    // Opening a FIFO would wait for a writer, and a terminal become ours (open(2)).
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && whose != Whose::Command => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let data = file.metadata().map_err(failed)?;
    if let Some(kind) = other_kind(&data) {
        return Err(FileError::Kind { path: path.to_owned(), kind });
    }
    if whose == Whose::Machine {
        is_the_administrators(path, &data)?;
        // Who can write the folder can put another file in this one's place.
        let folder = path.parent().unwrap_or(Path::new("/"));
        is_the_administrators(folder, &fs::metadata(folder).map_err(failed)?)?;
    }
    text(&file, path).map(Some)
}

fn text(file: &File, path: &Path) -> Result<String, FileError> {
    let mut bytes = Vec::new();
    // One more than is allowed: a file may grow while it is read.
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    let read = file.take(most).read_to_end(&mut bytes);
    let length = read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if length > LONGEST {
        return Err(FileError::Long { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let sound = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + sound.iter().filter(|byte| **byte == b'\n').count();
        FileError::Encoding { path: path.to_owned(), line }
    })
}

fn other_kind(data: &Metadata) -> Option<&'static str> {
    let kind = data.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a folder"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// Root's, and written by nobody else.
fn is_the_administrators(path: &Path, data: &Metadata) -> Result<(), FileError> {
    let (owner, mode) = (data.uid(), data.mode() & 0o7777);
    if owner != 0 && !(Some(owner) == overflow_user() && in_a_user_namespace()) {
        return Err(FileError::Owner { path: path.to_owned(), owner });
    }
    if mode & OTHERS_MAY_WRITE != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// As whom files of users appear that the namespace does not know, the machine's root among them (user_namespaces(7)).
fn overflow_user() -> Option<u32> {
    fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok()
}

/// Whoever made the namespace decides what is mounted in it, so nothing is lost by believing a file there.
fn in_a_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn refused(path: &Path, whose: Whose) -> String {
        read(path, whose).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_is_not_there_says_nothing_unless_it_was_named() {
        let path = Path::new("/nonexistent/policy.toml");
        assert!(read(path, Whose::Machine).unwrap().is_none() && read(path, Whose::User).unwrap().is_none());
        assert!(refused(path, Whose::Command).starts_with("/nonexistent/policy.toml: "));
    }

    #[test]
    fn what_is_no_plain_text_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused(&path, Whose::User).contains("is a FIFO"));
        assert!(refused(folder.path(), Whose::User).contains("is a folder"));
        assert!(refused(Path::new("/dev/zero"), Whose::User).contains("is a device"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"version = 1\n# \xff\n").unwrap();
        assert!(refused(&path, Whose::User).ends_with("policy.toml:2: is no UTF-8 text"));
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(refused(&path, Whose::User).contains("is longer than"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("policy.toml", &path).unwrap();
        assert!(refused(&path, Whose::User).contains("policy.toml: "), "a link to itself");
    }

    #[test]
    fn the_machines_file_is_roots_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        fs::write(&path, "version = 1\n").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        if !nix::unistd::Uid::effective().is_root() {
            assert!(refused(&path, Whose::Machine).contains("it must be root's"));
            return;
        }
        mode(&path, 0o644);
        assert!(read(&path, Whose::Machine).unwrap().is_some());
        mode(&path, 0o664);
        assert!(refused(&path, Whose::Machine).contains("others than root can write it (mode 0664)"));
        assert!(read(&path, Whose::User).unwrap().is_some());
        mode(&path, 0o644);
        mode(folder.path(), 0o777);
        assert!(refused(&path, Whose::Machine).contains("(mode 0777)"));
        mode(folder.path(), 0o755);
        nix::unistd::chown(&path, Some(1.into()), None).unwrap();
        assert!(refused(&path, Whose::Machine).contains("belongs to user 1; it must be root's"));
    }

    #[test]
    fn a_stamp_tells_a_file_from_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        assert_eq!(Stamp::at(&path), None);
        fs::write(&path, "a").unwrap();
        let before = Stamp::at(&path);
        assert_eq!(Stamp::at(&path), before);
        fs::write(folder.path().join("new"), "b").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_ne!(Stamp::at(&path), before);
    }
}
