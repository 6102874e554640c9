//! Does a candidate define what the program needs? Decides between candidates that rank near each other.
//!
//! A program names the library only for symbols that are bound to a version (`SSL_new@OPENSSL_3.0.0` of
//! `libssl.so.3`). An unversioned undefined symbol can come from any of its libraries: which ones belong to
//! the soname in question is learnt from its candidates themselves, as what at least one of them defines and
//! nobody else does.
//!
//! As the loader does: a missing version ends the program when the library has versions at all, and is a
//! warning when it has none; a missing symbol ends it at the first call, or at the start.

use super::symbol_set::SymbolSet;
use crate::elf::ElfFacts;
use crate::elf::symbols::UndefinedSymbol;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// What a program and the libraries it brings along need of one soname.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    soname: String,
    /// Versions that must be defined.
    versions: BTreeSet<String>,
    /// Symbols with the version they are bound to.
    bound: BTreeSet<(String, String)>,
    /// Symbols of no version, which may be this soname's or another's.
    loose: BTreeSet<String>,
}

impl Demand {
    /// What these files need of `soname`, each given with its undefined symbols.
    pub fn of<'f>(
        soname: &str,
        files: impl IntoIterator<Item = (&'f ElfFacts, &'f [UndefinedSymbol])>,
    ) -> Demand {
        let mut demand = Demand { soname: soname.to_owned(), ..Demand::default() };
        for (elf, undefined) in files {
            let needs = elf.version_needs.iter().filter(|need| need.soname == soname);
            let strong = needs.flat_map(|need| &need.versions).filter(|version| !version.weak);
            demand.versions.extend(strong.map(|version| version.name.clone()));
            let asks = elf.needed.iter().any(|needed| needed == soname);
            if !asks && elf.version_needs.iter().all(|need| need.soname != soname) {
                continue;
            }
            for symbol in undefined.iter().filter(|symbol| !symbol.weak) {
                match (&symbol.version, symbol.soname.as_deref()) {
                    (Some(version), Some(from)) if from == soname => {
                        demand.bound.insert((symbol.name.clone(), version.clone()));
                    }
                    (None, None) if asks => {
                        demand.loose.insert(symbol.name.clone());
                    }
                    _ => {}
                }
            }
        }
        demand
    }

    /// Takes away the unversioned symbols that another library of the program defines.
    pub fn without_symbols_of(&mut self, other: &SymbolSet) {
        self.loose.retain(|name| !other.defines(name));
    }

    /// The unversioned symbols, which may be this soname's or another's.
    pub fn loose(&self) -> impl Iterator<Item = &str> {
        self.loose.iter().map(String::as_str)
    }

    /// Keeps only those unversioned symbols that may be this soname's.
    pub fn retain_loose(&mut self, keep: impl Fn(&str) -> bool) {
        self.loose.retain(|name| keep(name));
    }

    /// Nothing can be compared: any candidate will do.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.bound.is_empty() && self.loose.is_empty()
    }
}

/// How well one candidate meets a demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Symbols that are this soname's to define, as far as the examined candidates tell.
    pub needed: usize,
    /// How many of them the candidate defines.
    pub defined: usize,
    /// Versions that it should define and does not. The loader refuses it, unless it is `unversioned`.
    pub missing_versions: Vec<String>,
    /// Symbols that it should define and does not, with their version if they have one.
    pub missing_symbols: Vec<String>,
    /// It defines no versions although some are needed: the loader only warns.
    pub unversioned: bool,
    /// Its `DT_SONAME` is another than the one asked for.
    pub other_soname: bool,
    /// Symbols that no examined candidate defines: another library's, or missing everywhere.
    pub unclaimed: usize,
}

impl Coverage {
    /// The loader would take it.
    pub fn is_possible(&self) -> bool {
        self.missing_versions.is_empty() || self.unversioned
    }

    /// It defines all that is known to be its business.
    pub fn is_complete(&self) -> bool {
        self.missing_versions.is_empty() && self.missing_symbols.is_empty()
    }

    /// It is complete, and nothing is left that a rival might define: there is no reason to look further.
    pub fn is_full(&self) -> bool {
        self.is_complete() && self.unclaimed == 0
    }

    /// What decides between candidates that the loader takes: the fewest missing symbols, then having versions at
    /// all, then the name that was asked for.
    pub(super) fn merit(&self) -> (Reverse<usize>, bool, bool) {
        (Reverse(self.missing_symbols.len()), !self.unversioned, !self.other_soname)
    }

