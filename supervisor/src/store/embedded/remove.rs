//! Removes what cannot be written to: store objects are read-only, their folders too.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::nar::open_folder;

/// Removes a file, a link (not what it points to) or a folder with everything in it. Returns whether it was there.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = std::fs::File::open(parent)?;
    match remove_at(&parent, name) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn remove_at<P: ?Sized + nix::NixPath>(parent: impl AsFd, name: &P) -> Result<(), Errno> {
    // EISDIR of Linux, EPERM of POSIX.
    match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => {}
        result => return result,
    }
    let folder = open_folder(&parent, name)?;
    fchmod(&folder, Mode::from_bits_truncate(0o700))?;
    // Names first: what readdir(3) returns while entries disappear is not defined.
    let mut names = Vec::new();
    for entry in Dir::from_fd(folder.try_clone().map_err(|_| Errno::EMFILE)?)?.iter() {
        let entry = entry?;
        if entry.file_type() != Some(Type::Directory) || !matches!(entry.file_name().to_bytes(), b"." | b"..")
        {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        remove_at(&folder, name.as_c_str())?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_read_only_is_removed_and_what_a_link_points_to_is_not() {
        let base = tempfile::tempdir().unwrap();
        let (tree, kept) = (base.path().join("tree"), base.path().join("kept"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        symlink(&kept, tree.join("a/link")).unwrap();
        for folder in ["a/b", "a", ""] {
            fs::set_permissions(tree.join(folder), Permissions::from_mode(0o555)).unwrap();
        }
        assert!(remove(&tree).unwrap());
        assert!(!tree.exists() && kept.join("file").exists());
        assert!(!remove(&tree).unwrap());
    }
}
