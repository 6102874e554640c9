//! What lies in folders of the store, for plans: packages do not change, so what is not in them now never will be.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sonde_interp::plan::{Plan, continue_digest, digest};

use crate::store::{StoreFiles, StorePath};

/// Digests of folders that are known, and of the path of everything in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) folders: BTreeSet<u64>,
    pub(crate) entries: BTreeSet<u64>,
}

impl Contents {
    /// Of those of the folders that belong to packages that are there, whole.
    pub(crate) fn of<'p>(files: &StoreFiles, folders: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        let mut contents = Self::default();
        let is_whole =
            |folder: &Path| StorePath::of_file(folder).is_some_and(|object| files.is_complete(&object));
        for folder in folders.into_iter().filter(|folder| !files.are_elsewhere() && is_whole(folder)) {
            contents.add(folder);
        }
        contents
    }

    /// As a plan has it.
    pub(crate) fn of_plan(plan: &Plan<'_>) -> Self {
        let tables = plan.contents();
        let [folders, entries] = [tables.folders, tables.entries].map(|table| {
            let digests = table.as_chunks().0.iter();
            digests.map(|digest| u64::from_le_bytes(*digest)).collect()
        });
        Self { folders, entries }
    }

    /// A folder that cannot be read to its end stays unknown; one that is not there has nothing in it.
    fn add(&mut self, folder: &Path) {
        let hash = digest(folder.as_os_str().as_bytes());
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries
                .map(|entry| {
                    let name = entry?.file_name();
                    Ok(continue_digest(continue_digest(hash, b"/"), name.as_bytes()))
                })
                .collect::<std::io::Result<Vec<u64>>>(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        if let Ok(entries) = entries {
            self.folders.insert(hash);
            self.entries.extend(entries);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_if_it_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libz.so.1"), "").unwrap();
        fs::create_dir(folder.path().join("engines")).unwrap();
        let mut contents = Contents::default();
        contents.add(folder.path());
        let path = |path: &Path| digest(path.as_os_str().as_bytes());
        assert_eq!(contents.folders, [path(folder.path())].into());
        let entries = ["libz.so.1", "engines"].map(|name| path(&folder.path().join(name)));
        assert_eq!(contents.entries, entries.into());

        let absent = folder.path().join("absent");
        contents.add(&absent);
        assert!(contents.folders.contains(&path(&absent)));
        contents.add(&folder.path().join("libz.so.1"));
        assert_eq!(contents.folders.len(), 2);
    }
}
