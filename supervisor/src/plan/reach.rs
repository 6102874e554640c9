//! Which sonames the libraries of packages find by themselves. Nobody need be asked about these when one of the many
//! folders that are searched for them does not have them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sonde_resolve::elf::ElfFacts;

use crate::store::{STORE, StoreFiles};
use crate::sys::mapped_file::MappedFile;

/// The folders of the store in which the loader looks for what a library of the store is linked against.
fn search_path(library: &Path, facts: &ElfFacts) -> Vec<PathBuf> {
    let origin = library.parent().unwrap_or(Path::new("/"));
    let origin = origin.to_string_lossy();
    let listed = facts.runpath.iter().chain(&facts.rpath).flat_map(|list| list.split(':'));
    let folders = listed.map(|folder| folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin));
    folders.map(PathBuf::from).filter(|path| path.starts_with(STORE)).collect()
}

/// Every path at which the loader looks for what a library of the store is linked against, as far as that is in the
/// store, by soname.
pub(crate) fn references(library: &Path, facts: &ElfFacts) -> Vec<(String, PathBuf)> {
    let folders = search_path(library, facts);
    let needed = facts.needed.iter();
    needed
        .flat_map(|soname| {
            folders.iter().map(move |folder| (soname.clone(), folder.join(OsStr::new(soname))))
        })
        .collect()
}

/// What a library of the store is linked against, read from the file.
pub(crate) fn facts(files: &StoreFiles, library: &Path) -> Option<ElfFacts> {
    let bytes = files.open(library).and_then(|file| MappedFile::open(&file)).ok()?;
    ElfFacts::parse(bytes.as_ref()).ok()
}

/// What libraries of the store reach.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// What they, and those that they find, are linked against and find: the path by soname.
    pub(crate) found: BTreeMap<String, PathBuf>,
    /// Where it is looked for.
    pub(crate) folders: BTreeSet<PathBuf>,
}

/// Follows libraries of the store, and those that they find.
pub(crate) fn reach(files: &StoreFiles, libraries: impl IntoIterator<Item = PathBuf>) -> Reached {
    let Reached { mut found, mut folders } = Reached::default();
    let mut seen = HashSet::new();
    let mut ahead: Vec<PathBuf> = libraries.into_iter().collect();
    while let Some(library) = ahead.pop() {
        if !seen.insert(library.clone()) {
            continue;
        }
        let Some(facts) = facts(files, &library) else { continue };
        folders.extend(search_path(&library, &facts));
        for (soname, path) in references(&library, &facts) {
            // The first folder counts that has it.
            let is_new = !found.contains_key(&soname) && files.open(&path).is_ok();
            if is_new {
                found.insert(soname, path.clone());
                ahead.push(path);
            }
        }
    }
    Reached { found, folders }
}
