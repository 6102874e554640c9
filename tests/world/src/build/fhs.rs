//! The reference root: all Debian packages merged as Debian would, where foreign programs run by themselves.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use super::host::which;
use super::site::{Site, run};
use super::skeleton;
use crate::Recipe;

pub(super) fn build(site: &Site, recipe: &Recipe, debs: &BTreeSet<String>) -> Result<()> {
    site.once("fhs", |folder| {
        for deb in debs {
            let tree = site.path("stage/unpacked").join(deb);
            merge(&tree, folder).with_context(|| format!("merging {deb}"))?;
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(folder.join("usr").join(name))
                .with_context(|| format!("creating usr/{name}"))?;
            symlink(format!("usr/{name}"), folder.join(name)).with_context(|| format!("linking {name}"))?;
        }
        let sh = folder.join("usr/bin/sh");
        if fs::symlink_metadata(&sh).is_err() {
            symlink("bash", &sh).context("linking usr/bin/sh")?;
        }
        skeleton::write_etc(&folder.join("etc"))?;
        let conf = folder.join("etc/ld.so.conf.d/alternatives.conf");
        fs::write(&conf, recipe.packages.fhs.library_dirs.join("\n") + "\n")
            .with_context(|| format!("writing {}", conf.display()))?;
        let ldconfig = which("ldconfig").context("this machine has no ldconfig: install libc-bin")?;
        run(Command::new(ldconfig).arg("-r").arg(folder))
            .context("making the reference root's ld.so.cache")?;
        Ok(())
    })
}

/// Links a package's files into the root; /bin, /sbin, /lib and /lib64 are in /usr.
fn merge(tree: &Path, root: &Path) -> Result<()> {
    for entry in WalkDir::new(tree) {
        let entry = entry.with_context(|| format!("walking {}", tree.display()))?;
        let relative = entry.path().strip_prefix(tree).unwrap_or(entry.path());
        if relative.as_os_str().is_empty() {
            continue;
        }
        let in_usr = ["bin", "sbin", "lib", "lib64"].iter().any(|top| relative.starts_with(top));
        let target: PathBuf = if in_usr { root.join("usr").join(relative) } else { root.join(relative) };
        let what = || format!("merging {}", entry.path().display());
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).with_context(what)?;
        } else if fs::symlink_metadata(&target).is_ok() {
            continue;
        } else if entry.file_type().is_symlink() {
            let text = fs::read_link(entry.path()).with_context(what)?;
            symlink(text, &target).with_context(what)?;
        } else {
            fs::hard_link(entry.path(), &target).with_context(what)?;
        }
    }
    Ok(())
}
