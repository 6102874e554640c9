//! The few mount operations that both roots need, each with an error that names both ends.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

/// Keeps what happens here from reaching the machine.
pub(super) fn make_private() -> Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("making the mount namespace private")
}

/// A new tmpfs to assemble a root on.
pub(super) fn tmpfs(target: &Path) -> Result<()> {
    mount(Some("sonde-world"), target, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("mounting a tmpfs on {}", target.display()))
}

/// Makes `source` appear at `target`, whatever is mounted below it included; creates the mount point.
pub(super) fn bind(source: &Path, target: &Path, writable: bool) -> Result<()> {
    let operation = || format!("binding {} to {}", source.display(), target.display());
    let metadata = source.metadata().with_context(operation)?;
    if metadata.is_dir() {
        std::fs::create_dir_all(target).with_context(operation)?;
    } else if !target.exists() {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).with_context(operation)?;
        }
        std::fs::File::create(target).with_context(operation)?;
    }
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).with_context(operation)?;
    if !writable {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept_flags(target);
        mount(NONE, target, NONE, flags, NONE).with_context(|| format!("{}, read-only", operation()))?;
    }
    Ok(())
}

/// In a user namespace a remount may not drop the flags that the original mount was locked with.
fn kept_flags(target: &Path) -> MsFlags {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let Ok(stat) = statvfs(target) else { return MsFlags::empty() };
    let mut flags = MsFlags::empty();
    for (is, keep) in [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        flags.set(keep, stat.flags().contains(is));
    }
    flags
}

/// `/proc`: our own instance as real root; a user namespace without a pid namespace may only borrow the machine's.
pub(super) fn proc(target: &Path, privileged: bool) -> Result<()> {
    if !privileged {
        return bind(Path::new("/proc"), target, true);
    }
    std::fs::create_dir_all(target).with_context(|| format!("creating {}", target.display()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), target, Some("proc"), flags, NONE)
        .with_context(|| format!("mounting proc on {}", target.display()))
}

/// Makes `root` the root and detaches the old one.
pub(super) fn pivot(root: &Path) -> Result<()> {
    chdir(root).with_context(|| format!("changing to {}", root.display()))?;
    // The old root is stacked on the new one's "/" (see pivot_root(2), "new_root and put_old may be the same").
    pivot_root(".", ".").with_context(|| format!("pivoting to {}", root.display()))?;
    umount2(".", MntFlags::MNT_DETACH).context("detaching the old root")?;
    chdir("/").context("changing to the new root")
}
