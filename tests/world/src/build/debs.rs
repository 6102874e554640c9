//! Downloads the Debian packages, checked against the archive's hashes, and unpacks each into a folder of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::closure::{Archive, Deb};
use super::{Site, run};

/// Fills `debs/` and `stage/unpacked/`.
pub(super) fn download_and_unpack(site: &Site, archive: &Archive, names: &BTreeSet<String>) -> Result<()> {
    let debs: Vec<&Deb> = names.iter().map(|name| archive.deb(name)).collect::<Result<_>>()?;
    site.once("debs", |folder| download(site, &debs, folder))?;
    site.once("stage/unpacked", |folder| {
        site.say(&format!("unpacking {} Debian packages", debs.len()));
        unpack(site, &debs, folder)
    })
}

fn download(site: &Site, debs: &[&Deb], folder: &Path) -> Result<()> {
    // Shared by all worlds: a changed recipe downloads only what is new.
    let pool = site.downloads("debs")?;
    let missing: Vec<String> = debs
        .iter()
        .filter(|deb| !intact(&pool.join(deb.file_name()), &deb.sha256))
        .map(|deb| format!("{}={}", deb.name, deb.version))
        .collect();
    if !missing.is_empty() {
        site.say(&format!("downloading {} Debian packages", missing.len()));
        let mut apt = Command::new("apt-get");
        apt.args(["download", "-qq", "-o", "APT::Sandbox::User=root"]).args(&missing).current_dir(&pool);
        run(&mut apt).context("downloading Debian packages: if apt's lists are old, run `apt-get update`")?;
    }
    for deb in debs {
        let (from, to) = (pool.join(deb.file_name()), folder.join(deb.file_name()));
        if !intact(&from, &deb.sha256) {
            bail!("{} does not have the archive's hash: remove it and run this again", from.display());
        }
        fs::hard_link(&from, &to)
            .with_context(|| format!("linking {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

fn intact(path: &Path, sha256: &str) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut hash = Sha256::new();
    if io::copy(&mut file, &mut hash).is_err() {
        return false;
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex == sha256
}

fn unpack(site: &Site, debs: &[&Deb], folder: &Path) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(deb) = debs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = site.path("debs").join(deb.file_name());
            let to = folder.join(&deb.name);
            run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&to))
                .with_context(|| format!("unpacking {}", file.display()))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..site.cores).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("an unpacking thread panicked")))
    })
}
