//! Who asks for libraries: the programs of a tree as a policy knows them, and what of their loads is not theirs but a
//! package's.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sonde_policy::{Program, Source};
use sonde_resolve::bundle::{Bundle, Why};
use sonde_resolve::elf::ElfFacts;

use crate::guest::remote::Thread;
use crate::plan::draft::Body;
use crate::plan::reach::references;
use crate::store::{STORE, StoreFiles};
use crate::sys::mapped_file::MappedFile;

/// A program that asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Asker {
    /// Empty: not known, which the policy takes for the worse.
    path: PathBuf,
    /// Empty for a program that has none.
    build_id: Option<Vec<u8>>,
    /// What it, or what came with it, is linked against.
    names: HashSet<String>,
}

impl Asker {
    /// One that was never greeted by this process: what its own headers say.
    fn read(path: PathBuf, thread: Thread) -> Self {
        let bytes = thread.executable().and_then(|file| MappedFile::open(&file)).ok();
        match bytes.and_then(|bytes| ElfFacts::parse(bytes.as_ref()).ok()) {
            Some(facts) => {
                Self { path, build_id: Some(build_id(&facts)), names: facts.needed.into_iter().collect() }
            }
            None => Self { path, ..Self::default() },
        }
    }

    /// As the policy is told.
    pub(super) fn program(&self) -> Program<'_> {
        Program { path: self.path.as_os_str().as_bytes(), build_id: self.build_id.as_deref() }
    }

    /// Why it asks for this name.
    pub(super) fn source(&self, soname: &str) -> Source {
        if self.names.contains(soname) { Source::Needed } else { Source::Runtime }
    }

    /// Was it built by Nix? It then brings along what lies in the store.
    pub(super) fn is_of_the_store(&self) -> bool {
        self.path.starts_with(STORE)
    }
}

fn build_id(facts: &ElfFacts) -> Vec<u8> {
    facts.build_id.clone().unwrap_or_default()
}

/// What a policy wants to know of a program.
pub(super) struct Traits {
    build_id: Vec<u8>,
    names: HashSet<String>,
    /// Files of the store that it finds by its own means.
    own: Vec<PathBuf>,
}

impl Traits {
    /// Of a program that has been looked at.
    pub(super) fn of_bundle(bundle: &Bundle) -> Self {
        let needed = bundle.wants.iter().filter(|want| want.why == Why::Needed);
        let found = bundle.wants.iter().filter_map(|want| want.found.clone());
        Self {
            build_id: bundle.members.first().map(|one| build_id(&one.facts)).unwrap_or_default(),
            names: needed.flat_map(|want| want.sonames.iter().cloned()).collect(),
            own: found.filter(|path| path.starts_with(STORE)).collect(),
        }
    }

    /// Of one that has a plan.
    pub(super) fn of_plan(body: &Body) -> Self {
        Self {
            build_id: body.build_id(),
            names: body.libraries.iter().map(|need| need.soname.clone()).collect(),
            own: body.own.iter().cloned().collect(),
        }
    }
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
        let Traits { build_id, names, own } = traits;
        let asker = Arc::new(Asker { path: path.to_owned(), build_id: Some(build_id), names });
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
        let asker = Arc::new(Asker::read(path.clone(), thread));
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
