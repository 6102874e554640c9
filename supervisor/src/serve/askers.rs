//! Who asks for libraries: the programs of a tree as a policy knows them, and what of their loads is not theirs but a
//! package's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sonde_resolve::elf::ElfFacts;

use crate::guest::remote::Thread;
use crate::plan::permission::{Asker, Traits};
use crate::plan::reach::references;
use crate::store::{STORE, StoreFiles};
use crate::sys::mapped_file::MappedFile;

/// One that was never greeted by this process: what its own headers say.
fn read_asker(path: PathBuf, thread: Thread) -> Asker {
    let bytes = thread.executable().and_then(|file| MappedFile::open(&file)).ok();
    let facts = bytes.and_then(|bytes| ElfFacts::parse(bytes.as_ref()).ok());
    Asker::from_headers(path, facts)
}

/// Was it built by Nix? It then brings along what lies in the store.
pub(super) fn is_of_the_store(asker: &Asker) -> bool {
    asker.path().starts_with(STORE)
}

/// Why a file of the store is opened, other than for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Via {
    /// The program finds it by its own means.
    Own,
    /// A library that was provided refers to it by its `RUNPATH`; the library's path.
    Dependency(Arc<Path>),
}

/// Everybody in a tree who may ask.
#[derive(Debug, Default)]
pub(super) struct Askers {
    /// By path.
    known: RwLock<HashMap<PathBuf, Arc<Asker>>>,
    /// Executables behind which the kernel sees another program than runs (the shim, where the kernel could not be told):
    /// that program, or nothing where there are several.
    stand_ins: RwLock<HashMap<PathBuf, Option<PathBuf>>>,
    expected: RwLock<HashMap<PathBuf, Via>>,
}

impl Askers {
    /// Takes note of a program that says hello. `executable` is what the kernel says that its process executes.
    pub(super) fn meet(&self, path: &Path, executable: Option<&Path>, traits: Traits) -> Arc<Asker> {
        let own = traits.own.clone();
        let asker = Arc::new(Asker::of(path.to_owned(), traits));
        write(&self.known).insert(path.to_owned(), asker.clone());
        if let Some(executable) = executable.filter(|executable| *executable != path) {
            let mut stand_ins = write(&self.stand_ins);
            let program = stand_ins.entry(executable.to_owned()).or_insert_with(|| Some(path.to_owned()));
            if program.as_deref() != Some(path) {
                *program = None;
            }
        }
        for path in own {
            write(&self.expected).entry(path).or_insert(Via::Own);
        }
        asker
    }

    /// A program by its path.
    pub(super) fn named(&self, path: &Path) -> Arc<Asker> {
        read(&self.known).get(path).cloned().unwrap_or_default()
    }

    /// The program that a thread runs, by the kernel's word.
    pub(super) fn of(&self, thread: Option<Thread>) -> Arc<Asker> {
        let Some((thread, path)) = thread.and_then(|thread| Some((thread, thread.executable_path().ok()?)))
        else {
            return Arc::default();
        };
        let path = match read(&self.stand_ins).get(&path) {
            None => path,
            Some(Some(program)) => program.clone(),
            Some(None) => return Arc::default(),
        };
        if let Some(known) = read(&self.known).get(&path) {
            return known.clone();
        }
        let asker = Arc::new(read_asker(path.clone(), thread));
        write(&self.known).insert(path, asker.clone());
        asker
    }

    /// Why this file would be opened, if that is known beforehand.
    pub(super) fn via(&self, path: &Path) -> Option<Via> {
        read(&self.expected).get(path).cloned()
    }

    /// Remembers what a library of the store, which is about to be opened, refers to: that is not asked for by whoever asked
    /// for the library.
    pub(super) fn expect_from(&self, library: &Path, via: Option<&Via>, files: &StoreFiles) {
        let bytes = files.open(library).and_then(|file| MappedFile::open(&file)).ok();
        let Some(facts) = bytes.and_then(|bytes| ElfFacts::parse(bytes.as_ref()).ok()) else { return };
        let via = match via {
            Some(Via::Own) => Via::Own,
            _ => Via::Dependency(library.into()),
        };
        let mut expected = write(&self.expected);
        for (_, path) in references(library, &facts) {
            expected.entry(path).or_insert_with(|| via.clone());
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    // Maps stay whole whatever happens between two of their methods.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
