//! The loader finds everything in a cache that we wrote or changed, at the path that we gave it, and nothing else.

use crate::elf_writer::{Elf, X86_64};
use crate::told::{CACHE, loader_with_own_cache, tell};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use sonde_resolve::ldcache::{self, Change, Entry};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: i32 = 0x0303;
/// Names of every form that the loader compares in its own way: numbers by their value, digits above letters, and some that
/// it can neither order nor tell apart.
fn soname() -> impl Strategy<Value = String> {
    "(lib)?[a-zA-Z+_-]{1,4}[0-9]{0,11}[a-c.]{0,2}\\.so(\\.[0-9]{1,3}){0,3}"
}

fn entry(soname: &str, folder: &str) -> Entry {
    Entry { soname: soname.into(), path: format!("{folder}/{soname}"), flags: FLAGS, hwcap: 0 }
}

/// Does the loader answer each of these names so, out of this cache?
fn check(
    loader: &Path,
    folder: &Path,
    cache: &[u8],
    expected: &BTreeMap<String, Option<String>>,
) -> Result<(), TestCaseError> {
    fs::write(folder.join(CACHE), cache).unwrap();
    let needed = expected.keys().map(String::as_str).collect();
    let program = Elf { machine: X86_64, needed, no_default_lib: true, ..Elf::default() };
    fs::write(folder.join("program"), program.to_bytes()).unwrap();
    let mut command = Command::new(loader);
    command.current_dir(folder).arg(folder.join("program")).env_remove("LD_LIBRARY_PATH");
    let told = tell(&mut command);
    for (name, path) in expected {
        let answer = &told.searches[name].of_cache;
        prop_assert_eq!(answer, &path.as_ref().map(PathBuf::from), "{}", name);
    }
    Ok(())
}

#[test]
fn the_loader_finds_each_name_where_the_cache_says() {
    let Some(loader) = crate::loader() else { return };
    let folder = tempfile::tempdir().unwrap();
    let loader = loader_with_own_cache(&loader, folder.path());
    let given = (btree_set(soname(), 1..300), vec((soname(), any::<bool>()), 0..40));
    proptest!(crate::config(48), |((names, changes) in given)| {
        let all: Vec<Entry> = names.iter().map(|name| entry(name, "/nix/store/base")).collect();
        // Of names that are the same to the loader, the one that sorts first counts, as it was given first.
        let said = |name: &str| {
            let first = all.iter().find(|entry| ldcache::compare(&entry.soname, name).is_eq());
            first.filter(|_| ldcache::holds(name)).map(|entry| entry.path.clone())
        };
        let mut expected: BTreeMap<String, Option<String>> =
            names.iter().map(|name| (name.clone(), said(name))).collect();
        expected.extend(changes.iter().map(|(name, _)| (name.clone(), said(name))));
        let cache = ldcache::write(&all).unwrap();
        check(&loader, folder.path(), &cache, &expected)?;

        // Some of what is there, and some of what is not, is changed as for one program.
        let mut both: Vec<(String, bool)> = names.iter().step_by(5).map(|name| (name.clone(), true)).collect();
        both.extend(names.iter().skip(1).step_by(7).map(|name| (name.clone(), false)));
        both.extend(changes);
        let paths: Vec<String> = both.iter().map(|(name, _)| format!("/nix/store/own/{name}")).collect();
        let changes: Vec<(&str, Change<'_>)> = both
            .iter()
            .zip(&paths)
            .map(|((name, gives), path)| (name.as_str(), if *gives { Change::Provide(path) } else { Change::Withdraw }))
            .collect();
        let patched = ldcache::patch(&cache, FLAGS, &changes).unwrap();
        for (name, answer) in &mut expected {
            let last = changes.iter().rev().find(|(other, _)| ldcache::compare(other, name).is_eq());
            match last.filter(|_| ldcache::holds(name)) {
                Some((_, Change::Provide(path))) => *answer = Some((*path).to_owned()),
                Some((_, Change::Withdraw)) => *answer = None,
                None => {}
            }
        }
        check(&loader, folder.path(), &patched, &expected)?;
    });
}
