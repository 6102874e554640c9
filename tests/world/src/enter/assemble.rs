//! Assembles the root: a tmpfs with the folders and links of a NixOS, the state's folders bound into it, and what the
//! caller adds. What a NixOS does not have (/lib, /usr/lib, /etc/ld.so.cache) is not there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use super::identity::{ALICE, Identity};
use super::{Entry, mounts, namespace};
use crate::World;

pub(super) fn assemble(world: &World, entry: &Entry, state: &Path, privileged: bool) -> Result<()> {
    namespace::unshare_mounts(privileged)?;
    let root = state.join("mnt");
    mounts::tmpfs(&root)?;
    let link = |to: &str, at: &str| {
        let at = root.join(at);
        symlink(to, &at).with_context(|| format!("linking {} to {to}", at.display()))
    };
    for folder in ["bin", "usr/bin", "var/empty", "run/current-system", "nix", "opt", "dev", "proc", "sys"] {
        if entry.fhs && (folder == "bin" || folder == "usr/bin") || entry.without_nix && folder == "nix" {
            continue;
        }
        fs::create_dir_all(root.join(folder)).with_context(|| format!("creating {folder} in the root"))?;
    }
    link("/tmp", "var/tmp")?;
    for folder in ["home", "root", "tmp"] {
        mounts::bind(&state.join(folder), &root.join(folder), true)?;
    }
    // One session's: who listens there is in this namespace.
    for identity in [Identity::Root, Identity::Alice] {
        let folder = root.join(identity.runtime_dir().trim_start_matches('/'));
        let made = fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)));
        made.with_context(|| format!("making {}", folder.display()))?;
        if identity == Identity::Alice && privileged {
            chown(&folder, Some(ALICE.0), Some(ALICE.1))
                .with_context(|| format!("giving {} to alice", folder.display()))?;
        }
    }
    if entry.fhs {
        let fhs = world.fhs();
        for folder in ["bin", "sbin", "lib", "lib64"] {
            link(&format!("usr/{folder}"), folder)?;
        }
        mounts::bind(&fhs.join("usr"), &root.join("usr"), false)?;
        mounts::bind(&fhs.join("etc"), &root.join("etc"), false)?;
    } else {
        mounts::bind(&state.join("etc"), &root.join("etc"), true)?;
        if !entry.without_nix {
            system(world, state, &root)?;
        }
    }
    mounts::bind(&world.path().join("programs"), &root.join("opt/programs"), false)?;
    mounts::bind(Path::new("/dev"), &root.join("dev"), true)?;
    mounts::bind(Path::new("/sys"), &root.join("sys"), false)?;
    mounts::proc(&root.join("proc"), privileged)?;
    for bind in &entry.binds {
        let target = root.join(bind.inside.strip_prefix("/").unwrap_or(&bind.inside));
        mounts::bind(&bind.host, &target, bind.writable)?;
    }
    mounts::pivot(&root)
}

/// The store with its one valid path, and the links that NixOS makes to it.
fn system(world: &World, state: &Path, root: &Path) -> Result<()> {
    let system = world.system_path()?;
    let inside = system.trim_start_matches('/');
    mounts::bind(&state.join("nix"), &root.join("nix"), true)?;
    let store_path = world.path().join("store").join(inside.trim_start_matches("nix/store/"));
    mounts::bind(&store_path, &root.join(inside), false)?;

    // A folder of links, as NixOS's system path is: Sonde's own files can be mounted among them.
    let bin = root.join("run/current-system/sw/bin");
    fs::create_dir_all(&bin).with_context(|| format!("creating {}", bin.display()))?;
    let programs = store_path.join("bin");
    for entry in fs::read_dir(&programs).with_context(|| format!("reading {}", programs.display()))? {
        let name = entry.with_context(|| format!("reading {}", programs.display()))?.file_name();
        let target = Path::new(&system).join("bin").join(&name);
        symlink(&target, bin.join(&name)).with_context(|| format!("linking {}", target.display()))?;
    }
    for (at, program) in [("bin/sh", "sh"), ("usr/bin/env", "env")] {
        let target = format!("{system}/bin/{program}");
        symlink(&target, root.join(at)).with_context(|| format!("linking /{at} to {target}"))?;
    }
    Ok(())
}
