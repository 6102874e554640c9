//! The signed binary cache, written by the real Nix: zstd, and xz for a few small paths so that both are met.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::site::{Site, run};
use crate::recipe::Label;
use crate::{Package, Recipe};

pub(super) fn build(site: &Site, recipe: &Recipe, packages: &[Package]) -> Result<()> {
    let (secret, public) = (site.path("cache-key.sec"), site.path("cache-key.pub"));
    if !public.exists() {
        let _ = fs::remove_file(&secret);
        run(site
            .in_nix(&site.path("stage/nix"), "nix-store")
            .args(["--generate-binary-cache-key", "sonde-world-1"])
            .args([&secret, &public]))
        .context("making the cache's key")?;
    }
    site.once("cache", |folder| {
        site.say(&format!("writing {} store paths to the binary cache", packages.len()));
        let label = |package: &Package| {
            Label { attr: package.attr.clone(), output: package.output.clone() }.to_string()
        };
        let xz = |package: &&Package| recipe.packages.cache.xz.contains(&label(package));
        let glibc = |package: &&Package| package.attr == "glibc";
        let all = || packages.iter();
        // A path is accepted only after what it refers to: glibc, then what may refer to nothing but glibc.
        copy(site, &secret, folder, "zstd", false, all().filter(glibc))?;
        copy(site, &secret, folder, "xz", false, all().filter(xz).filter(|package| package.output != "dev"))?;
        copy(site, &secret, folder, "zstd", true, all())
    })
}

fn copy<'a>(
    site: &Site,
    secret: &Path,
    folder: &Path,
    compression: &str,
    closure: bool,
    packages: impl Iterator<Item = &'a Package>,
) -> Result<()> {
    let paths: Vec<&str> = packages.map(|package| package.store_path.as_str()).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let to = format!(
        "file://{}?secret-key={}&compression={compression}&parallel-compression=true&write-nar-listing=true",
        folder.display(),
        secret.display()
    );
    let mut nix = site.in_nix(&site.path("stage/nix"), "nix");
    nix.args(["copy", "--to", &to]);
    if !closure {
        nix.arg("--no-recursive");
    }
    run(nix.args(&paths))
        .with_context(|| format!("copying {} paths to the cache with {compression}", paths.len()))?;
    Ok(())
}
