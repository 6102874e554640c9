//! What the machine must have: the right Debian, and a few tools, which root installs by itself.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::run;

/// A tool and the Debian package that has it.
const TOOLS: &[(&str, &str)] = &[
    ("nix-build", "nix-bin"),
    ("patchelf", "patchelf"),
    ("zstd", "zstd"),
    ("cc", "gcc"),
    ("dpkg-deb", "dpkg"),
    ("ldconfig", "libc-bin"),
    ("npm", "npm"),
    ("pip", "python3-pip"),
];

/// Makes sure that the builder can work here.
pub(super) fn check(release: &str) -> Result<()> {
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !os.lines().any(|line| line == format!("VERSION_CODENAME={release}")) {
        bail!("the test world is made from Debian {release}'s packages and needs a machine that runs it");
    }
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(tool, _)| which(tool).is_none()).map(|(_, deb)| *deb).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing tools: run `sudo apt-get install --no-install-recommends {}`", missing.join(" "));
    }
    eprintln!("world: installing {}", missing.join(" "));
    run(Command::new("apt-get").arg("update")).context("updating apt's lists")?;
    run(Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .context("installing tools")?;
    Ok(())
}

/// Where a tool lies; /sbin is looked at too, which users do not have in PATH.
pub(super) fn which(tool: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned(), Path::new("/sbin").to_owned()]);
    dirs.map(|dir| dir.join(tool)).find(|file| file.is_file())
}
