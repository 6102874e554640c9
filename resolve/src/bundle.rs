//! A program and the libraries that came with it: what all of them need, and what of it they do not bring along.
//!
//! This is `ld.so`'s search done ahead of it. Nothing is opened here: [`Files`] is the program's own view of
//! its file system. Who provides what is missing is [`crate::choose`]'s business; what it must define is
//! [`Bundle::demand`]'s to say.

use crate::choose::SymbolSet;
use crate::choose::coverage::Demand;
use crate::dlopen_note::Priority;
use crate::elf::symbols::{SymbolFacts, UndefinedSymbol};
use crate::elf::{ElfError, ElfFacts};
use crate::search::{Requester, folders};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// A bundle of more files than this is not followed further; the largest known have a few hundred.
const MOST_MEMBERS: usize = 4096;

/// The file system as the program sees it.
pub trait Files {
    /// Is there a file at this absolute path?
    fn contains(&self, path: &Path) -> bool;
    /// All of a library that came with the program. Nothing for what is not to be looked into: a library in
    /// the store brings what it needs along.
    fn read(&self, path: &Path) -> Option<Vec<u8>>;
}

/// The program, or a library that came with it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it lies.
    pub path: PathBuf,
    /// What the loader reads in it.
    pub facts: ElfFacts,
    /// What others must define.
    pub undefined: Vec<UndefinedSymbol>,
    /// The member that it was loaded for; none for the program.
    loaded_by: Option<usize>,
}

/// Why a library is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// `DT_NEEDED`: the program does not start without it.
    Needed,
    /// `.note.dlopen`: the program may load it.
    Note(Priority),
}

/// One library that a member wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its name; of a note also the alternatives to it, preferred first.
    pub sonames: Vec<String>,
    /// The member that names it.
    pub by: usize,
    /// Why it is wanted.
    pub why: Why,
    /// Where the program finds it by its own means.
    pub found: Option<PathBuf>,
}

impl Want {
    /// The name that is preferred.
    pub fn soname(&self) -> &str {
        self.sonames.first().map(String::as_str).unwrap_or_default()
    }

    /// It is to be at hand when the program starts. Suggestions are only listed.
    pub fn joins_plan(&self) -> bool {
        !matches!(self.why, Why::Note(Priority::Suggested))
    }
}

/// A program and what came with it.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// The program, then its libraries in the order of loading.
    pub members: Vec<Member>,
    /// What they want, each name once, the needed ones first.
    pub wants: Vec<Want>,
    /// Every folder that is in a search path of any member.
    pub searched: BTreeSet<PathBuf>,
}

impl Bundle {
    /// Follows `DT_NEEDED` breadth first from a program through everything that it brings along.
    ///
    /// # Errors
    /// The program is no ELF file. A library that is none is taken for found and not looked into.
    pub fn read(
        program: &Path,
        bytes: &[u8],
        library_path: Option<&str>,
        files: &dyn Files,
    ) -> Result<Bundle, ElfError> {
        let mut bundle = Bundle::default();
        bundle.members.push(Member::new(program, bytes, None)?);
        let mut seen = HashSet::new();
        let mut at = 0;
        while let Some(member) = bundle.members.get(at) {
            let searched = bundle.search_path(at, library_path);
            for soname in member.facts.needed.clone() {
                if !seen.insert(soname.clone()) {
                    continue;
                }
                let found = bundle.find(&soname, &searched, files);
                let want = Want { sonames: vec![soname], by: at, why: Why::Needed, found: found.path };
                bundle.wants.push(want);
                bundle.members.extend(found.member.map(|mut member| {
                    member.loaded_by = Some(at);
                    member
                }));
            }
            bundle.searched.extend(searched);
            at += 1;
        }
        bundle.add_notes(library_path, files, &mut seen);
        Ok(bundle)
    }

    /// Takes what is still missing for found where `find` says: in places that come after a member's own search.
    pub fn find_missing(&mut self, find: impl Fn(&str) -> Option<PathBuf>) {
        for want in self.wants.iter_mut().filter(|want| want.found.is_none()) {
            want.found = want.sonames.iter().find_map(|soname| find(soname));
        }
    }

    /// What the members need of a soname.
    pub fn demand(&self, soname: &str) -> Demand {
        Demand::of(soname, self.members.iter().map(|member| (&member.facts, member.undefined.as_slice())))
    }

