//! Mount namespaces: our own, with user ids mapped when we are not root, and the builder's view of this machine with
//! another folder at /nix.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::mounts;

/// Unshares the mount namespace; without privileges also the user namespace, with us as its root.
pub(super) fn unshare_mounts(privileged: bool) -> Result<()> {
    if privileged {
        unshare(CloneFlags::CLONE_NEWNS).context("unsharing the mount namespace")?;
    } else {
        let (uid, gid) = (geteuid(), getegid());
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER).context(
            "unsharing a user namespace: is kernel.unprivileged_userns_clone off? run as root instead",
        )?;
        for (file, text) in [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("0 {uid} 1")),
            ("/proc/self/gid_map", format!("0 {gid} 1")),
        ] {
            std::fs::write(file, text).with_context(|| format!("writing {file}"))?;
        }
    }
    mounts::make_private()
}

/// This machine as it is, but with other folders at some places.
#[derive(Clone, Debug)]
pub struct HostView {
    /// An empty folder to mount on.
    pub mount_point: PathBuf,
    /// What differs: source and absolute target.
    pub binds: Vec<(PathBuf, PathBuf)>,
}

/// Becomes a command that sees the view. /nix need not exist on this machine, which a plain bind mount would want.
pub fn enter_host_view(view: &HostView, command: &[OsString]) -> Result<Infallible> {
    let privileged = geteuid().is_root();
    unshare_mounts(privileged)?;
    let root = &view.mount_point;
    mounts::tmpfs(root)?;
    let entries = std::fs::read_dir("/").context("reading /")?;
    for entry in entries {
        let entry = entry.context("reading /")?;
        let (source, target) = (entry.path(), root.join(entry.file_name()));
        if source == Path::new("/nix") {
            continue;
        }
        let kind = entry.file_type().context("reading /")?;
        if kind.is_symlink() {
            let link = std::fs::read_link(&source).context("reading a link in /")?;
            std::os::unix::fs::symlink(link, &target).context("copying a link of /")?;
        } else if kind.is_dir() {
            mounts::bind(&source, &target, true)?;
        }
    }
    for (source, target) in &view.binds {
        mounts::bind(source, &root.join(target.strip_prefix("/").unwrap_or(target)), true)?;
    }
    let dir = std::env::current_dir().unwrap_or_else(|_| "/".into());
    mounts::pivot(root)?;
    let mut words = command.iter();
    let program = words.next().context("no command was given")?;
    let error = Command::new(program).args(words).current_dir(dir).exec();
    Err(error).with_context(|| format!("executing {}", program.to_string_lossy()))
}
