//! A program as `sonde plan` and `sonde prefetch` look at it: read, chosen for and followed through the libraries of
//! packages, without running it. Nothing is realised here.

mod answer;
mod listing;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_policy::Policy;
use sonde_resolve::bundle::{Bundle, Want};
use sonde_resolve::elf::{Class, ElfError, ElfFacts, Kind};
use thiserror::Error;

use super::closure::{Closure, GuestFiles, resolve};
use super::drivers::Drivers;
use super::loader::version_of_package;
use super::objections::objections;
use super::permission::{Asker, Judge, Traits};
use super::seeds::Seeds;
use crate::guest::remote::GuestRoot;
use crate::index::fitting::Supply;
use crate::index::{Choice, Index};
use crate::report::plan::{Kind as Sort, Planned};
use crate::store::{STORE, StoreFiles, StorePath, Tally};
use crate::sys::mapped_file::MappedFile;
use listing::Listing;

const EM_X86_64: u16 = 62;

/// Libraries of a folder by the names under which they would be found, if it were searched.
pub(crate) type Beside = HashMap<String, PathBuf>;

/// Why nothing can be said of a file.
#[derive(Debug, Error)]
pub(crate) enum SubjectError {
    #[error("{0}")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Elf(#[from] ElfError),
    #[error("it is for another machine; sonde serves x86-64 programs only, so far")]
    OtherMachine,
    #[error("it is neither a program nor a shared object")]
    Neither,
}

/// A file that was read, with what came with it.
pub(crate) struct Subject {
    pub(crate) path: PathBuf,
    pub(crate) bundle: Bundle,
    pub(crate) asker: Arc<Asker>,
    /// The libraries of the folder that was asked about.
    around: Arc<Beside>,
    /// What of its needs is among them, and in no folder that its loader searches.
    beside: HashSet<String>,
}

/// What a program is looked at with.
pub(crate) struct Previewer<'a> {
    pub(crate) index: &'a Index,
    pub(crate) files: &'a StoreFiles,
    /// None where everything is allowed.
    pub(crate) policy: Option<Arc<Policy>>,
    /// What was downloaded so far, where that is limited.
    pub(crate) tally: Tally,
    /// `LD_LIBRARY_PATH`.
    library_path: Option<String>,
    seeds: Seeds,
    drivers: Drivers,
    /// This process's own view of the file system.
    root: GuestRoot,
}

impl<'a> Previewer<'a> {
    pub(crate) fn new(
        index: &'a Index,
        files: &'a StoreFiles,
        policy: Arc<Policy>,
        tally: Tally,
        (library_path, seeds, drivers): (Option<String>, Seeds, Drivers),
    ) -> io::Result<Self> {
        let policy = Some(policy).filter(|policy| !policy.is_allow_all());
        Ok(Self { index, files, policy, tally, library_path, seeds, drivers, root: GuestRoot::own()? })
    }

    /// Reads a file. A library that finds its needs by no means of its own is taken to be loaded by somebody who has
    /// loaded what lies beside it.
    pub(crate) fn read(&self, path: &Path, around: &Arc<Beside>) -> Result<Subject, SubjectError> {
        // A program may be large. Whoever truncates it while we look harms nobody else.
        let bytes = MappedFile::open(&File::open(path)?)?;
        let library_path = self.library_path.as_deref();
        let mut bundle = Bundle::read(path, bytes.as_ref(), library_path, &GuestFiles(&self.root))?;
        let facts = bundle.members.first().map(|member| &member.facts);
        let is_program = facts.is_some_and(ElfFacts::is_program);
        if let Some(facts) = facts {
            suits(facts)?;
        }
        let mut adopted = HashSet::new();
        let missing = bundle.wants.iter_mut().filter(|want| want.found.is_none() && !is_program);
        for want in missing.filter(|want| !self.index.is_glibc(want.soname())) {
            if let Some(there) = around.get(want.soname()) {
                want.found = Some(there.clone());
                adopted.insert(want.soname().to_owned());
            }
        }
        bundle.find_missing(|soname| self.seeds.get(soname).map(Path::to_owned));
        let asker = Arc::new(Asker::of(path.to_owned(), Traits::of_bundle(&bundle)));
        Ok(Subject { path: path.to_owned(), bundle, asker, around: around.clone(), beside: adopted })
    }

