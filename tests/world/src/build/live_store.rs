//! The template of a fresh root's /nix: a store with the system path in it and a database in which only that path is
//! valid. Everything else has to be substituted.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::site::{Site, run};
use crate::World;

pub(super) fn build(site: &Site, world: &World) -> Result<()> {
    let system = world.system_path()?;
    site.once("store", |folder| {
        let (from, name) = (world.on_host(&system), system.trim_start_matches("/nix/store/"));
        link_tree(&from, &folder.join(name))
    })?;
    site.once("nix-state", |folder| {
        let dump = run(site.in_nix(&site.path("stage/nix"), "nix-store").args(["--dump-db", &system]))
            .context("describing the system path")?;
        let nix = site.path("stage/live-nix");
        crate::enter::remove_tree(&nix)?;
        // The store's folder need not be filled: a registration is only a row.
        fs::create_dir_all(nix.join("store")).with_context(|| format!("creating {}", nix.display()))?;
        load(site, &nix, &dump.stdout)?;
        crate::enter::copy_tree(&nix.join("var/nix"), folder)?;
        // 8 MB that Nix keeps for a full disk, and that every state would have to copy.
        let _ = fs::remove_file(folder.join("db/reserved"));
        crate::enter::remove_tree(&nix)
    })
}

fn load(site: &Site, nix: &Path, dump: &[u8]) -> Result<()> {
    let mut child = site
        .in_nix(nix, "nix-store")
        .arg("--load-db")
        .stdin(Stdio::piped())
        .spawn()
        .context("starting nix-store --load-db")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(dump).context("writing to nix-store --load-db")?;
    }
    let status = child.wait().context("waiting for nix-store --load-db")?;
    if !status.success() {
        bail!("nix-store --load-db ended with {status}");
    }
    Ok(())
}

/// Copies a tree whose files never change by linking them.
pub(super) fn link_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.with_context(|| format!("walking {}", from.display()))?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        let what = || format!("linking {} to {}", entry.path().display(), target.display());
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).with_context(what)?;
        } else if fs::symlink_metadata(&target).is_ok() {
            continue;
        } else if entry.file_type().is_symlink() {
            let text = fs::read_link(entry.path()).with_context(what)?;
            std::os::unix::fs::symlink(text, &target).with_context(what)?;
        } else {
            fs::hard_link(entry.path(), &target).with_context(what)?;
        }
    }
    Ok(())
}
