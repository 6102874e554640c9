//! Nix inside the root: what is not there is substituted, with the right key only, for root and through the daemon
//! for alice.

use anyhow::{Context, Result};

use super::report;
use crate::{Package, RootBuilder, World};

const NIX_STORE: &str = "/run/current-system/sw/bin/nix-store";
const WRONG_KEY: &str = "sonde-world-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub(super) fn check(world: &World, packages: &[Package], url: &str) -> Result<bool> {
    let zlib = packages.iter().find(|package| package.attr == "zlib" && package.output == "out");
    let zlib = &zlib.context("the world provides no zlib: mend recipe/packages.toml")?.store_path;
    let root = RootBuilder::new(world).env_clear().cache_url(url);
    let realise = |root: &RootBuilder| -> Result<(bool, String)> {
        let output =
            root.command(NIX_STORE).args(["--realise", zlib]).output().context("running nix-store")?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let mut good = true;
    let valid = RootBuilder::new(world).command(NIX_STORE).args(["--check-validity", zlib]).output();
    good &= report(
        "a fresh root does not have zlib",
        !valid.context("running nix-store")?.status.success(),
        "it does",
    );
    let (done, words) = realise(&root)?;
    good &= report("root substitutes it", done, &words);
    let (done, words) = realise(&root.clone().trusted_key(WRONG_KEY))?;
    good &= report("not with a wrong key", !done && words.contains("not signed"), &words);
    if nix::unistd::geteuid().is_root() {
        let (done, words) = realise(&root.clone().user(true).with_daemon())?;
        good &= report("alice substitutes it through the daemon", done, &words);
        let (done, _) = realise(&root.user(true))?;
        good &= report("alice cannot without the daemon", !done, "she can");
    }
    Ok(good)
}
