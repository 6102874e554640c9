//! Mount mode: this process, and so the program that it becomes or starts, sees the embedded store at `/nix/store`.
//!
//! A mount namespace of our own is all that it takes; who is not root needs a user namespace to make one in, with the
//! same user and group (user_namespaces(7), mount_namespaces(7)). Nothing on the machine changes, and nobody else sees
//! the mount. Whether to do this at all is decided in `cli/store_view.rs`.

mod root;

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getegid, geteuid};
use thiserror::Error;

use crate::sys::aside::Aside;
use crate::sys::capabilities::Capabilities;

/// Where programs that Nix built, and everything that they refer to, look for each other.
const NIX_STORE: &str = "/nix/store";

/// For the arguments of mount(2) that an operation does not use.
const NONE: Option<&str> = None;

/// Why the embedded store cannot be mounted.
#[derive(Debug, Error)]
pub(crate) enum MountError {
    #[error(
        "{NIX_STORE} is not empty: a store mounted there would hide what the machine's own programs need"
    )]
    Occupied,
    #[error("{}: {reason}", path.display())]
    Unsuitable { path: PathBuf, reason: &'static str },
    #[error("{}: {source}", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("the working directory: {0}")]
    Folder(io::Error),
    #[error("{0}")]
    Setup(String),
    #[error("a helper process: {0}")]
    Helper(io::Error),
    #[error("entering the namespaces: {0}")]
    Join(io::Error),
}

/// How the store gets to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is there.
    None,
    /// There is a folder without a store path in it, to mount on.
    Onto,
    /// There is none, and `/` is not ours to make one in: a new root, which has everything that this one has.
    NewRoot,
}

/// Makes the folder `store` appear as `/nix/store` to this process and to what it starts.
///
/// If it fails this process is as it was. Must be called while it has one thread.
///
/// What is different afterwards: `/` itself is read-only where a new root was needed (its folders are not); in a user
/// namespace files and groups of other users belong to `nobody` as far as stat(2) and id(1) can tell, though all
/// permissions are as before, and setuid programs have no privilege. No capability is gained.
pub(crate) fn mount_store(store: &Path) -> Result<(), MountError> {
    let store = fs::canonicalize(store).map_err(look(store))?;
    let way = find_way(&store, Path::new(NIX_STORE))?;
    if way == Way::None {
        return Ok(());
    }
    let folder = Folder::current().map_err(MountError::Folder)?;
    let before = Capabilities::own().map_err(look(Path::new("/proc/self/status")))?;
    let work = || {
        let namespaces = make_namespaces(before)?;
        match way {
            Way::NewRoot => root::renew(&store)?,
            Way::Onto | Way::None => bind(&store, Path::new(NIX_STORE))?,
        }
        folder.enter()?;
        Ok(namespaces)
    };
    let aside = Aside::make(work).map_err(MountError::Helper)?.map_err(MountError::Setup)?;
    let new_user_namespace = aside.namespaces().contains(CloneFlags::CLONE_NEWUSER);
    aside.join().map_err(MountError::Join)?;
    if new_user_namespace {
        Capabilities::return_to(before).map_err(MountError::Join)?;
    }
    Ok(())
}

