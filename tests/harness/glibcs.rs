//! Other glibcs than this machine's: those of Ubuntu's long-term releases, whose packages stay where they are for ten years.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use sonde_world::home_of_worlds;

/// Version, its package in the archive's pool, and that one's digest. From 2.31 on they are marked for
/// shadow stacks and indirect branch tracking (CET).
const PACKAGES: [(&str, &str, &str); 8] = [
    (
        "2.19",
        "e/eglibc/libc6_2.19-0ubuntu6_amd64.deb",
        "d82bcd1f16a43b1dc4fa35a738d87c5dd25d6a87f8e0a529b2c188e984866ded",
    ),
    (
        "2.23",
        "g/glibc/libc6_2.23-0ubuntu3_amd64.deb",
        "68d69a0fb2dae7578a2a7054bc0cd5f0994d523f60d540bc6708ff3f2fb33e18",
    ),
    (
        "2.27",
        "g/glibc/libc6_2.27-3ubuntu1_amd64.deb",
        "1e1eb86fd646aa68f7144ec692b837b6b352d215880c6a2d0c92c19d36938427",
    ),
    (
        "2.31",
        "g/glibc/libc6_2.31-0ubuntu9_amd64.deb",
        "847a68e5f1ec2cd4e6fc191c5eaf0547445dd5c473c7617c068ba4441f63b292",
    ),
    (
        "2.35",
        "g/glibc/libc6_2.35-0ubuntu3_amd64.deb",
        "ea9a27e0ebdd0cfc9c750d94f8074f3a35d1f97dcc77ae04c370fb498a6b6db2",
    ),
    (
        "2.39",
        "g/glibc/libc6_2.39-0ubuntu8_amd64.deb",
        "af36c7ac770770fe3d3c10e85d6bc538e76e57570ba7db7d397fb9f654783ef3",
    ),
    (
        "2.43",
        "g/glibc/libc6_2.43-2ubuntu2_amd64.deb",
        "c13775dc0c984403f3fcad229d14507a9f387763bd07ace1e5f93897ee6b8434",
    ),
    // Of a release that is not kept as long: the newest, which looks at its cache.
    (
        "2.44",
        "g/glibc/libc6_2.44-1ubuntu2_amd64.deb",
        "e4871fc9d5bf5fe0f384c6b90f70e64e9c9bbcb84927aa97c7f70ec6bf05b8c0",
    ),
];

const POOL: &str = "http://archive.ubuntu.com/ubuntu/pool/main";

/// A glibc.
pub struct Glibc {
    pub version: &'static str,
    /// Where its loader and libraries lie, on this machine.
    pub folder: PathBuf,
}

/// Those that could be had, downloaded once; what could not is said on standard error.
pub fn glibcs() -> &'static [Glibc] {
    static GLIBCS: OnceLock<Vec<Glibc>> = OnceLock::new();
    GLIBCS.get_or_init(|| {
        let (had, failed): (Vec<_>, Vec<_>) = PACKAGES.into_iter().map(fetch).partition(Result::is_ok);
        if let Some(error) = failed.iter().find_map(|failed| failed.as_ref().err()) {
            eprintln!("SKIPPED {} glibcs of {}: {error:#}", failed.len(), PACKAGES.len());
        }
        had.into_iter().flatten().collect()
    })
}

fn fetch((version, name, digest): (&'static str, &str, &str)) -> Result<Glibc> {
    let home = home_of_worlds()?.join("downloads/glibc");
    let unpacked = home.join(version);
    if !unpacked.exists() {
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let folder = tempfile::tempdir_in(&home)?;
        let package = folder.path().join("package.deb");
        run(Command::new("/usr/lib/apt/apt-helper")
            .args(["-qq", "download-file", &format!("{POOL}/{name}")])
            .arg(&package)
            .arg(format!("SHA256:{digest}")))?;
        let new = folder.path().join("new");
        run(Command::new("dpkg-deb").arg("-x").args([&package, &new]))?;
        // Another test run may have been faster.
        let _ = fs::rename(&new, &unpacked);
    }
    let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| unpacked.join(folder));
    let folder = folders.into_iter().find(|folder| has_loader(folder)).context("no loader in it")?;
    Ok(Glibc { version, folder })
}

fn has_loader(folder: &Path) -> bool {
    folder.join("ld-linux-x86-64.so.2").exists()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
    );
    Ok(())
}
