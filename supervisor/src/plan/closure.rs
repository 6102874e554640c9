//! What a program and the libraries that came with it need, and where each of it will come from.
//!
//! This is the loader's search done ahead of it, in the program's own root, so that everything missing is realised in
//! one request. It need not be perfect: what it misses is caught at the trap.

use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sonde_resolve::elf::ElfFacts;
use sonde_resolve::search::{Requester, folders};

use crate::guest::remote::GuestRoot;
use crate::index::{Choice, Index};

/// Bundled libraries larger than this are not looked into, in bytes; they are found all the same.
const LARGEST_BUNDLED: u64 = 1 << 30;

/// One soname that the program, or a library that came with it, is linked against.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(crate) soname: String,
    /// The file that names it.
    pub(crate) needed_by: PathBuf,
    pub(crate) answer: Answer,
}

/// Where a needed library comes from.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The loader finds it by the program's own means.
    Bundled,
    /// It is a member of the loader's glibc.
    Glibc,
    /// A package has it.
    Package(Choice),
    /// Nobody has it.
    Absent,
}

struct Object {
    facts: ElfFacts,
    path: PathBuf,
    origin: String,
    /// Who loaded it; none for the program.
    parent: Option<Rc<Object>>,
}

/// A program's own needs and search paths.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// What it and its bundled libraries are linked against, each soname once.
    pub(crate) needs: Vec<Need>,
    /// Every folder that is in a search path of any of them.
    pub(crate) searched: HashSet<PathBuf>,
}

/// Follows `DT_NEEDED` breadth first from the program through everything that it brings along.
pub(crate) fn analyse(
    program: &Path,
    facts: ElfFacts,
    library_path: Option<&str>,
    root: &GuestRoot,
    index: &Index,
) -> Closure {
    let mut closure = Closure::default();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([Rc::new(Object::new(program, facts, None))]);
    while let Some(object) = queue.pop_front() {
        let searched = object.search_path(library_path);
        closure.searched.extend(searched.iter().cloned());
        for soname in &object.facts.needed {
            if !seen.insert(soname.clone()) {
                continue;
            }
            let answer = match find(soname, &searched, root) {
                Some(path) => {
                    let facts = read_facts(root, &path);
                    queue.extend(facts.map(|facts| Rc::new(Object::new(&path, facts, Some(object.clone())))));
                    Answer::Bundled
                }
                None if index.is_glibc(soname) => Answer::Glibc,
                None => index.choose(soname).map_or(Answer::Absent, Answer::Package),
            };
            closure.needs.push(Need { soname: soname.clone(), needed_by: object.path.clone(), answer });
        }
    }
    closure
}

impl Object {
    fn new(path: &Path, facts: ElfFacts, parent: Option<Rc<Self>>) -> Self {
        let origin = path.parent().map_or_else(String::new, |folder| folder.to_string_lossy().into_owned());
        Self { facts, path: path.to_owned(), origin, parent }
    }

    /// The folders in which the loader looks for what this object needs, before it asks its cache.
    fn search_path(&self, library_path: Option<&str>) -> Vec<PathBuf> {
        let mut chain = vec![self.requester()];
        let mut loaded_by = self.parent.as_ref();
        while let Some(object) = loaded_by {
            chain.push(object.requester());
            loaded_by = object.parent.as_ref();
        }
        folders(&chain, library_path).into_iter().map(|folder| folder.path.into()).collect()
    }

    fn requester(&self) -> Requester<'_> {
        Requester { facts: &self.facts, origin: &self.origin }
    }
}

/// Where the loader would find it before it asks its cache.
fn find(soname: &str, searched: &[PathBuf], root: &GuestRoot) -> Option<PathBuf> {
    if soname.contains('/') {
        return Some(PathBuf::from(soname)).filter(|path| path.is_absolute() && root.contains(path));
    }
    searched.iter().map(|folder| folder.join(soname)).find(|path| path.is_absolute() && root.contains(path))
}

fn read_facts(root: &GuestRoot, path: &Path) -> Option<ElfFacts> {
    // Store libraries bring what they need along in their RUNPATH. Others are read, not mapped: their owner could
    // truncate them while we look.
    if path.starts_with("/nix/store") {
        return None;
    }
    let file = root.open(path).ok()?;
    if file.metadata().ok()?.len() > LARGEST_BUNDLED {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_BUNDLED).read_to_end(&mut bytes).ok()?;
    ElfFacts::parse(&bytes).ok()
}
