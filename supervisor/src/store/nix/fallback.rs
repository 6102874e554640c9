//! What the configuration names for a path that can be neither substituted nor built: the same attribute of the nixpkgs
//! that the user has now. That is another build, at another path, and perhaps another version, so it is off unless asked
//! for. Whoever uses it looks for the same file in what comes out, and puts that to the policy like any other candidate.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::{NixStore, command, dry_run};
use crate::store::{LimitError, StoreError, StorePath};

/// Where attributes are built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// `<nixpkgs>` of `NIX_PATH`, through `nix-build`.
    Nixpkgs,
    /// A flake, through `nix build`.
    Flake(String),
}

impl Fallback {
    /// What stands in a configuration: `nixpkgs`, or the reference of a flake, which says where it comes from.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let scheme = |text: &str| text.starts_with('/') || text.contains(':');
        match text {
            "nixpkgs" => Some(Self::Nixpkgs),
            _ if scheme(text) && !text.contains(['#', '^']) && !text.contains(char::is_whitespace) => {
                Some(Self::Flake(text.to_owned()))
            }
            _ => None,
        }
    }

    /// The command's file name, which lies beside `nix-store`, and its arguments.
    fn command(&self, attribute: &str, output: &str) -> (&'static str, Vec<OsString>) {
        let named = format!("{attribute}.{output}");
        let (name, arguments): (_, &[&str]) = match self {
            Self::Nixpkgs => ("nix-build", &["<nixpkgs>", "-A", &named]),
            // `FLAKE#ATTRIBUTE^OUTPUT` and --print-out-paths would say it better, from Nix 2.9 on.
            Self::Flake(flake) => (
                "nix",
                &[
                    "--extra-experimental-features",
                    "nix-command flakes",
                    "build",
                    "--json",
                    &format!("{flake}#{named}"),
                ],
            ),
        };
        (name, arguments.iter().map(OsString::from).collect())
    }

    /// The store path in what the command printed.
    fn printed(&self, words: &str, output: &str) -> Option<StorePath> {
        match self {
            Self::Nixpkgs => StorePath::new(words.lines().next_back()?.trim()),
            Self::Flake(_) => {
                let built: serde_json::Value = serde_json::from_str(words).ok()?;
                StorePath::new(built.get(0)?.get("outputs")?.get(output)?.as_str()?)
            }
        }
    }
}

impl NixStore {
    /// Is a fallback configured?
    pub(crate) fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    /// Builds or substitutes an output of an attribute of the configured fallback, and protects it from garbage
    /// collection by a root at `root` (`root-OUTPUT` for another output than `out`, as Nix names it). `None`: no
    /// fallback is configured.
    pub(crate) fn build(
        &self,
        attribute: &str,
        output: &str,
        root: &Path,
    ) -> Result<Option<StorePath>, StoreError> {
        let Some(fallback) = &self.fallback else { return Ok(None) };
        let nix_store = self.command()?;
        let named = format!("{attribute}.{output}");
        if !is_attribute(attribute) || !is_name(output) {
            return Err(StoreError::Refused(format!("{named}: not an attribute of nixpkgs, so not built")));
        }
        if self.limits.offline {
            return Err(LimitError::Offline(named).into());
        }
        let (name, arguments) = fallback.command(attribute, output);
        let program = nix_store.with_file_name(name);
        if self.limits.max_download.is_some() {
            let dry = arguments.iter().map(OsString::as_os_str).chain([OsStr::new("--dry-run")]);
            let words = command::run(&program, dry)?.stderr;
            let sizes = dry_run::sizes(&String::from_utf8_lossy(&words)).ok_or_else(super::unknown_size)?;
            self.limits.allow(sizes)?;
        }
        let link = [OsStr::new("--out-link"), root.as_os_str()];
        let built = command::run(&program, arguments.iter().map(OsString::as_os_str).chain(link))?;
        let path = fallback.printed(&String::from_utf8_lossy(&built.stdout), output);
        path.map(Some).ok_or_else(|| StoreError::Refused(format!("{name} printed no store path for {named}")))
    }
}

/// Names from the index, which knows others too: `(steam-run.out)` is reachable only through another package.
fn is_attribute(text: &str) -> bool {
    text.split('.').all(is_name)
}

/// One that a command cannot take for an option, or for anything but a name.
fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+'".contains(&byte))
}

#[cfg(test)]
mod tests;
