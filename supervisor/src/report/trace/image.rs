//! What one process has loaded, as its loader knows it: who is linked against a name, by which rule a path was found,
//! and what the loader will not take. A pure picture: files are read by others.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use sonde_resolve::elf::{Class, ElfFacts, Endian, Kind};
use sonde_resolve::search::{Requester, Rule, folders};

use super::entry::How;
use crate::report::errors;

const EM_X86_64: u16 = 62;

/// The first glibc that does not load a library at run time which asks for an executable stack (its NEWS).
const REFUSES_EXECUTABLE_STACKS: &str = "GLIBC_2.41";

/// A program or library in memory.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) path: PathBuf,
    /// The name that it was asked for by.
    pub(super) soname: String,
    pub(super) facts: Rc<ElfFacts>,
    /// The object that it was loaded for; none for the program and what was opened at run time.
    pub(super) loaded_by: Option<usize>,
    /// It came after the program's start, with a dlopen(3).
    pub(super) is_late: bool,
}

/// A process's objects, the program first.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) objects: Vec<Object>,
    pub(super) library_path: Option<String>,
    pub(super) preload: Option<String>,
}

impl Image {
    /// Who is linked against a name: the loader goes through its objects in the order of loading, so it is the first.
    pub(super) fn needs(&self, name: &str) -> Option<usize> {
        self.objects.iter().position(|object| object.facts.needed.iter().any(|needed| needed == name))
    }

    /// Was it loaded by this name, or is it its own?
    pub(super) fn has(&self, name: &str) -> bool {
        let is_its = |object: &Object| object.soname == name || object.facts.soname.as_deref() == Some(name);
        self.objects.iter().any(is_its)
    }

    /// Names that somebody is linked against and that were not loaded (yet), each with who it is.
    pub(super) fn open_needs(&self) -> impl Iterator<Item = (usize, &str)> {
        let needed = self.objects.iter().enumerate();
        let needed =
            needed.flat_map(|(at, object)| object.facts.needed.iter().map(move |name| (at, &**name)));
        needed.filter(move |(_, name)| !self.has(name))
    }

    /// Who says in a note that it may open this name at run time.
    pub(super) fn announces(&self, name: &str) -> Option<usize> {
        let mut objects = self.objects.iter();
        objects.position(|object| {
            let mut sonames = object.facts.dlopen_notes.iter().flat_map(|note| &note.sonames);
            sonames.any(|soname| soname == name)
        })
    }

    /// As what `LD_PRELOAD` names a library, if it does.
    pub(super) fn preloads(&self, asked: &Path, soname: &str) -> Option<&str> {
        let mut listed = self.preload.iter().flat_map(|list| list.split([':', ' ']));
        listed.find(|one| *one == soname || Path::new(one) == asked)
    }

    /// By which rule of the search, and whose, a folder was looked into for an object. For a name that nobody is linked
    /// against it is somebody's who has loaded it at run time, and any of them may be.
    pub(super) fn rule(&self, requester: Option<usize>, folder: &Path) -> Option<(How, Option<usize>)> {
        match requester {
            Some(object) => self.rule_for(object, folder),
            None => (0..self.objects.len()).find_map(|object| self.rule_for(object, folder)),
        }
    }

