//! Where packages come from: Nix and whether it answers, or the embedded store with its caches and keys; and whether gc
//! roots can be kept. No cache is asked.

use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::finding::Finding;
use crate::index::Index;
use crate::settings::Settings;
use crate::store::{Store, StoreConfig, StoreError, StorePath};

/// A path that Nix can be asked about where there is no index: nobody has it.
const ANY_PATH: &str = "/nix/store/00000000000000000000000000000000-sonde-doctor";

/// Looks at the store that programs get their libraries from.
pub(super) fn examine(settings: &Settings, index: Option<&Index>) -> Vec<Finding> {
    let config = match StoreConfig::load(settings) {
        Ok(config) => config,
        Err(error) => {
            let remedy = "correct the [store] section; docs/stores.md has its keys";
            return vec![Finding::error("store.configuration", error.to_string(), remedy)];
        }
    };
    let mut findings = if config.wants_embedded(settings.nix_store.is_some()) {
        embedded(&config)
    } else {
        vec![by_nix(settings, config, index)]
    };
    findings.push(offline(settings));
    findings.push(roots(settings));
    findings
}

/// Asks Nix whether a path is valid, which needs its database or daemon and nobody else.
fn by_nix(settings: &Settings, mut config: StoreConfig, index: Option<&Index>) -> Finding {
    const ID: &str = "store.nix";
    let Some(command) = settings.nix_store.clone() else {
        return Finding::error(
            ID,
            "config.toml asks for Nix, and there is no nix-store command on this machine",
            "install Nix, or set `kind = \"auto\"` in the [store] section",
        );
    };
    let shown = command.display().to_string();
    config.force_offline();
    let path = index.and_then(Index::loader).map(|loader| loader.object).or_else(|| StorePath::new(ANY_PATH));
    let asked = path.map_or(Ok(()), |path| config.nix(Some(command)).sizes(&[path]).map(drop));
    match asked {
        // That it does not have the path is an answer, too.
        Ok(()) | Err(StoreError::Limit(_)) => Finding::ok(ID, format!("{shown} answers")),
        Err(error) => Finding::error(
            ID,
            format!("Nix does not answer: {error}"),
            "`nix-store --verify` says more; where there is a daemon, `systemctl status nix-daemon`",
        ),
    }
}

fn embedded(config: &StoreConfig) -> Vec<Finding> {
    let caches = match config.caches() {
        [] => Finding::error(
            "store.caches",
            "no cache is configured, so nothing can be fetched",
            "name one in `caches` of the [store] section; docs/stores.md",
        ),
        caches => Finding::ok("store.caches", format!("packages come from {}", caches.join(", "))),
    };
    let names: Vec<&str> = config.keys().filter_map(|key| key.split(':').next()).collect();
    let keys = if names.is_empty() {
        Finding::error(
            "store.keys",
            "no key is trusted, so nothing that a cache has is believed",
            "name one in `trusted-public-keys` of the [store] section; docs/stores.md",
        )
    } else {
        Finding::ok("store.keys", format!("signatures of {} are believed", names.join(", ")))
    };
    vec![writable("store.folder", "the embedded store", config.folder()), caches, keys]
}

fn offline(settings: &Settings) -> Finding {
    const ID: &str = "store.offline";
    if StoreConfig::load(settings).is_ok_and(|config| config.is_offline()) {
        return Finding::warning(
            ID,
            "nothing is fetched: programs get what is in the store already",
            "unset SONDE_OFFLINE, and remove `offline` from the [store] section of config.toml",
        );
    }
    Finding::ok(ID, "what is missing may be fetched")
}

fn roots(settings: &Settings) -> Finding {
    writable("store.roots", "gc roots of what programs need", &settings.state.join("roots"))
}

/// Can something be made in a folder that may itself have to be made?
fn writable(id: &'static str, what: &str, folder: &Path) -> Finding {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let reason = match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        _ if !there.is_dir() => "it is no folder",
        Err(errno) => errno.desc(),
        Ok(()) => return Finding::ok(id, format!("{what}: {}", folder.display())),
    };
    let (folder, there) = (folder.display(), there.display());
    let summary = format!("{what} cannot be kept in {folder}: {there}: {reason}");
    Finding::error(id, summary, format!("`ls -ld {there}`; it must be a folder that you may write to"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_folder_that_cannot_be_made_is_told_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(writable("x", "y", &folder.path().join("a/b")).level, Level::Ok);
        std::fs::write(folder.path().join("file"), "").unwrap();
        let finding = writable("x", "y", &folder.path().join("file/roots"));
        assert!(
            finding.level == Level::Error && finding.summary.contains("/file: it is no folder"),
            "{finding:?}"
        );
        assert!(!folder.path().join("a").exists(), "only looked at");
    }
}
