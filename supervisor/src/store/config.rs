//! Which store is used, and which caches and keys fill the embedded one: the `[store]` section of `config.toml`.
//!
//! The machine's file comes first; what the user's says replaces it, key by key. Other sections are not ours to judge.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::unistd::{Uid, User};
use serde::Deserialize;
use thiserror::Error;

use super::embedded::{self, EmbeddedError, EmbeddedStore, Patience, PublicKey};
use crate::settings::Settings;

const FILE: &str = "config.toml";

/// What Nix itself is configured for when nobody says otherwise.
const DEFAULT_CACHE: &str = "https://cache.nixos.org";
const DEFAULT_KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// Which store is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Nix where there is a `nix-store`, else the embedded one.
    #[default]
    Auto,
    Nix,
    Embedded,
}

/// How a program gets at what is in the embedded store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreMode {
    /// By a mount where that is possible, else by redirection
    #[default]
    Auto,
    /// Mounted at /nix/store, for the program alone
    Mount,
    /// Libraries only, as the loader opens them
    Redirect,
}

/// The store's configuration, complete.
#[derive(Debug)]
pub(crate) struct StoreConfig {
    kind: Kind,
    mode: StoreMode,
    caches: Vec<String>,
    keys: Vec<PublicKey>,
    folder: PathBuf,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error(
        "{}: `{address}` is no cache; an address begins with https://, http:// or file:///",
        path.display()
    )]
    Cache { path: PathBuf, address: String },
    #[error("{}: `{key}` is no public key; one looks like {DEFAULT_KEY}", path.display())]
    Key { path: PathBuf, key: String },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    store: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    kind: Option<Kind>,
    mode: Option<StoreMode>,
    caches: Option<Vec<String>>,
    trusted_public_keys: Option<Vec<String>>,
}

impl StoreConfig {
    /// Reads the files that there are.
    pub(crate) fn load(settings: &Settings) -> Result<Self, ConfigError> {
        let mut config = Self {
            kind: Kind::default(),
            mode: StoreMode::default(),
            caches: vec![DEFAULT_CACHE.to_owned()],
            keys: PublicKey::parse(DEFAULT_KEY).into_iter().collect(),
            folder: data_folder().join("store"),
        };
        for folder in &settings.configuration {
            let path = folder.join(FILE);
            match fs::read_to_string(&path) {
                Ok(text) => config.merge(&path, &text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        Ok(config)
    }

    fn merge(&mut self, path: &std::path::Path, text: &str) -> Result<(), ConfigError> {
        let path = || path.to_owned();
        let syntax = |error: toml::de::Error| ConfigError::Syntax { path: path(), reason: error.to_string() };
        let Section { kind, mode, caches, trusted_public_keys } =
            toml::from_str::<File>(text).map_err(syntax)?.store;
        self.kind = kind.unwrap_or(self.kind);
        self.mode = mode.unwrap_or(self.mode);
        if let Some(caches) = caches {
            if let Some(address) = caches.iter().find(|address| !is_address(address)) {
                return Err(ConfigError::Cache { path: path(), address: address.clone() });
            }
            self.caches = caches;
        }
        if let Some(keys) = trusted_public_keys {
            let parse = |key: &String| {
                PublicKey::parse(key).ok_or_else(|| ConfigError::Key { path: path(), key: key.clone() })
            };
            self.keys = keys.iter().map(parse).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Is the embedded store the one to use, given whether there is a Nix?
    pub(crate) fn wants_embedded(&self, nix: bool) -> bool {
        match self.kind {
            Kind::Auto => !nix,
            Kind::Nix => false,
            Kind::Embedded => true,
        }
    }

    /// How programs get at the embedded store, if nobody says otherwise.
    pub(crate) fn mode(&self) -> StoreMode {
        self.mode
    }

    /// The folder of the embedded store that a program is to see as `/nix/store`; made if it is not there.
    pub(crate) fn objects(&self) -> Result<PathBuf, EmbeddedError> {
        embedded::objects(&self.folder)
    }

    /// The embedded store.
    pub(crate) fn embedded(self) -> EmbeddedStore {
        EmbeddedStore::new(self.folder, &self.caches, self.keys, Patience::default())
    }
}

fn is_address(text: &str) -> bool {
    let rest = |scheme| text.strip_prefix(scheme).is_some_and(|rest: &str| !rest.is_empty());
    rest("https://") || rest("http://") || text.starts_with("file:///")
}

/// `$XDG_DATA_HOME/sonde`.
fn data_folder() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").or_else(|| Some(User::from_uid(Uid::current()).ok()??.dir));
    let base = absolute("XDG_DATA_HOME").or_else(|| Some(home()?.join(".local/share")));
    base.unwrap_or_else(|| "/var/empty".into()).join("sonde")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "mine-1:lY+5D5qjidA+BQTUp7sObpY5USZicaUBXX2WPOsgUMQ=";

    fn load(files: &[&str]) -> Result<StoreConfig, ConfigError> {
        let base = tempfile::tempdir().unwrap();
        let mut settings = Settings::from_environment();
        settings.configuration.clear();
        for (index, text) in files.iter().enumerate() {
            let folder = base.path().join(index.to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(FILE), text).unwrap();
            settings.configuration.push(folder);
        }
        settings.configuration.push(base.path().join("none"));
        StoreConfig::load(&settings)
    }

    #[test]
    fn without_files_it_is_the_cache_and_key_of_nixos() {
        let config = load(&[]).unwrap();
        assert_eq!(config.caches, [DEFAULT_CACHE]);
        assert_eq!(format!("{:?}", config.keys), "[cache.nixos.org-1]");
        assert!(config.wants_embedded(false) && !config.wants_embedded(true));
        assert_eq!(config.mode(), StoreMode::Auto);
    }

    #[test]
    fn the_users_file_replaces_the_machines_key_by_key() {
        let machine =
            format!("[store]\ncaches = [\"http://a\"]\ntrusted-public-keys = [\"{KEY}\"]\nkind = \"nix\"");
        let config =
            load(&[&machine, "[store]\nkind = \"embedded\"\nmode = \"redirect\"\n[other]\nx = 1"]).unwrap();
        assert_eq!(config.caches, ["http://a"]);
        assert_eq!(format!("{:?}", config.keys), "[mine-1]");
        assert!(config.wants_embedded(true));
        assert_eq!(config.mode(), StoreMode::Redirect);
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        for (text, names) in [
            ("[store", "config.toml: TOML parse error"),
            ("[store]\ncache = []", "unknown field `cache`"),
            ("[store]\nkind = \"guix\"", "unknown variant `guix`"),
            ("[store]\nmode = \"chroot\"", "unknown variant `chroot`"),
            ("[store]\ncaches = [\"cache.nixos.org\"]", "`cache.nixos.org` is no cache"),
            ("[store]\ncaches = [\"file://relative\"]", "is no cache"),
            ("[store]\ntrusted-public-keys = [\"abc\"]", "`abc` is no public key"),
        ] {
            let error = load(&[text]).unwrap_err().to_string();
            assert!(error.contains(names) && error.contains("config.toml: "), "{text}: {error}");
        }
    }
}