    fn rule_for(&self, object: usize, folder: &Path) -> Option<(How, Option<usize>)> {
        let chain: Vec<usize> = self.chain(object);
        let origins: Vec<String> = chain.iter().map(|at| self.origin(*at)).collect();
        let chained = chain.iter().zip(&origins).filter_map(|(at, origin)| {
            Some(Requester { facts: &self.objects.get(*at)?.facts, origin: origin.as_str() })
        });
        let chained: Vec<Requester<'_>> = chained.collect();
        let listed = folders(&chained, self.library_path.as_deref());
        let mut places = plain(folder);
        let listed = places.find_map(|place| listed.iter().find(|one| Path::new(&one.path) == place))?;
        Some(match listed.rule {
            Rule::Runpath => (How::Runpath, Some(object)),
            Rule::LibraryPath => (How::LibraryPath, None),
            Rule::Rpath => {
                let has_it = |one: &&Requester<'_>| {
                    folders(&[**one], None).iter().any(|folder| *folder.path == *listed.path)
                };
                let at = chained.iter().position(|one| has_it(&one)).and_then(|at| chain.get(at));
                (How::Rpath, at.copied())
            }
        })
    }

    /// An object, who loaded it, and so on; the program last.
    fn chain(&self, object: usize) -> Vec<usize> {
        let mut chain = vec![object];
        let mut at = object;
        while let Some(by) = self.objects.get(at).and_then(|object| object.loaded_by) {
            chain.push(by);
            at = by;
        }
        if at != 0 {
            chain.push(0);
        }
        chain
    }

    fn origin(&self, object: usize) -> String {
        let folder = self.objects.get(object).and_then(|object| object.path.parent());
        folder.map_or_else(String::new, |folder| folder.to_string_lossy().into_owned())
    }

    /// Adds an object, and says why the loader will not have it, if it is about versions or its stack.
    pub(super) fn add(&mut self, object: Object) -> Option<String> {
        self.objects.push(object);
        let new = self.objects.last()?;
        let late_stack = new.is_late && new.facts.exec_stack && self.defines(REFUSES_EXECUTABLE_STACKS);
        let stack = late_stack.then(|| errors::executable_stack(&new.path));
        stack.or_else(|| self.lacking_versions())
    }

    fn defines(&self, version: &str) -> bool {
        let libc = self.objects.iter().find(|object| object.soname == "libc.so.6");
        libc.is_some_and(|libc| libc.facts.version_defs.iter().any(|defined| defined == version))
    }

    /// What the last object lacks that an earlier one needs, or needs and an earlier one lacks. As in the loader, who has
    /// no versions at all is only warned about (`match_symbol`, elf/dl-version.c).
    fn lacking_versions(&self) -> Option<String> {
        let (new, earlier) = self.objects.split_last()?;
        let pairs = earlier.iter().map(|one| (one, new)).chain(earlier.iter().map(|one| (new, one)));
        for (user, definer) in pairs {
            let is_of =
                |soname: &str| definer.soname == soname || definer.facts.soname.as_deref() == Some(soname);
            let needs = user.facts.version_needs.iter().filter(|need| is_of(&need.soname));
            let needed = needs.flat_map(|need| &need.versions).filter(|version| !version.weak);
            let lacking: Vec<&str> = needed
                .map(|version| version.name.as_str())
                .filter(|name| !definer.facts.version_defs.iter().any(|defined| defined == name))
                .collect();
            if !lacking.is_empty() && !definer.facts.version_defs.is_empty() {
                return Some(errors::lacks_versions(&user.path, &definer.path, &lacking));
            }
        }
        None
    }
}

/// A folder, and those of which it may be a part for some processors: `glibc-hwcaps/x86-64-v3`, and before glibc 2.37
/// `tls`, `x86_64` and `haswell` (elf/dl-hwcaps.c).
fn plain(folder: &Path) -> impl Iterator<Item = &Path> {
    let is_variant = |folder: &Path| {
        let is = |name: &str| folder.ends_with(name);
        is("tls")
            || is("x86_64")
            || is("haswell")
            || is("xeon_phi")
            || is("avx512_1")
            || is("glibc-hwcaps")
            || folder.parent().is_some_and(|parent| parent.ends_with("glibc-hwcaps"))
    };
    std::iter::successors(Some(folder), move |folder| folder.parent().filter(|_| is_variant(folder)))
}

/// Is it in a folder for some processors only? In most there is nothing.
pub(super) fn is_variant(path: &Path) -> bool {
    path.parent().is_some_and(|folder| plain(folder).nth(1).is_some())
}

