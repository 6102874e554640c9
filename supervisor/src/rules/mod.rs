//! The policy in force: which files it is made of, and whether they have changed since they were read.
//!
//! What the files say is `sonde_policy`'s business. Here they are read, in suspicion ([`mod@file`]); whatever goes wrong with
//! one of them makes a policy that refuses everything and says why.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sonde_policy::{Policy, Problem, Severity};
use thiserror::Error;

use crate::settings::Settings;
use file::{FileError, Stamp, Whose};

const FILE: &str = "policy.toml";

/// The files of a policy, and what they came to when they were last read.
#[derive(Debug)]
pub(crate) struct Rules {
    files: Vec<(PathBuf, Whose)>,
    read: RwLock<Reading>,
}

/// What the files came to.
#[derive(Debug)]
struct Reading {
    policy: Arc<Policy>,
    stamps: Vec<Option<Stamp>>,
}

/// What is wrong with a policy.
#[derive(Debug, Error)]
pub(crate) enum RulesError {
    #[error(transparent)]
    File(#[from] FileError),
    /// Mistakes in one file; there is at least one.
    #[error("{}", summary(.0))]
    Mistakes(Vec<Problem>),
}

/// One file, read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) path: PathBuf,
    /// Nothing: there is no such file.
    pub(crate) outcome: Option<Result<(Policy, Vec<Problem>), RulesError>>,
}

impl Rules {
    /// The machine's file, the user's, and those that were named on the command line.
    pub(crate) fn load(settings: &Settings, named: &[PathBuf]) -> Self {
        let files = files(settings, named);
        let read = RwLock::new(Reading::of(&files));
        Self { files, read }
    }

    /// The machine's file, whether it is there or not.
    pub(crate) fn machine(&self) -> Option<&Path> {
        let machine = self.files.iter().find(|(_, whose)| *whose == Whose::Machine);
        machine.map(|(path, _)| path.as_path())
    }

    /// The policy as it is now. Costs a stat(2) for each file that there could be, and, since every open of a loader
    /// comes by here, no memory.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        {
            let last = self.read.read().unwrap_or_else(PoisonError::into_inner);
            if self.files.iter().map(|(path, _)| Stamp::at(path)).eq(last.stamps.iter().copied()) {
                return last.policy.clone();
            }
        }
        let reading = Reading::of(&self.files);
        tracing::info!("the policy has changed");
        let policy = reading.policy.clone();
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = reading;
        policy
    }
}

impl Reading {
    fn of(files: &[(PathBuf, Whose)]) -> Self {
        // Before reading: what changes meanwhile is then read again.
        let stamps = stamps(files);
        let mut policy = Policy::allow_all();
        for (path, whose) in files {
            match read(path, *whose).outcome {
                None => {}
                Some(Ok((file, _))) => policy = policy.narrowed_by(file),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the policy cannot be used");
                    let refused = format!("{error}; nothing is provided until that is put right");
                    policy = policy.narrowed_by(Policy::broken(&refused));
                }
            }
        }
        Self { policy: Arc::new(policy), stamps }
    }
}

/// Reads the files in force one by one, to tell about each.
pub(crate) fn in_force(settings: &Settings) -> Vec<Read> {
    files(settings, &[]).iter().map(|(path, whose)| read(path, *whose)).collect()
}

/// Reads a file that somebody is working on. One that is in force is judged as such.
pub(crate) fn named(settings: &Settings, path: &Path) -> Read {
    let known = files(settings, &[]).into_iter().find(|(other, _)| other == path && other.exists());
    read(path, known.map_or(Whose::Command, |(_, whose)| whose))
}

fn files(settings: &Settings, named: &[PathBuf]) -> Vec<(PathBuf, Whose)> {
    let owners = [Whose::Machine, Whose::User];
    let kept = settings.configuration.iter().zip(owners).map(|(folder, whose)| (folder.join(FILE), whose));
    kept.chain(named.iter().map(|path| (path.clone(), Whose::Command))).collect()
}

fn stamps(files: &[(PathBuf, Whose)]) -> Vec<Option<Stamp>> {
    files.iter().map(|(path, _)| Stamp::at(path)).collect()
}

fn read(path: &Path, whose: Whose) -> Read {
    let parse =
        |text: String| Policy::parse(&path.display().to_string(), &text).map_err(RulesError::Mistakes);
    let outcome = match file::read(path, whose) {
        Ok(text) => text.map(parse),
        Err(error) => Some(Err(error.into())),
    };
    Read { path: path.to_owned(), outcome }
}

/// The first mistake, and how many more there are: one line.
fn summary(problems: &[Problem]) -> String {
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let first = errors.next().map_or_else(String::new, Problem::summary);
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more: `sonde policy check`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_policy::{Decision, Package, Request, Source};
    use std::fs;

    const ALLOW: &str = "version = 1\ndefault = 'allow'\n";

    fn decide(rules: &Rules) -> Decision {
        let package = Package { attribute: "zlib", output: "out", store_path: "/nix/store/x-zlib" };
        let (program, soname, source) = (b"/opt/app", b"libz.so.1", Source::Needed);
        rules.policy().decide(&Request { program, soname, package, source })
    }

    /// Rules of a user, on a machine without any.
    fn rules(folder: &Path, named: &[PathBuf]) -> Rules {
        let configuration = vec![folder.join("none"), folder.to_owned()];
        Rules::load(&Settings { configuration, ..Settings::from_environment() }, named)
    }

    #[test]
    fn a_file_that_changes_counts_at_the_next_question() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let rules = rules(folder.path(), &[]);
        assert!(rules.policy().is_allow_all());
        fs::write(&path, "version = 1\ndefault = 'deny'\n").unwrap();
        assert_ne!(decide(&rules), Decision::Provide);
        fs::write(&path, ALLOW).unwrap();
        assert_eq!(decide(&rules), Decision::Provide);
        fs::remove_file(&path).unwrap();
        assert_eq!(decide(&rules), Decision::Provide);
    }

    #[test]
    fn whatever_goes_wrong_refuses_everything_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let rules = rules(folder.path(), &[]);
        for (text, why) in [
            (&b"version = 1\ndefualt = 'deny'\n"[..], "policy.toml:2:1: unknown key `defualt`"),
            (b"\xff", "policy.toml:1: is no UTF-8 text"),
            (b"", "policy.toml:1:1: a policy must have `version`"),
        ] {
            fs::write(&path, text).unwrap();
            let Decision::Refuse { rule } = decide(&rules) else { panic!("{why}") };
            assert!(rule.contains(why) && rule.contains("nothing is provided"), "{rule}");
            assert!(!rule.contains('\n'), "{rule}");
        }
        fs::remove_file(&path).unwrap();
        let missing = folder.path().join("missing.toml");
        let named = Rules::load(&Settings::from_environment(), &[missing]);
        assert!(matches!(decide(&named), Decision::Refuse { rule } if rule.contains("missing.toml")));
    }

    #[test]
    fn a_named_file_narrows_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("named.toml");
        fs::write(folder.path().join(FILE), ALLOW).unwrap();
        fs::write(&named, format!("{ALLOW}[[package]]\nrule = 'deny'\nattribute = 'z*'\n")).unwrap();
        let rules = rules(folder.path(), std::slice::from_ref(&named));
        let Decision::Refuse { rule } = decide(&rules) else { panic!("it is provided") };
        assert!(rule.contains("named.toml:3: deny package attribute = \"z*\""), "{rule}");
    }
}
