//! The lists of names that need care, with what the administrator and the user add to those that Sonde comes with:
//! `lists.toml` in `/etc/sonde` and in `$XDG_CONFIG_HOME/sonde`, the user's entries first.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use sonde_resolve::lists::{Lists, ListsError};
use thiserror::Error;

use crate::settings::Settings;

const FILE: &str = "lists.toml";

/// The lists in force.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) lists: Cow<'static, Lists>,
    /// The texts that were added, for telling whether they have changed.
    pub(super) added: Vec<String>,
    /// Files that are left out.
    pub(super) problems: Vec<ListsProblem>,
}

/// Why a file of lists is left out.
#[derive(Debug, Error)]
pub(crate) enum ListsProblem {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}; the file is left out", path.display())]
    Parse { path: PathBuf, source: ListsError },
}

/// Reads all lists. A file with a fault adds nothing.
pub(super) fn load(settings: &Settings) -> Loaded {
    let mut loaded =
        Loaded { lists: Cow::Borrowed(Lists::built_in()), added: Vec::new(), problems: Vec::new() };
    for (path, text) in settings.configured(FILE) {
        let text = match text {
            Ok(text) => text,
            Err(source) => {
                loaded.problems.push(ListsProblem::Read { path, source });
                continue;
            }
        };
        // What comes later stands in front of what is there already.
        match loaded.lists.to_mut().add(&text) {
            Ok(()) => loaded.added.push(text),
            Err(source) => loaded.problems.push(ListsProblem::Parse { path, source }),
        }
    }
    loaded
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_resolve::lists::GroupKind;
    use std::fs;
    use std::path::Path;

    fn load_from(folders: &[&Path]) -> Loaded {
        let configuration = folders.iter().map(|folder| (*folder).to_owned()).collect();
        load(&Settings { configuration, ..Settings::from_environment() })
    }

    #[test]
    fn the_users_file_is_asked_before_the_machines() {
        let (machine, user) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let group =
            |kind: &str| format!("[[group]]\nkind = '{kind}'\nreason = 'x'\nsonames = ['libq.so.1']\n");
        fs::write(machine.path().join(FILE), group("driver")).unwrap();
        let folders = [machine.path(), user.path()];
        assert_eq!(load_from(&folders).lists.kind_of("libq.so.1"), Some(GroupKind::Driver));
        fs::write(user.path().join(FILE), group("never")).unwrap();
        let loaded = load_from(&folders);
        assert_eq!(loaded.lists.kind_of("libq.so.1"), Some(GroupKind::Never));
        assert_eq!(
            loaded.lists.kind_of("libc.so.6"),
            Some(GroupKind::Glibc),
            "the built-in ones are still there"
        );
        assert_eq!(loaded.added.len(), 2);
    }

    #[test]
    fn a_file_with_a_fault_is_told_and_left_out() {
        let user = tempfile::tempdir().unwrap();
        fs::write(user.path().join(FILE), "[[grop]]\n").unwrap();
        let loaded = load_from(&[user.path()]);
        assert!(loaded.added.is_empty());
        let told = loaded.problems[0].to_string();
        assert!(told.contains("lists.toml") && told.contains("grop"), "{told}");
    }
}
