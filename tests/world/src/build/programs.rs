//! The foreign programs, as Debian, npm and PyPI ship them: nothing in them is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::live_store::link_tree;
use super::site::{Site, run};
use crate::{Program, Recipe};

/// What wheels are chosen for: the foreign python, on any Linux of the last ten years.
const WHEEL_TAGS: &[&str] = &[
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
    "--abi",
    "abi3",
    "--abi",
    "none",
    "--platform",
    "manylinux_2_17_x86_64",
    "--platform",
    "manylinux2014_x86_64",
    "--platform",
    "any",
    "--only-binary=:all:",
    "--no-deps",
    "--disable-pip-version-check",
    "--quiet",
];

pub(super) fn build(site: &Site, recipe: &Recipe) -> Result<()> {
    fs::create_dir_all(site.path("programs")).context("creating programs/")?;
    for program in &recipe.programs {
        site.once(&format!("programs/{}", program.name), |folder| {
            fetch(site, program, folder).with_context(|| format!("fetching the program {}", program.name))
        })?;
    }
    let text = serde_json::to_string_pretty(&recipe.programs).context("describing the programs")?;
    site.write("programs.json", &text)
}

fn fetch(site: &Site, program: &Program, folder: &Path) -> Result<()> {
    for deb in &program.debs {
        link_tree(&site.path("stage/unpacked").join(deb), folder)?;
    }
    if let Some(package) = &program.npm {
        site.say(&format!("fetching {package} from npm"));
        let tarball = npm_tarball(site, package)?;
        run(Command::new("tar")
            .arg("-xzf")
            .arg(&tarball)
            .args(["--strip-components=1", "--no-same-owner", "-C"])
            .arg(folder))
        .with_context(|| format!("unpacking {}", tarball.display()))?;
    }
    if !program.wheels.is_empty() {
        site.say(&format!("fetching {} from PyPI", program.wheels.join(", ")));
        let pool = site.downloads("wheels")?;
        run(Command::new("pip").arg("download").args(WHEEL_TAGS).arg("-d").arg(&pool).args(&program.wheels))
            .context("downloading wheels")?;
        // pip keeps the execute bits, which a zip library would lose.
        run(Command::new("pip")
            .args([
                "install",
                "--no-index",
                "--no-compile",
                "--no-warn-script-location",
                "--root-user-action=ignore",
            ])
            .args(WHEEL_TAGS)
            .arg("--find-links")
            .arg(&pool)
            .arg("--target")
            .arg(folder)
            .args(&program.wheels))
        .context("unpacking wheels")?;
    }
    Ok(())
}

fn npm_tarball(site: &Site, package: &str) -> Result<PathBuf> {
    let pool = site.downloads("npm")?;
    let tarball = pool.join(format!("{}.tgz", package.replace('@', "-")));
    if !tarball.exists() {
        run(Command::new("npm").args(["pack", "--silent", package, "--pack-destination"]).arg(&pool))
            .context("npm pack")?;
    }
    Ok(tarball)
}
