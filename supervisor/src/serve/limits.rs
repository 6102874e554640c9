//! What one user's supervisor takes on at once: the `[limits]` section of `config.toml`.
//!
//! The machine's file comes first, and the user's can only lower what it says. Whoever is over a limit is not refused:
//! they get a supervisor of their own, or wait in the kernel, so that what floods one supervisor stops nobody else.
//! How much may be downloaded is the policy's to say (`crate::store::Quota`), and the store's.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::settings::Settings;
use crate::sys::signals::descriptor_limit;

const FILE: &str = "config.toml";

/// Descriptors that a tree may come to need: its listener, ledger, root, loader and cache, what its threads of the pool
/// have open, and as many again while it begins.
const DESCRIPTORS_OF_A_TREE: u64 = 24;

/// The section, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Trees that a supervisor serves at once. The next one gets a supervisor of its own.
    pub(crate) trees: usize,
    /// Loads of one tree that wait at once. Further ones wait in the kernel; under the engine inline their program starts
    /// a supervisor for them.
    pub(crate) traps: usize,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub(crate) enum LimitsError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: {key} = 0 in [limits]: nobody could be served; it is 1 or more", path.display())]
    Nothing { path: PathBuf, key: &'static str },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    limits: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    trees: Option<usize>,
    traps: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { trees: 1024, traps: 4096 }
    }
}

impl Limits {
    /// Reads the files that there are.
    ///
    /// # Errors
    /// One of them cannot be read, is no TOML, or says what the section does not know.
    pub(crate) fn load(settings: &Settings) -> Result<Self, LimitsError> {
        let mut limits = Self::default();
        let mut machine = true;
        for (path, text) in settings.configured(FILE) {
            let text = text.map_err(|source| LimitsError::Read { path: path.clone(), source })?;
            let said = Self::parse(&path, &text)?;
            machine &= Some(&path) == settings.configuration.first().map(|folder| folder.join(FILE)).as_ref();
            limits = said.over(limits, machine);
        }
        Ok(limits)
    }

    fn parse(path: &Path, text: &str) -> Result<Section, LimitsError> {
        let syntax =
            |error: toml::de::Error| LimitsError::Syntax { path: path.to_owned(), reason: error.to_string() };
        let section = toml::from_str::<File>(text).map_err(syntax)?.limits;
        for (key, value) in [("trees", section.trees), ("traps", section.traps)] {
            if value == Some(0) {
                return Err(LimitsError::Nothing { path: path.to_owned(), key });
            }
        }
        Ok(section)
    }

    /// With no more trees than there are descriptors for, whatever is configured.
    pub(super) fn within_our_means(self) -> Self {
        let room = descriptor_limit().map_or(u64::MAX, |most| most / DESCRIPTORS_OF_A_TREE).max(1);
        Self { trees: self.trees.min(usize::try_from(room).unwrap_or(usize::MAX)), ..self }
    }
}

impl Section {
    /// The machine may allow more than is usual, its users only less than the machine does.
    fn over(&self, limits: Limits, machine: bool) -> Limits {
        let one = |said: Option<usize>, most: usize| match said {
            Some(said) if machine => said,
            Some(said) => said.min(most),
            None => most,
        };
        Limits { trees: one(self.trees, limits.trees), traps: one(self.traps, limits.traps) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(machine: &str, user: &str) -> Result<Limits, LimitsError> {
        let folder = tempfile::tempdir().unwrap();
        let configuration: Vec<PathBuf> = ["machine", "user"].map(|name| folder.path().join(name)).into();
        for (folder, text) in configuration.iter().zip([machine, user]) {
            std::fs::create_dir(folder).unwrap();
            if !text.is_empty() {
                std::fs::write(folder.join(FILE), text).unwrap();
            }
        }
        Limits::load(&Settings { configuration, ..Settings::from_environment() })
    }

    #[test]
    fn a_user_can_only_lower_what_the_machine_says() {
        let (usual, limits) = (Limits::default(), |trees, traps| Limits { trees, traps });
        assert_eq!(read("", "[engine]\nkind = 'auto'").unwrap(), usual);
        assert_eq!(read("[limits]\ntrees = 9000", "").unwrap(), limits(9000, usual.traps));
        assert_eq!(read("[limits]\ntrees = 10", "[limits]\ntrees = 20\ntraps = 7").unwrap(), limits(10, 7));
        assert_eq!(read("", "[limits]\ntrees = 9000").unwrap(), usual, "not without a machine's either");
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        let error = |text| read(text, "").unwrap_err().to_string();
        assert!(error("[limits]\ntrees = 0").contains("config.toml: trees = 0 in [limits]: nobody"));
        assert!(error("[limits]\ntree = 1").contains("unknown field `tree`"));
        assert!(error("[limits]\ntraps = 'x'").contains("config.toml: TOML parse error"));
    }
}
