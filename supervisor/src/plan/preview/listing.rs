//! The libraries of one file in the order in which a loader meets them: its own needs, then what libraries of packages
//! name. Each soname once, as a process has it once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_resolve::bundle::{Want, Why};
use sonde_resolve::dlopen_note::Priority;
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::search::{Requester, folders};

use super::answer::{forbidden, library, missing};
use super::{Previewer, Subject};
use crate::index::Choice;
use crate::plan::closure::Closure;
use crate::report::plan::{Library, Origin, Package};
use crate::store::{STORE, StorePath};
use crate::sys::mapped_file::MappedFile;

/// A closure of more libraries than this is not followed further; the largest known have a few hundred.
const MOST_LIBRARIES: usize = 8192;

/// A list that is being filled.
pub(super) struct Listing<'l> {
    with: &'l Previewer<'l>,
    subject: &'l Subject,
    libraries: Vec<Library>,
    seen: HashSet<String>,
    /// Where the files that came with the program stand in the list.
    members: HashMap<PathBuf, usize>,
    /// Libraries whose own needs are to be looked at, and whether they were provided: then the policy has a say in what
    /// they bring along.
    open: VecDeque<(usize, PathBuf, bool)>,
}

impl<'l> Listing<'l> {
    pub(super) fn new(with: &'l Previewer<'l>, subject: &'l Subject) -> Self {
        Self {
            with,
            subject,
            libraries: Vec::new(),
            seen: HashSet::new(),
            members: HashMap::new(),
            open: VecDeque::new(),
        }
    }

    pub(super) fn fill(mut self, closure: &Closure) -> Vec<Library> {
        self.add_loader();
        for want in &self.subject.bundle.wants {
            self.add(want, closure);
        }
        while let Some((place, file, provided)) = self.open.pop_front() {
            if self.libraries.len() < MOST_LIBRARIES {
                self.follow(place, &file, provided);
            }
        }
        self.libraries
    }

    fn add_loader(&mut self) {
        let Some(interpreter) = self.subject.interpreter() else { return };
        let path = Path::new(interpreter);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let loader = if !self.subject.is_of_the_store() {
            match self.with.index.loader() {
                Some(choice) => Library { origin: Origin::Glibc, ..self.with.provided(&name, &choice) },
                None => self.with.glibcs(self.subject, &name),
            }
        } else if self.with.exists(path) {
            Library { path: Some(interpreter.to_owned()), ..library(&name, Origin::Glibc) }
        } else {
            missing(&name, Origin::Absent, format!("the loader that it names, {interpreter}, is not there"))
        };
        self.seen.insert(name);
        self.libraries.push(loader);
    }

    /// What the program, or a library that came with it, wants.
    fn add(&mut self, want: &Want, closure: &Closure) {
        let soname = match want.why {
            Why::Needed => want.soname().to_owned(),
            Why::Note(Priority::Suggested) => return,
            Why::Note(_) => self.with.index.available(want).unwrap_or_else(|| want.soname().to_owned()),
        };
        if !self.seen.insert(soname.clone()) {
            return;
        }
        let needed = || closure.needs.iter().find(|need| need.soname == soname);
        let mut found = match (&want.found, want.why) {
            (Some(path), _) => self.found(&soname, path, self.subject.is_beside(want)),
            (None, Why::Needed) => match needed() {
                Some(need) => self.with.answered(self.subject, &soname, &need.answer),
                None => self.with.answer(self.subject, &soname),
            },
            (None, Why::Note(_)) => self.with.answer(self.subject, &soname),
        };
        found.needed_by = self.members.get(self.subject.bundle.wanted_by(want)).copied();
        found.optional = matches!(want.why, Why::Note(priority) if priority != Priority::Required);
        let place = self.libraries.len();
        match &want.found {
            Some(path) if path.starts_with(STORE) => self.open.push_back((place, path.clone(), false)),
            Some(path) => drop(self.members.insert(path.clone(), place)),
            None => self.open_provided(place, &found),
        }
        self.libraries.push(found);
    }

