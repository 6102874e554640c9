//! Which store is used, and which caches and keys fill the embedded one: the `[store]` section of `config.toml`.
//!
//! The machine's file comes first; what the user's says replaces it, key by key. Other sections are not ours to judge.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use nix::unistd::{Uid, User};
use serde::Deserialize;
use sonde_policy::{Decision, Policy};
use thiserror::Error;

use super::embedded::{self, EmbeddedError, EmbeddedStore, Patience, PublicKey};
use super::{Fallback, Limits, NixStore};
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
    /// As they were written, too.
    keys: Vec<(String, PublicKey)>,
    folder: PathBuf,
    limits: Limits,
    patience: Patience,
    fallback: Option<Fallback>,
    desktop_notification: bool,
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
    #[error("{}: {key} is `{value}`; {wanted}", path.display())]
    Value { path: PathBuf, key: &'static str, value: String, wanted: &'static str },
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
    offline: Option<bool>,
    max_download_size: Option<Size>,
    connect_timeout: Option<u64>,
    stall_timeout: Option<u64>,
    attempts: Option<u32>,
    fallback: Option<String>,
    desktop_notification: Option<bool>,
}

/// A number of bytes, or a text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

impl StoreConfig {
    /// Reads the files that there are.
    pub(crate) fn load(settings: &Settings) -> Result<Self, ConfigError> {
        let mut config = Self {
            kind: Kind::default(),
            mode: StoreMode::default(),
            caches: vec![DEFAULT_CACHE.to_owned()],
            keys: PublicKey::parse(DEFAULT_KEY)
                .map(|key| (DEFAULT_KEY.to_owned(), key))
                .into_iter()
                .collect(),
            folder: data_folder().join("store"),
            limits: Limits::default(),
            patience: Patience::default(),
            fallback: None,
            desktop_notification: true,
        };
        for (path, text) in settings.configured(FILE) {
            match text {
                Ok(text) => config.merge(&path, &text)?,
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        if settings.offline {
            config.force_offline();
        }
        Ok(config)
    }

    fn merge(&mut self, file: &Path, text: &str) -> Result<(), ConfigError> {
        let path = || file.to_owned();
        let syntax = |error: toml::de::Error| ConfigError::Syntax { path: path(), reason: error.to_string() };
        let section = toml::from_str::<File>(text).map_err(syntax)?.store;
        self.kind = section.kind.unwrap_or(self.kind);
        self.mode = section.mode.unwrap_or(self.mode);
        self.desktop_notification = section.desktop_notification.unwrap_or(self.desktop_notification);
        self.merge_limits(file, &section)?;
        if let Some(text) = section.fallback {
            let wanted =
                "it is `nixpkgs`, or the reference of a flake such as github:NixOS/nixpkgs/nixos-25.05";
            let fallback = Fallback::parse(&text).ok_or_else(|| ConfigError::Value {
                path: path(),
                key: "fallback",
                value: text.clone(),
                wanted,
            })?;
            self.fallback = Some(fallback);
        }
        if let Some(caches) = section.caches {
            if let Some(address) = caches.iter().find(|address| !is_address(address)) {
                return Err(ConfigError::Cache { path: path(), address: address.clone() });
            }
            self.caches = caches;
        }
        if let Some(keys) = section.trusted_public_keys {
            let parse = |key: &String| {
                let parsed = PublicKey::parse(key).map(|parsed| (key.clone(), parsed));
                parsed.ok_or_else(|| ConfigError::Key { path: path(), key: key.clone() })
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

    fn merge_limits(&mut self, path: &Path, section: &Section) -> Result<(), ConfigError> {
        let wrong = |key, value, wanted| ConfigError::Value { path: path.to_owned(), key, value, wanted };
        let positive = |key, value: Option<u64>| match value {
            Some(0) => Err(wrong(key, "0".to_owned(), "it is a number from 1 on")),
            value => Ok(value),
        };
        let (limits, patience) = (&mut self.limits, &mut self.patience);
        limits.offline = section.offline.unwrap_or(limits.offline);
        match &section.max_download_size {
            Some(Size::Bytes(bytes)) => limits.max_download = Some(*bytes),
            Some(Size::Text(text)) => {
                let size: ByteSize = text.parse().map_err(|_| {
                    let wanted = "it is a number of bytes, or a text such as \"500 MiB\"";
                    wrong("max-download-size", text.clone(), wanted)
                })?;
                limits.max_download = Some(size.as_u64());
            }
            None => {}
        }
        let seconds = |key, value| Ok(positive(key, value)?.map(Duration::from_secs));
        patience.connect = seconds("connect-timeout", section.connect_timeout)?.unwrap_or(patience.connect);
        patience.stall = seconds("stall-timeout", section.stall_timeout)?.unwrap_or(patience.stall);
        positive("attempts", section.attempts.map(u64::from))?;
        patience.attempts = section.attempts.unwrap_or(patience.attempts);
        Ok(())
    }

    /// Nothing may be fetched or built, whatever the files say.
    pub(crate) fn force_offline(&mut self) {
        self.limits.offline = true;
    }

    /// May a desktop be told of a fetch that takes long?
    pub(crate) fn desktop_notification(&self) -> bool {
        self.desktop_notification
    }

    /// May nothing be fetched or built?
    pub(crate) fn is_offline(&self) -> bool {
        self.limits.offline
    }

    /// The caches that fill the embedded store, first asked first.
    pub(crate) fn caches(&self) -> &[String] {
        &self.caches
    }

    /// The public keys that are trusted, as they were written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(text, _)| text.as_str())
    }

    /// The folder of the embedded store, made or not.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How programs get at the embedded store, if nobody says otherwise.
    pub(crate) fn mode(&self) -> StoreMode {
        self.mode
    }

    /// The folder of the embedded store that a program is to see as `/nix/store`; made if it is not there.
    pub(crate) fn objects(&self) -> Result<PathBuf, EmbeddedError> {
        embedded::objects(&self.folder)
    }

    /// The embedded store, filled from those caches and with those keys that the policy allows.
    pub(crate) fn embedded(mut self, policy: &Policy) -> EmbeddedStore {
        let mut forbidden = Vec::new();
        self.caches.retain(|address| match policy.decide_cache(address) {
            Decision::Provide => true,
            Decision::Refuse { rule } => {
                forbidden.push(format!("{address} is not asked, the policy forbids it: {rule}"));
                false
            }
        });
        let keys = self.keys.into_iter().filter_map(|(text, key)| match policy.decide_key(&text) {
            Decision::Provide => Some(key),
            Decision::Refuse { rule } => {
                forbidden.push(format!("the key {key:?} is not trusted, the policy forbids it: {rule}"));
                None
            }
        });
        let keys = keys.collect();
        EmbeddedStore::new(self.folder, &self.caches, keys, self.patience, self.limits).forbidding(forbidden)
    }

    /// The Nix store, by its command.
    pub(crate) fn nix(self, command: Option<PathBuf>) -> NixStore {
        NixStore::new(command, self.limits, self.fallback)
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
    use std::fs;

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

    fn key_names(config: &StoreConfig) -> Vec<String> {
        config.keys.iter().map(|(_, key)| format!("{key:?}")).collect()
    }

    #[test]
    fn without_files_it_is_the_cache_and_key_of_nixos() {
        let config = load(&[]).unwrap();
        assert_eq!(config.caches, [DEFAULT_CACHE]);
        assert_eq!(key_names(&config), ["cache.nixos.org-1"]);
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
        assert_eq!(key_names(&config), ["mine-1"]);
        assert!(config.wants_embedded(true));
        assert_eq!(config.mode(), StoreMode::Redirect);
    }

    #[test]
    fn limits_are_read_and_can_only_be_tightened_from_outside() {
        let config =
            load(&["[store]\nmax-download-size = \"500 MiB\"\nconnect-timeout = 3\nattempts = 1"]).unwrap();
        assert_eq!(config.limits, Limits { offline: false, max_download: Some(500 << 20) });
        assert_eq!(config.patience.connect, Duration::from_secs(3));
        assert_eq!((config.patience.stall, config.patience.attempts), (Patience::default().stall, 1));
        let mut config =
            load(&["[store]\nmax-download-size = 7\noffline = true", "[store]\noffline = false"]).unwrap();
        assert_eq!(config.limits, Limits { offline: false, max_download: Some(7) });
        config.force_offline();
        assert!(config.limits.offline);
    }

    #[test]
    fn a_fallback_is_off_unless_named() {
        assert_eq!(load(&[]).unwrap().fallback, None);
        let config = load(&["[store]\nfallback = \"nixpkgs\"\ndesktop-notification = false"]).unwrap();
        assert_eq!(config.fallback, Some(Fallback::Nixpkgs));
        assert!(!config.desktop_notification());
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
            ("[store]\nmax-download-size = \"500 apples\"", "max-download-size is `500 apples`; it is"),
            ("[store]\nmax-download-size = -1", "max-download-size"),
            ("[store]\nconnect-timeout = 0", "connect-timeout is `0`"),
            ("[store]\nstall-timeout = 0", "stall-timeout is `0`"),
            ("[store]\nattempts = 0", "attempts is `0`"),
            ("[store]\nfallback = \"true\"", "fallback is `true`; it is `nixpkgs`, or"),
        ] {
            let error = load(&[text]).unwrap_err().to_string();
            assert!(error.contains(names) && error.contains("config.toml: "), "{text}: {error}");
        }
    }
}
