//! Which engine is tried, and in which order: by the command line, else by the `[engine]` section of `config.toml`, else
//! by what the kernel can do.
//!
//! The machine's file comes first; what the user's says replaces it, key by key. Other sections are not ours to judge.
//! Whether an engine works here is found out by whoever tries it: `serve::join`.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sonde_interp::handoff::{Engine, Wish};
use thiserror::Error;

use crate::settings::Settings;
use crate::sys::features::Features;
use crate::sys::ptrace;

const FILE: &str = "config.toml";

/// What speaks against the engine inline where there is a policy.
pub(crate) const POLICY_IN_FORCE: &str = "the policy is to be asked at every open";

/// The `[engine]` section, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EngineConfig {
    kind: Wish,
    /// May a tree get `no_new_privs`, so that setuid programs have no privilege in it?
    pub(crate) no_new_privs: bool,
}

/// What is wrong with a configuration.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: `{word}` is no engine; there are {}", path.display(), Wish::WORDS.join(", "))]
    Kind { path: PathBuf, word: String },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    engine: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    kind: Option<String>,
    no_new_privs: Option<bool>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { kind: Wish::Auto, no_new_privs: true }
    }
}

impl EngineConfig {
    /// Reads the files that there are.
    pub(crate) fn load(settings: &Settings) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (path, text) in settings.configured(FILE) {
            match text {
                Ok(text) => config.merge(&path, &text)?,
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        Ok(config)
    }

    /// What is wished for a program whose command line has this wish.
    pub(crate) fn wished(&self, wish: Wish) -> Wish {
        if wish == Wish::Unsaid { self.kind } else { wish }
    }

    fn merge(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let syntax =
            |error: toml::de::Error| ConfigError::Syntax { path: path.to_owned(), reason: error.to_string() };
        let Section { kind, no_new_privs } = toml::from_str::<File>(text).map_err(syntax)?.engine;
        if let Some(word) = kind {
            self.kind = Wish::from_word(word.as_bytes())
                .ok_or_else(|| ConfigError::Kind { path: path.to_owned(), word })?;
        }
        self.no_new_privs = no_new_privs.unwrap_or(self.no_new_privs);
        Ok(())
    }

    /// The engines to be tried for a program whose command line has this wish; `obstacle` says why inline is none of them.
    pub(crate) fn attempts(
        &self,
        wish: Wish,
        features: Features,
        obstacle: Option<&'static str>,
    ) -> Attempts {
        self.attempts_where(wish, features.sufficient(), ptrace::is_supported(), obstacle)
    }

    fn attempts_where(
        &self,
        wish: Wish,
        notifies: bool,
        traces: bool,
        obstacle: Option<&'static str>,
    ) -> Attempts {
        let attempt = |engine, why| Attempt { engine, why };
        let wish = self.wished(wish);
        let engines = match wish {
            // What it cannot do is known beforehand, and the others can.
            Wish::Unsaid | Wish::Auto | Wish::Only(Engine::Inline) => {
                let first = if wish == Wish::Only(Engine::Inline) { Why::AskedFor } else { Why::Best };
                let second = Why::NotInline(obstacle.unwrap_or("the loader could not be changed"));
                let third = if notifies { Why::NoListener } else { Why::NoNotification };
                let engines = [
                    obstacle.is_none().then(|| attempt(Engine::Inline, first)),
                    notifies.then(|| attempt(Engine::Seccomp, second)),
                    traces.then(|| attempt(Engine::Ptrace, third)),
                ];
                engines.into_iter().flatten().collect()
            }
            Wish::Only(engine) => {
                let works = if engine == Engine::Seccomp { notifies } else { traces };
                if works { vec![attempt(engine, Why::AskedFor)] } else { vec![] }
            }
        };
        Attempts(engines.into())
    }
}

/// Engines that are still to be tried, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attempts(VecDeque<Attempt>);

impl Attempts {
    /// Leaves engines out.
    pub(crate) fn retain(&mut self, keeps: impl Fn(Engine) -> bool) {
        self.0.retain(|attempt| keeps(attempt.engine));
    }

    /// Is there nothing to try?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Iterator for Attempts {
    type Item = Attempt;

    fn next(&mut self) -> Option<Attempt> {
        self.0.pop_front()
    }
}

/// An engine, and why it is its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) engine: Engine,
    pub(crate) why: Why,
}

/// Why an engine is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    AskedFor,
    Best,
    /// The kernel cannot, or a profile forbids it.
    NoNotification,
    /// The filter was refused.
    NoListener,
    /// This speaks against the engine inline, which comes first.
    NotInline(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotInline(obstacle) => return write!(f, "not inline: {obstacle}"),
            Self::AskedFor => "asked for",
            Self::Best => "the first choice",
            Self::NoNotification => "the kernel does not offer user notification here",
            Self::NoListener => "the kernel refused a filter with a listener",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines(config: &str, wish: &str, notifies: bool, traces: bool) -> Vec<Engine> {
        engines_despite(None, config, wish, notifies, traces)
    }

    fn engines_despite(
        obstacle: Option<&'static str>,
        config: &str,
        wish: &str,
        notifies: bool,
        traces: bool,
    ) -> Vec<Engine> {
        let mut read = EngineConfig::default();
        read.merge(Path::new("config.toml"), config).unwrap();
        let wish = Wish::from_word(wish.as_bytes()).unwrap_or_default();
        read.attempts_where(wish, notifies, traces, obstacle).map(|attempt| attempt.engine).collect()
    }

    #[test]
    fn the_command_line_comes_before_the_configuration_and_that_before_the_kernel() {
        use Engine::{Inline, Ptrace, Seccomp};
        let ptrace = "[engine]\nkind = \"ptrace\"\n[other]\nx = 1";
        assert_eq!(engines("", "", true, true), [Inline, Seccomp, Ptrace]);
        assert_eq!(engines("", "", false, true), [Inline, Ptrace]);
        assert_eq!(engines("", "", true, false), [Inline, Seccomp]);
        assert_eq!(engines(ptrace, "", true, true), [Ptrace]);
        assert_eq!(engines(ptrace, "seccomp", true, true), [Seccomp]);
        assert_eq!(engines(ptrace, "auto", true, true), [Inline, Seccomp, Ptrace]);
        assert_eq!(engines("", "seccomp", false, true), []);
        assert_eq!(engines("", "ptrace", true, false), []);
    }

    #[test]
    fn inline_is_followed_by_what_can_be_had_instead() {
        use Engine::{Inline, Ptrace, Seccomp};
        assert_eq!(engines("", "inline", true, true), [Inline, Seccomp, Ptrace]);
        assert_eq!(engines("[engine]\nkind = \"inline\"", "", false, true), [Inline, Ptrace]);
        for wish in ["", "auto", "inline"] {
            assert_eq!(engines_despite(Some("it is traced"), "", wish, true, true), [Seccomp, Ptrace]);
        }
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        let error = |text| {
            EngineConfig::default().merge(Path::new("/etc/config.toml"), text).unwrap_err().to_string()
        };
        assert!(
            error("[engine]\nkind = \"diesel\"")
                .contains("/etc/config.toml: `diesel` is no engine; there are auto")
        );
        assert!(error("[engine]\nking = 1").contains("unknown field `king`"));
    }
}
