//! The state folder: everything in the root that can be written to. Several commands may share one, at once or one
//! after the other; a fresh one starts from the world's skeleton.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use walkdir::WalkDir;

use super::Entry;
use super::identity::ALICE;
use crate::World;

/// Says that a state folder was filled completely.
const FILLED: &str = ".filled";

/// The state folder to use, and whether it is to be removed afterwards.
pub(super) fn prepare(world: &World, entry: &Entry) -> Result<(PathBuf, bool)> {
    let (state, temporary) = match &entry.state {
        Some(dir) => {
            fs::create_dir_all(dir)
                .with_context(|| format!("creating the state folder {}", dir.display()))?;
            (dir.canonicalize().with_context(|| format!("resolving {}", dir.display()))?, false)
        }
        None => {
            let dir = tempfile::Builder::new().prefix("sonde-world-").tempdir();
            (dir.context("creating a temporary state folder")?.keep(), true)
        }
    };
    let lock = File::create(state.join(".lock")).with_context(|| format!("locking {}", state.display()))?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("locking {}", state.display()))?;
    if !state.join(FILLED).exists() {
        fill(world, &state)?;
    }
    if entry.cache_url.is_some() || entry.trusted_key.is_some() {
        write_nix_conf(world, &state, entry)?;
    }
    drop(lock);
    Ok((state, temporary))
}

fn fill(world: &World, state: &Path) -> Result<()> {
    let skeleton = world.path().join("root");
    for folder in ["etc", "home", "root", "tmp"] {
        copy_tree(&skeleton.join(folder), &state.join(folder))?;
    }
    copy_tree(&world.path().join("nix-state"), &state.join("nix/var/nix"))?;
    let store = state.join("nix/store");
    fs::create_dir_all(&store).with_context(|| format!("creating {}", store.display()))?;
    fs::create_dir_all(state.join("mnt")).with_context(|| format!("creating {}/mnt", state.display()))?;
    let mode = |path: &str, mode| {
        let path = state.join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("setting the mode of {}", path.display()))
    };
    mode("tmp", 0o1777)?;
    mode("root", 0o700)?;
    mode("nix/store", 0o1775)?;
    if nix::unistd::geteuid().is_root() {
        let path = state.join("home/alice");
        for entry in WalkDir::new(&path) {
            let entry = entry.with_context(|| format!("walking {}", path.display()))?;
            chown(entry.path(), Some(ALICE.0), Some(ALICE.1))
                .with_context(|| format!("giving {} to alice", entry.path().display()))?;
        }
    }
    fs::write(state.join(FILLED), "").with_context(|| format!("marking {} as filled", state.display()))
}

fn write_nix_conf(world: &World, state: &Path, entry: &Entry) -> Result<()> {
    let key = match &entry.trusted_key {
        Some(key) => key.clone(),
        None => world.public_key()?,
    };
    let path = state.join("etc/nix/nix.conf");
    let text = nix_conf(entry.cache_url.as_deref().unwrap_or(""), &key);
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    // Renamed into place: another command on this state may be reading it.
    let new = path.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("writing {}", path.display()))
}

/// The root's nix.conf.
pub(crate) fn nix_conf(substituters: &str, key: &str) -> String {
    format!(
        "build-users-group =\n\
         sandbox = false\n\
         filter-syscalls = false\n\
         substituters = {substituters}\n\
         trusted-public-keys = {key}\n\
         require-sigs = true\n\
         experimental-features = nix-command\n\
         connect-timeout = 2\n\
         download-attempts = 1\n\
         gc-reserved-space = 0\n"
    )
}

/// Copies a small tree: folders, files and links, with their modes.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry.with_context(|| format!("walking {}", from.display()))?;
        let relative = entry.path().strip_prefix(from).unwrap_or(entry.path());
        let target = if relative.as_os_str().is_empty() { to.to_owned() } else { to.join(relative) };
        let what = || format!("copying {} to {}", entry.path().display(), target.display());
        let kind = entry.file_type();
        if kind.is_dir() {
            fs::create_dir_all(&target).with_context(what)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).with_context(what)?;
            symlink(link, &target).with_context(what)?;
        } else {
            fs::copy(entry.path(), &target).with_context(what)?;
        }
    }
    Ok(())
}

/// Removes a tree with read-only folders in it, as Nix leaves them in a store.
pub fn remove_tree(path: &Path) -> Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        for entry in WalkDir::new(path).into_iter().flatten().filter(|entry| entry.file_type().is_dir()) {
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
        }
    }
    fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))
}