/// Looks at what there is at `place`, which is `/nix/store`.
fn find_way(store: &Path, place: &Path) -> Result<Way, MountError> {
    let unsuitable = |path: &Path, reason| MountError::Unsuitable { path: path.to_owned(), reason };
    match fs::metadata(place) {
        Ok(there) if same(&there, &fs::metadata(store).map_err(look(store))?) => return Ok(Way::None),
        Ok(there) if !there.is_dir() => return Err(unsuitable(place, "is not a folder")),
        Ok(_) => {
            return if is_empty(place).map_err(look(place))? {
                Ok(Way::Onto)
            } else {
                Err(MountError::Occupied)
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(look(place)(error)),
    }
    // Neither is there, or it is a link to something that is not.
    for path in [place, place.parent().unwrap_or(place)] {
        match fs::symlink_metadata(path) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => return Err(unsuitable(path, "is not a folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(look(path)(error)),
        }
    }
    Ok(Way::NewRoot)
}

/// Has the store no path in it? Nix makes `.links` with its first command, and no path's name begins with a dot.
fn is_empty(place: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(place)? {
        if !entry?.file_name().as_bytes().starts_with(b".") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn look(path: &Path) -> impl Fn(io::Error) -> MountError {
    move |source| MountError::Look { path: path.to_owned(), source }
}

/// A mount namespace, and, for whoever may not make one, a user namespace around it. Mounts of the machine still arrive
/// in it, and none of ours leaves it.
fn make_namespaces(before: Capabilities) -> Result<CloneFlags, String> {
    let mut namespaces = CloneFlags::CLONE_NEWNS;
    match unshare(namespaces) {
        Ok(()) => {}
        // In a user namespace it would lose what it has, such as the permission to give files to others.
        Err(Errno::EPERM) if before.permitted != 0 => {
            return Err(
                "mounting needs CAP_SYS_ADMIN, and a user namespace would take the other capabilities \
                        of this process away; run it as an ordinary user"
                    .to_owned(),
            );
        }
        Err(Errno::EPERM) => {
            namespaces |= CloneFlags::CLONE_NEWUSER;
            make_user_namespace(namespaces)?;
        }
        Err(errno) => return Err(format!("making a mount namespace: {errno}")),
    }
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
        .map_err(|errno| format!("keeping mounts to ourselves: {errno}"))?;
    Ok(namespaces)
}

/// The same user and group as outside, and no other (user_namespaces(7)).
fn make_user_namespace(namespaces: CloneFlags) -> Result<(), String> {
    let (user, group): (Uid, Gid) = (geteuid(), getegid());
    unshare(namespaces).map_err(|errno| format!("user namespaces are forbidden here: {errno}"))?;
    for (file, text) in [
        // A group map by an ordinary user is refused without this.
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{user} {user} 1")),
        ("/proc/self/gid_map", format!("{group} {group} 1")),
    ] {
        // Ubuntu lets everybody make a user namespace, and takes all capabilities in it away.
        fs::write(file, text)
            .map_err(|error| format!("user namespaces are restricted here: {file}: {error}"))?;
    }
    Ok(())
}

/// Makes a file or folder, and all that is mounted below it, appear in another place too.
fn bind(source: &Path, target: &Path) -> Result<(), String> {
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(failed(format_args!(
        "mounting {} at {}",
        source.display(),
        target.display()
    )))
}

/// The sentence about an operation that failed.
fn failed<E: Display>(operation: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{operation}: {error}")
}

/// The working directory, to be found again under a new root.
struct Folder {
    path: OsString,
    metadata: Metadata,
}

impl Folder {
    fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_dir()?.into_os_string(), metadata: fs::metadata(".")? })
    }

    fn enter(&self) -> Result<(), String> {
        let path = Path::new(&self.path);
        let there = std::env::set_current_dir(path).and_then(|()| fs::metadata("."));
        match there {
            Ok(there) if same(&there, &self.metadata) || root::is_new(path) => Ok(()),
            Ok(_) => Err(format!("{}: the working directory is not what is at its path", path.display())),
            Err(error) => Err(format!("{}: the working directory: {error}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_an_empty_folder_is_mounted_on() {
        let base = tempfile::tempdir().unwrap();
        let (store, nix) = (base.path().join("own"), base.path().join("nix"));
        let place = nix.join("store");
        fs::create_dir(&store).unwrap();
        assert_eq!(find_way(&store, &place).unwrap(), Way::NewRoot, "without /nix");
        fs::create_dir(&nix).unwrap();
        assert_eq!(find_way(&store, &place).unwrap(), Way::NewRoot, "without /nix/store");
        fs::create_dir(&place).unwrap();
        assert_eq!(find_way(&store, &place).unwrap(), Way::Onto);
        fs::create_dir(place.join(".links")).unwrap();
        assert_eq!(find_way(&store, &place).unwrap(), Way::Onto, "Nix was called once");
        fs::create_dir(place.join("something")).unwrap();
        assert!(matches!(find_way(&store, &place), Err(MountError::Occupied)));
        assert_eq!(find_way(&place, &place).unwrap(), Way::None, "it is there");
        fs::remove_dir_all(&place).unwrap();
        symlink(&store, &place).unwrap();
        assert_eq!(find_way(&store, &place).unwrap(), Way::None, "a link leads there");
    }

    #[test]
    fn what_is_no_folder_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let (store, nix) = (base.path().join("own"), base.path().join("nix"));
        fs::create_dir(&store).unwrap();
        symlink("nowhere", &nix).unwrap();
        let way = find_way(&store, &nix.join("store"));
        assert!(matches!(way, Err(MountError::Unsuitable { path, .. }) if path == nix));
        fs::remove_file(&nix).unwrap();
        fs::create_dir(&nix).unwrap();
        symlink("nowhere", nix.join("store")).unwrap();
        assert!(matches!(find_way(&store, &nix.join("store")), Err(MountError::Unsuitable { .. })));
        fs::remove_file(nix.join("store")).unwrap();
        fs::write(nix.join("store"), "").unwrap();
        assert!(matches!(find_way(&store, &nix.join("store")), Err(MountError::Unsuitable { .. })));
    }
}
