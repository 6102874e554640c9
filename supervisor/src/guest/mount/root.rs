//! A new root that has everything of the old one, and `/nix/store` as well.
//!
//! It is what bubblewrap does: a small tmpfs, in which each entry of `/` is bound to itself, takes the place of `/`
//! (pivot_root(2)). It is not a container: nothing is hidden, and what is mounted below `/` later arrives.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::{NONE, bind, failed};

/// A folder that every machine has: the tmpfs is mounted on it for the moment until it becomes `/` itself.
const STEP: &str = "/proc";

/// Where the old root lies while the new one is filled. No machine has an entry of this name in `/`.
const OLD: &str = "/.sonde-old-root";

/// What stands in the first column of `/proc/mounts`.
const SOURCE: &str = "sonde";

/// Replaces `/` by a root with `store` at `/nix/store`. For a process in a mount namespace of its own; if it fails the
/// namespace is of no use any more.
pub(super) fn renew(store: &Path) -> Result<(), String> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(SOURCE), STEP, Some("tmpfs"), flags, Some("mode=755"))
        .map_err(failed("mounting a tmpfs for the root"))?;
    let inside = Path::new(STEP).join(OLD.trim_start_matches('/'));
    fs::create_dir(&inside).map_err(failed("making a folder for the old root"))?;
    pivot_root(STEP, &inside).map_err(failed("changing the root"))?;
    chdir("/").map_err(failed("changing to the new root"))?;

    let old = Path::new(OLD);
    take_over(old, Path::new("/"), OsStr::new("nix"))?;
    fs::create_dir("/nix").map_err(failed("making /nix"))?;
    take_over(&old.join("nix"), Path::new("/nix"), OsStr::new("store"))?;
    fs::create_dir(super::NIX_STORE).map_err(failed(format_args!("making {}", super::NIX_STORE)))?;
    bind(store, Path::new(super::NIX_STORE))?;

    umount2(OLD, MntFlags::MNT_DETACH).map_err(failed("letting go of the old root"))?;
    fs::remove_dir(OLD).map_err(failed("removing the old root's folder"))?;
    // What would be written here is lost with the last process: better that it fails, as it does for most users anyway.
    mount(NONE, "/", NONE, flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE)
        .map_err(failed("making the root read-only"))
}

/// Is what stands at this path another folder than before, with the same in it?
pub(super) fn is_new(path: &Path) -> bool {
    path == Path::new("/") || path == Path::new("/nix")
}

/// Makes all entries of a folder appear in another, but for one. A folder that does not exist has none.
fn take_over(from: &Path, to: &Path, except: &OsStr) -> Result<(), String> {
    let reading = || format!("reading {}", from.display());
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(reading())(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed(reading()))?;
        if entry.file_name() == except {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let making = || format!("making {}", target.display());
        // Not looked at closer: what is mounted there may be a server's that does not answer.
        let kind = entry.file_type().map_err(failed(reading()))?;
        if kind.is_symlink() {
            let link = fs::read_link(&source).map_err(failed(format!("reading {}", source.display())))?;
            symlink(link, &target).map_err(failed(making()))?;
            continue;
        }
        if kind.is_dir() {
            fs::create_dir(&target).map_err(failed(making()))?;
        } else {
            File::create(&target).map_err(failed(making()))?;
        }
        bind(&source, &target)?;
    }
    Ok(())
}