    fn found(&self, soname: &str, path: &Path, beside: bool) -> Library {
        let origin = match path.starts_with(STORE) {
            true if self.with.index.is_glibc(soname) => Origin::Glibc,
            true => Origin::Store,
            false if beside => Origin::Beside,
            false => Origin::Bundled,
        };
        Library {
            path: Some(path.display().to_string()),
            package: self.with.package_at(path).map(|choice| Package::of(&choice, true)),
            ..library(soname, origin)
        }
    }

    /// What a library of the store names, searched for as its loader would, with its RUNPATH.
    fn follow(&mut self, place: usize, file: &Path, provided: bool) {
        let Some(facts) = self.with.facts(file) else { return };
        let origin = folder_of(file);
        let program = self.subject.facts().map(|facts| (facts, folder_of(&self.subject.path)));
        let mut chain = vec![Requester { facts: &facts, origin: &origin }];
        chain.extend(program.as_ref().map(|(facts, origin)| Requester { facts, origin }));
        let searched = folders(&chain, self.with.library_path.as_deref());
        for soname in &facts.needed {
            if !self.seen.insert(soname.clone()) {
                continue;
            }
            let direct = soname.contains('/').then(|| PathBuf::from(soname));
            let paths = searched.iter().map(|folder| Path::new(&folder.path).join(soname));
            let mut paths = direct.into_iter().chain(paths).filter(|path| path.is_absolute());
            let found = paths.find(|path| self.with.exists(path));
            let place_of_this = self.libraries.len();
            let mut one = match found {
                _ if self.with.index.is_glibc(soname) => self.with.glibcs(self.subject, soname),
                Some(path) => match self.objection(soname, &path, file).filter(|_| provided) {
                    Some(forbidden) => forbidden,
                    None => {
                        self.open.push_back((place_of_this, path.clone(), provided));
                        self.found(soname, &path, false)
                    }
                },
                None => {
                    let one = self.with.answer(self.subject, soname);
                    self.open_provided(place_of_this, &one);
                    one
                }
            };
            one.needed_by = Some(place);
            self.libraries.push(one);
        }
    }

    /// What the policy has against a file of the store that a provided library refers to.
    fn objection(&self, soname: &str, path: &Path, library: &Path) -> Option<Library> {
        let judge = self.with.judge(self.subject)?;
        let choice = self.with.package_at(path)?;
        let refusal = judge.objection((soname, &choice), true, Some(&Arc::from(library)))?;
        Some(forbidden(soname, Some(&choice), &refusal))
    }

    fn open_provided(&mut self, place: usize, library: &Library) {
        let there = library.package.as_ref().is_some_and(|package| package.realised);
        if let Some(path) = library.path.as_ref().filter(|_| there && library.origin == Origin::Store) {
            self.open.push_back((place, path.into(), true));
        }
    }
}

impl Previewer<'_> {
    fn exists(&self, path: &Path) -> bool {
        self.files.stat_elsewhere(path).is_some() || self.root.contains(path)
    }

    fn facts(&self, file: &Path) -> Option<ElfFacts> {
        let bytes = self.files.open(file).and_then(|file| MappedFile::open(&file)).ok()?;
        ElfFacts::parse(bytes.as_ref()).ok()
    }

    /// The package that a file of the store belongs to, also if no index knows the file.
    fn package_at(&self, path: &Path) -> Option<Choice> {
        if let Some(choice) = self.index.at(path) {
            return Some(choice);
        }
        let name = path.strip_prefix(STORE).ok()?.components().next()?;
        let object = StorePath::new(Path::new(STORE).join(name).to_str()?)?;
        let package = self.index.package_of(&object).unwrap_or_default();
        let (attribute, output) = (package.attribute.to_owned(), package.output.to_owned());
        Some(Choice { file: path.to_owned(), attribute, output, object })
    }
}

fn folder_of(path: &Path) -> String {
    path.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned()
}