    /// Share of the needed symbols that it defines, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.needed == 0 { 1.0 } else { self.defined as f64 / self.needed as f64 }
    }
}

/// Compares candidates, given in the order of their rank, with a demand.
pub fn cover(demand: &Demand, candidates: &[&SymbolSet]) -> Vec<Coverage> {
    let (claimed, unclaimed): (Vec<&String>, Vec<&String>) =
        demand.loose.iter().partition(|name| candidates.iter().any(|set| set.defines(name)));
    let one = |set: &&SymbolSet| {
        let lacks = |version: &&String| !set.has_version(version);
        let missing_versions: Vec<String> = demand.versions.iter().filter(lacks).cloned().collect();
        let bound = demand.bound.iter().filter(|(name, version)| !set.defines_version(name, version));
        let mut missing_symbols: Vec<String> =
            bound.map(|(name, version)| format!("{name}@{version}")).collect();
        missing_symbols.extend(claimed.iter().filter(|name| !set.defines(name)).map(|name| (*name).clone()));
        let needed = demand.bound.len() + claimed.len();
        Coverage {
            needed,
            defined: needed - missing_symbols.len(),
            unversioned: !missing_versions.is_empty() && set.versions().is_empty(),
            missing_versions,
            missing_symbols,
            other_soname: set.soname().is_some_and(|soname| soname != demand.soname),
            unclaimed: unclaimed.len(),
        }
    };
    candidates.iter().map(one).collect()
}