    /// What the members define themselves. Reads them again: most programs need it not.
    pub fn definitions(&self, files: &dyn Files) -> Vec<SymbolSet> {
        let read = self.members.iter().filter_map(|member| files.read(&member.path));
        read.filter_map(|bytes| {
            Some(SymbolSet::of(&ElfFacts::parse(&bytes).ok()?, &SymbolFacts::parse(&bytes).ok()?))
        })
        .collect()
    }

    /// The file that wants it.
    pub fn wanted_by(&self, want: &Want) -> &Path {
        self.members.get(want.by).map_or(Path::new(""), |member| &member.path)
    }

    /// The folders in which the loader looks for what a member needs, before it asks its cache.
    fn search_path(&self, member: usize, library_path: Option<&str>) -> Vec<PathBuf> {
        let origins: Vec<String> = self.chain(member).map(|member| origin(&member.path)).collect();
        let chain: Vec<Requester<'_>> = self
            .chain(member)
            .zip(&origins)
            .map(|(member, origin)| Requester { facts: &member.facts, origin })
            .collect();
        folders(&chain, library_path).into_iter().map(|folder| folder.path.into()).collect()
    }

    /// A member, who loaded it, and so on up to the program.
    fn chain(&self, member: usize) -> impl Iterator<Item = &Member> {
        let mut next = self.members.get(member);
        std::iter::from_fn(move || {
            let member = next?;
            next = member.loaded_by.and_then(|at| self.members.get(at));
            Some(member)
        })
    }

    /// Where the loader would find a name before it asks its cache. As the loader does, a library of another
    /// width or machine is passed over.
    fn find(&self, soname: &str, searched: &[PathBuf], files: &dyn Files) -> Found {
        let direct = soname.contains('/').then(|| PathBuf::from(soname));
        let paths = match &direct {
            Some(path) => std::slice::from_ref(path).to_vec(),
            None => searched.iter().map(|folder| folder.join(soname)).collect(),
        };
        for path in paths.into_iter().filter(|path| path.is_absolute() && files.contains(path)) {
            let bytes = if self.members.len() < MOST_MEMBERS { files.read(&path) } else { None };
            let Some(member) = bytes.and_then(|bytes| Member::new(&path, &bytes, None).ok()) else {
                return Found { path: Some(path), member: None };
            };
            let program = self.members.first();
            let kind = |member: &Member| (member.facts.class, member.facts.machine);
            if program.is_none_or(|program| kind(program) == kind(&member)) {
                return Found { path: Some(path), member: Some(member) };
            }
        }
        Found::default()
    }

    fn add_notes(&mut self, library_path: Option<&str>, files: &dyn Files, seen: &mut HashSet<String>) {
        let mut wants = Vec::new();
        for (by, member) in self.members.iter().enumerate() {
            for note in &member.facts.dlopen_notes {
                if note.sonames.iter().any(|soname| seen.contains(soname)) {
                    continue;
                }
                seen.extend(note.sonames.iter().cloned());
                let searched = self.search_path(by, library_path);
                let found = note.sonames.iter().find_map(|soname| self.find(soname, &searched, files).path);
                wants.push(Want { sonames: note.sonames.clone(), by, why: Why::Note(note.priority), found });
            }
        }
        // Whoever is wanted most comes first; among equals the program's order stands.
        wants.sort_by_key(|want| match want.why {
            Why::Needed => None,
            Why::Note(priority) => Some(std::cmp::Reverse(priority)),
        });
        self.wants.append(&mut wants);
    }
}

#[derive(Default)]
struct Found {
    path: Option<PathBuf>,
    /// What is in it, if it is to be looked into.
    member: Option<Member>,
}

impl Member {
    fn new(path: &Path, bytes: &[u8], loaded_by: Option<usize>) -> Result<Member, ElfError> {
        Ok(Member {
            path: path.to_owned(),
            facts: ElfFacts::parse(bytes)?,
            // A symbol table that cannot be read makes no demands.
            undefined: SymbolFacts::parse_undefined(bytes).unwrap_or_default(),
            loaded_by,
        })
    }
}

fn origin(path: &Path) -> String {
    path.parent().map_or_else(String::new, |folder| folder.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