    /// What would be chosen for it as the store is now.
    pub(crate) fn closure(&self, subject: &Subject) -> Closure {
        let mut looking = Looking { index: self.index, judge: self.judge(subject) };
        resolve(&subject.bundle, &GuestFiles(&self.root), self.index, &mut looking)
    }

    /// The same, got through `supply`.
    pub(crate) fn resolve(&self, subject: &Subject, supply: &mut dyn Supply) -> Closure {
        resolve(&subject.bundle, &GuestFiles(&self.root), self.index, supply)
    }

    /// Everything that it would be given: also what libraries of packages bring along, as far as they are there to be
    /// looked at.
    pub(crate) fn plan(&self, subject: &Subject, closure: &Closure) -> Planned {
        let mut libraries = Listing::new(self, subject).fill(closure);
        for library in libraries.iter_mut().filter(|library| library.is_missed()) {
            if let (Some(reason), Some(there)) = (&mut library.reason, subject.around.get(&library.soname)) {
                *reason += &format!("; {} is in no folder that its loader searches", there.display());
            }
        }
        let refused = self.objections(subject);
        Planned { file: subject.path.display().to_string(), kind: subject.sort(), libraries, refused }
    }

    /// What the program's loader would give up over, though it is there.
    fn objections(&self, subject: &Subject) -> Vec<String> {
        let Some(interpreter) = subject.interpreter() else { return Vec::new() };
        let (loader, version) = match self.loader(subject) {
            Some(loader) => {
                let version = version_of_package(loader.object.name());
                (loader.file, version)
            }
            None => (PathBuf::from(interpreter), None),
        };
        objections(&subject.bundle, &loader, version)
    }

    /// The loader that a foreign program runs under.
    pub(crate) fn loader(&self, subject: &Subject) -> Option<Choice> {
        let names_one = subject.interpreter().is_some() && !subject.is_of_the_store();
        if names_one { self.index.loader() } else { None }
    }

    fn judge<'j>(&'j self, subject: &'j Subject) -> Option<Judge<'j>> {
        let policy = self.policy.as_deref()?;
        Some(Judge { policy, asker: &subject.asker, index: self.index })
    }
}

impl Subject {
    fn facts(&self) -> Option<&ElfFacts> {
        self.bundle.members.first().map(|member| &member.facts)
    }

    /// The loader that the file names.
    fn interpreter(&self) -> Option<&str> {
        self.facts()?.interp.as_deref()
    }

    /// It runs under the loader that it names.
    fn is_of_the_store(&self) -> bool {
        self.interpreter().is_some_and(|path| Path::new(path).starts_with(STORE))
    }

    fn sort(&self) -> Sort {
        match self.facts() {
            Some(facts) if facts.interp.is_some() => Sort::Program,
            Some(facts) if facts.is_program() => Sort::Static,
            _ => Sort::Library,
        }
    }

    /// The files that came with it.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Path> {
        self.bundle.members.iter().skip(1).map(|member| member.path.as_path())
    }

    fn is_beside(&self, want: &Want) -> bool {
        self.beside.contains(want.soname())
    }
}

/// Can sonde do anything for it?
pub(crate) fn suits(facts: &ElfFacts) -> Result<(), SubjectError> {
    if facts.class != Class::Elf64 || facts.machine != EM_X86_64 {
        return Err(SubjectError::OtherMachine);
    }
    match facts.kind {
        Kind::Other(_) => Err(SubjectError::Neither),
        Kind::Executable | Kind::SharedObject => Ok(()),
    }
}

/// The store as it is, and the policy: nothing is got.
struct Looking<'a> {
    index: &'a Index,
    judge: Option<Judge<'a>>,
}

impl Supply for Looking<'_> {
    fn has(&self, object: &StorePath) -> bool {
        self.index.is_there(object)
    }

    fn supply(&mut self, _: &[(&str, Choice)]) {}

    fn pins(&self, soname: &str, choice: &Choice) -> bool {
        self.judge.is_some_and(|judge| judge.pins(soname, choice))
    }

    fn permits(&self, soname: &str, choice: &Choice) -> bool {
        let objection = |judge: Judge<'_>| judge.objection((soname, choice), self.has(&choice.object), None);
        self.judge.and_then(objection).is_none()
    }

    fn most_for_one(&self) -> usize {
        self.judge.map_or(usize::MAX, |judge| judge.most_for_one())
    }
}