/// The best of some candidates, given in the order of their rank: one that the loader takes, then by
/// what it lacks, then rank. Nothing when the loader would refuse them all.
pub fn best(coverages: &[Coverage]) -> Option<usize> {
    let possible = coverages.iter().enumerate().filter(|(_, coverage)| coverage.is_possible());
    // Of equals `max_by_key` takes the last, and the first ranks highest.
    possible.rev().max_by_key(|(_, coverage)| coverage.merit()).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::symbols::{DefinedSymbol, SymbolFacts};
    use crate::elf::{Class, Endian, Kind, NeededVersion, VersionNeed};

    fn facts(soname: Option<&str>) -> ElfFacts {
        ElfFacts {
            class: Class::Elf64,
            endian: Endian::Little,
            machine: 62,
            kind: Kind::SharedObject,
            dynamic: true,
            pie: false,
            no_default_lib: false,
            interp: None,
            needed: vec!["libfoo.so.1".into(), "libc.so.6".into()],
            soname: soname.map(str::to_owned),
            rpath: None,
            runpath: None,
            version_needs: Vec::new(),
            version_defs: Vec::new(),
            build_id: None,
            dlopen_notes: Vec::new(),
            exec_stack: false,
        }
    }

    fn undefined(name: &str, version: Option<&str>) -> UndefinedSymbol {
        UndefinedSymbol {
            name: name.into(),
            version: version.map(str::to_owned),
            soname: version.map(|_| "libfoo.so.1".into()),
            weak: false,
        }
    }

    /// A library that defines `name` or `name@VERSION` each.
    fn library(soname: &str, symbols: &[&str]) -> SymbolSet {
        let mut elf = facts(Some(soname));
        let defined = symbols.iter().map(|symbol| {
            let (name, version) =
                symbol.split_once('@').map_or((*symbol, None), |(name, version)| (name, Some(version)));
            if let Some(version) = version {
                elf.version_defs.push(version.into());
            }
            DefinedSymbol { name: name.into(), version: version.map(str::to_owned), hidden: false }
        });
        let defined = defined.collect();
        SymbolSet::of(&elf, &SymbolFacts { undefined: Vec::new(), defined })
    }

    /// A program that needs `name` or `name@VERSION` of libfoo.so.1 each.
    fn demand(symbols: &[&str]) -> Demand {
        let mut elf = facts(None);
        let undefined: Vec<_> = symbols
            .iter()
            .map(|symbol| match symbol.split_once('@') {
                None => undefined(symbol, None),
                Some((name, version)) => {
                    let version_needed = NeededVersion { name: version.into(), weak: false };
                    elf.version_needs
                        .push(VersionNeed { soname: "libfoo.so.1".into(), versions: vec![version_needed] });
                    undefined(name, Some(version))
                }
            })
            .collect();
        Demand::of("libfoo.so.1", [(&elf, undefined.as_slice())])
    }

    #[test]
    fn a_candidate_without_a_needed_version_is_no_candidate() {
        let demand = demand(&["open@FOO_2", "close@FOO_1"]);
        let old = library("libfoo.so.1", &["close@FOO_1", "open@FOO_1"]);
        let new = library("libfoo.so.1", &["close@FOO_1", "open@FOO_2"]);
        let coverages = cover(&demand, &[&old, &new]);
        assert_eq!(coverages[0].missing_versions, ["FOO_2"]);
        assert!(!coverages[0].is_possible());
        assert!(coverages[1].is_full());
        assert_eq!(best(&coverages), Some(1));
        assert_eq!(best(&coverages[..1]), None);
    }

    #[test]
    fn the_best_share_wins_and_the_missing_symbols_are_told() {
        let demand = demand(&["a", "b", "c", "printf"]);
        let (half, most) = (library("libfoo.so.1", &["a"]), library("libfoo.so.1", &["a", "b", "c"]));
        let coverages = cover(&demand, &[&half, &most]);
        assert_eq!(coverages[0].missing_symbols, ["b", "c"]);
        assert_eq!((coverages[0].defined, coverages[0].needed), (1, 3), "printf is nobody's here");
        assert_eq!(coverages[1].unclaimed, 1);
        assert_eq!(best(&coverages), Some(1));
    }

    #[test]
    fn what_another_library_defines_is_not_asked_of_this_one() {
        let mut demand = demand(&["a", "printf"]);
        demand.without_symbols_of(&library("libc.so.6", &["printf"]));
        let coverages = cover(&demand, &[&library("libfoo.so.1", &["a"])]);
        assert!(coverages[0].is_full());
    }

    #[test]
    fn of_equals_the_higher_ranked_wins_unless_its_soname_differs() {
        let demand = demand(&["a"]);
        let (alias, exact) = (library("libfoo.so.0", &["a"]), library("libfoo.so.1", &["a"]));
        assert_eq!(best(&cover(&demand, &[&exact, &exact])), Some(0));
        assert_eq!(best(&cover(&demand, &[&alias, &exact])), Some(1));
        let partial = library("libfoo.so.1", &[]);
        assert_eq!(best(&cover(&demand, &[&partial, &alias])), Some(1), "symbols count before names");
    }

    #[test]
    fn a_library_without_versions_is_taken_only_when_no_other_is_as_good() {
        let demand = demand(&["a@FOO_1"]);
        let (plain, versioned) = (library("libfoo.so.1", &["a"]), library("libfoo.so.1", &["a@FOO_1"]));
        let coverages = cover(&demand, &[&plain, &versioned]);
        assert!(coverages[0].is_possible() && coverages[0].unversioned, "the loader only warns");
        assert_eq!(best(&coverages), Some(1));
        assert_eq!(best(&coverages[..1]), Some(0));
    }

    #[test]
    fn a_program_without_symbols_takes_the_highest_ranked() {
        let none = demand(&[]);
        assert!(none.is_empty());
        let coverages = cover(&none, &[&library("libfoo.so.1", &[]), &library("libfoo.so.1", &["a"])]);
        assert!(coverages[0].is_full());
        assert_eq!(coverages[0].share(), 1.0);
        assert_eq!(best(&coverages), Some(0));
    }

    #[test]
    fn a_running_program_is_covered_by_the_libc_it_runs_with() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .find(|path| path.ends_with("/libc.so.6"));
        let Some(path) = path else { return };
        let (libc, own) =
            (std::fs::read(path).unwrap(), std::fs::read(std::env::current_exe().unwrap()).unwrap());
        let libc = SymbolSet::of(&ElfFacts::parse(&libc).unwrap(), &SymbolFacts::parse(&libc).unwrap());
        let (elf, undefined) = (ElfFacts::parse(&own).unwrap(), SymbolFacts::parse_undefined(&own).unwrap());
        let demand = Demand::of("libc.so.6", [(&elf, undefined.as_slice())]);
        assert!(!demand.is_empty());
        let coverage = cover(&demand, &[&libc]).remove(0);
        assert!(coverage.is_possible() && coverage.missing_symbols.is_empty(), "{coverage:?}");
        assert!(coverage.needed > 20 && coverage.share() == 1.0);
        let impostor = library("libc.so.6", &["malloc@GLIBC_2.2.5"]);
        assert!(!cover(&demand, &[&impostor])[0].is_possible());
    }
}