/// Why the loader does not take a file at all, and whether a search goes on behind it (`open_verify`, elf/dl-load.c).
pub(super) fn objection(path: &Path, facts: Option<&ElfFacts>) -> Option<(String, bool)> {
    let Some(facts) = facts else { return Some((errors::not_elf(path), false)) };
    if facts.class != Class::Elf64 {
        return Some((errors::other_class(path), true));
    }
    if facts.machine != EM_X86_64 || facts.endian != Endian::Little {
        return Some((errors::other_machine(path, facts.machine), true));
    }
    match facts.kind {
        Kind::SharedObject if !facts.pie => None, // libc.so.6 has an interpreter, and is a library
        Kind::SharedObject | Kind::Executable => Some((errors::is_a_program(path), false)),
        Kind::Other(_) => Some((errors::not_elf(path), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sonde_resolve::elf::{NeededVersion, VersionNeed};

    fn object(path: &str, change: impl FnOnce(&mut ElfFacts)) -> Object {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut facts = ElfFacts {
            needed: Vec::new(),
            soname: None,
            rpath: None,
            runpath: None,
            version_needs: Vec::new(),
            version_defs: Vec::new(),
            dlopen_notes: Vec::new(),
            exec_stack: false,
            ..ElfFacts::parse(&own).unwrap()
        };
        change(&mut facts);
        let soname = path.rsplit('/').next().unwrap().to_owned();
        Object { path: path.into(), soname, facts: Rc::new(facts), loaded_by: None, is_late: false }
    }

    fn needs(version: &str, weak: bool) -> impl FnOnce(&mut ElfFacts) {
        let versions = vec![NeededVersion { name: version.into(), weak }];
        move |facts| facts.version_needs.push(VersionNeed { soname: "libc.so.6".into(), versions })
    }

    fn defines(version: &str) -> impl FnOnce(&mut ElfFacts) {
        let version = version.to_owned();
        move |facts| facts.version_defs.push(version)
    }

    #[test]
    fn a_version_that_is_not_defined_is_missed_whoever_comes_first() {
        let libc = || object("/g/libc.so.6", defines("GLIBC_2.36"));
        let mut image = Image::default();
        assert_eq!(image.add(object("/p", needs("GLIBC_2.41", false))), None);
        assert!(image.add(libc()).unwrap().starts_with("/p needs GLIBC_2.41, and /g/libc.so.6 does not"));
        let mut image = Image::default();
        assert_eq!(image.add(libc()), None);
        assert!(image.add(object("/l/libq.so", needs("GLIBC_2.41", false))).is_some());
        assert_eq!(image.add(object("/l/libr.so", needs("GLIBC_2.36", false))), None);
    }

    #[test]
    fn the_loader_only_warns_of_weak_needs_and_of_who_has_no_versions_at_all() {
        let mut image = Image::default();
        assert_eq!(image.add(object("/g/libc.so.6", defines("GLIBC_2.36"))), None);
        assert_eq!(image.add(object("/l/libq.so", needs("GLIBC_2.41", true))), None);
        let mut image = Image::default();
        assert_eq!(image.add(object("/g/libc.so.6", |_| {})), None);
        assert_eq!(image.add(object("/l/libq.so", needs("GLIBC_2.41", false))), None);
    }

    #[test]
    fn an_executable_stack_is_refused_at_run_time_and_since_glibc_2_41() {
        for (glibc, is_late, refused) in
            [("GLIBC_2.41", true, true), ("GLIBC_2.41", false, false), ("GLIBC_2.36", true, false)]
        {
            let mut image = Image::default();
            assert_eq!(image.add(object("/g/libc.so.6", defines(glibc))), None);
            let library = Object { is_late, ..object("/l/libq.so", |facts| facts.exec_stack = true) };
            assert_eq!(image.add(library).is_some(), refused, "{glibc}, {is_late}");
        }
    }

    #[test]
    fn folders_for_some_processors_belong_to_the_one_that_is_listed() {
        let mut image = Image::default();
        image.add(object("/p", |facts| facts.runpath = Some("/r:$ORIGIN/o".into())));
        for folder in ["/r", "/r/glibc-hwcaps/x86-64-v3", "/r/tls/x86_64", "/o"] {
            assert_eq!(image.rule(Some(0), Path::new(folder)), Some((How::Runpath, Some(0))), "{folder}");
        }
        assert_eq!(image.rule(Some(0), Path::new("/r/other")), None);
        assert!(is_variant(Path::new("/r/glibc-hwcaps/x86-64-v2/libq.so")));
        assert!(!is_variant(Path::new("/r/libq.so")));
    }
}
