//! One glibc and one libstdc++ for a process, and it must be the newest that anybody in it needs.
//!
//! Versions here are symbol versions (`GLIBC_2.38`), not packages': a file says in them what it was linked
//! against.

use crate::elf::ElfFacts;
use std::fmt;

/// A numbered symbol version, such as `GLIBC_2.38`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NumberedVersion {
    family: String,
    numbers: Vec<u32>,
}

impl NumberedVersion {
    /// Reads `FAMILY_1.2.3`; nothing for names that do not end in numbers, such as `GLIBC_PRIVATE`.
    pub fn parse(version: &str) -> Option<NumberedVersion> {
        let (family, numbers) = version.rsplit_once('_')?;
        let numbers: Result<Vec<u32>, _> = numbers.split('.').map(str::parse).collect();
        Some(NumberedVersion { family: family.to_owned(), numbers: numbers.ok()? })
    }

    /// `GLIBC`, `GLIBCXX`, `CXXABI`, `GCC`.
    pub fn family(&self) -> &str {
        &self.family
    }
}

impl fmt::Display for NumberedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(u32::to_string).collect();
        write!(f, "{}_{}", self.family, numbers.join("."))
    }
}

/// The newest version of a family that these files need.
pub fn newest_need<'f>(
    family: &str,
    files: impl IntoIterator<Item = &'f ElfFacts>,
) -> Option<NumberedVersion> {
    let needs = files.into_iter().flat_map(|elf| &elf.version_needs);
    let names =
        needs.flat_map(|need| &need.versions).filter(|version| !version.weak).map(|version| &version.name);
    names.filter_map(|name| NumberedVersion::parse(name)).filter(|version| version.family == family).max()
}

/// The newest version of a family that a library defines: `GLIBC_2.42` of a `libc.so.6`.
pub fn newest_definition(family: &str, library: &ElfFacts) -> Option<NumberedVersion> {
    let versions = library.version_defs.iter().filter_map(|name| NumberedVersion::parse(name));
    versions.filter(|version| version.family == family).max()
}

/// Which of some libraries (several glibcs' `libc.so.6`, several gccs' `libstdc++.so.6`) a process should have:
/// the one that defines the newest version of the family, the first among equals.
pub fn newest_of<'f>(family: &str, libraries: impl IntoIterator<Item = &'f ElfFacts>) -> Option<usize> {
    let ages = libraries.into_iter().map(|library| newest_definition(family, library)).enumerate();
    // Of equals `max_by` takes the last, so the order is turned round.
    let known = ages.filter_map(|(at, age)| Some((age?, std::cmp::Reverse(at))));
    known.max().map(|(_, std::cmp::Reverse(at))| at)
}

/// The version that these files need and a library is too old to define, if there is one.
pub fn beyond<'f>(
    family: &str,
    files: impl IntoIterator<Item = &'f ElfFacts>,
    library: &ElfFacts,
) -> Option<NumberedVersion> {
    newest_need(family, files).filter(|need| newest_definition(family, library).is_none_or(|own| own < *need))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defining(versions: &[&str]) -> ElfFacts {
        let own = ElfFacts::parse(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        ElfFacts { version_defs: versions.iter().map(|version| (*version).to_owned()).collect(), ..own }
    }

    #[test]
    fn the_newest_of_several_wins_and_the_first_of_equals() {
        let old = defining(&["GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_PRIVATE"]);
        let new = defining(&["GLIBC_2.9", "GLIBC_2.42"]);
        assert_eq!(newest_of("GLIBC", [&old, &new]), Some(1));
        assert_eq!(newest_of("GLIBC", [&new, &old, &new]), Some(0));
        assert_eq!(newest_of("GLIBCXX", [&old, &new]), None);
    }

    #[test]
    fn a_library_that_is_too_old_is_told_by_what_it_lacks() {
        let program = defining(&[]);
        let need = newest_need("GLIBC", [&program]).unwrap();
        assert_eq!(beyond("GLIBC", [&program], &defining(&["GLIBC_2.2.5"])), Some(need.clone()));
        assert_eq!(beyond("GLIBC", [&program], &defining(&[])), Some(need));
        assert_eq!(beyond("GLIBC", [&program], &defining(&["GLIBC_2.999"])), None);
        assert_eq!(beyond("GLIBCXX", [&program], &defining(&[])), None, "nothing is needed");
    }

    #[test]
    fn numbers_compare_as_numbers() {
        let version = |text| NumberedVersion::parse(text).unwrap();
        assert!(version("GLIBC_2.9") < version("GLIBC_2.38"));
        assert!(version("GLIBC_2.3") < version("GLIBC_2.3.4"));
        assert!(version("GLIBCXX_3.4.29") < version("GLIBCXX_3.4.32"));
        assert_eq!(version("GLIBC_2.2.5").to_string(), "GLIBC_2.2.5");
        assert_eq!(version("CXXABI_1.3.13").family(), "CXXABI");
    }

    #[test]
    fn names_without_numbers_have_no_age() {
        for name in ["GLIBC_PRIVATE", "OPENSSL", "GLIBC_2.x", "GLIBC_", "GLIBC_99999999999", ""] {
            assert_eq!(NumberedVersion::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_programs_need_is_the_newest_of_its_files() {
        let own = ElfFacts::parse(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        let need = newest_need("GLIBC", [&own, &own]).unwrap();
        assert!(need >= NumberedVersion::parse("GLIBC_2.3").unwrap());
        assert_eq!(newest_need("GLIBCXX", [&own]), None);
        assert_eq!(newest_definition("GLIBC", &own), None, "a program defines no versions");
    }
}
