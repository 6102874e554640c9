//! The names that rules treat specially: glibc's own, gcc's runtime, drivers, what is never provided, other
//! spellings.
//!
//! Everything here is read from one file, `data/lists.toml`, which has the reason for each entry; a user's
//! file of the same form can be added. This module answers questions about names and decides nothing.

use serde::Deserialize;
use std::collections::HashMap;
use std::sync::LazyLock;
use thiserror::Error;

const BUILT_IN: &str = include_str!("data/lists.toml");

/// Why a soname is treated specially.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// A member of glibc: comes from the loader's own store path and from nowhere else.
    Glibc,
    /// gcc's runtime: one per process, the newest that anybody needs.
    GccRuntime,
    /// Belongs to a kernel driver: only the host's driver folders have the right one.
    Driver,
    /// Programs ask for it and are meant to be told no.
    Never,
}

/// A set of sonames that share a reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What follows from being in it.
    pub kind: GroupKind,
    /// For people: why.
    pub reason: String,
    /// Sonames; `*` stands for any run of characters.
    pub sonames: Vec<String>,
}

/// A soname that nixpkgs spells otherwise. Only for programs whose versions and symbols the other one has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// What programs ask for.
    pub asked: String,
    /// What is looked up in its place, preferred first.
    pub provided: Vec<String>,
    /// For people: who spells it so.
    pub reason: String,
}

/// A choice made by hand, where the general rules have nothing to go by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// Sonames; `*` stands for any run of characters.
    pub sonames: Vec<String>,
    /// Attribute path of the package, without the output.
    pub attr: String,
    /// For people: why this one.
    pub reason: String,
}

/// What ranking knows of folders and attribute names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ranking {
    unusable_folders: Vec<String>,
    guest_sets: Vec<String>,
}

/// A lists file could not be read.
#[derive(Debug, Error)]
#[error("the lists file is not valid: {0}")]
pub struct ListsError(#[from] toml::de::Error);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    group: Vec<Group>,
    alias: Vec<Alias>,
    preference: Vec<Preference>,
    ranking: Ranking,
}

/// The lists.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    groups: Vec<Group>,
    exact: HashMap<String, usize>,
    /// A pattern and the index of its group.
    patterns: Vec<(Pattern, usize)>,
    aliases: Vec<Alias>,
    /// Indexes of the aliases of a name.
    aliases_of: HashMap<String, Vec<usize>>,
    preferences: Vec<Preference>,
    ranking: Ranking,
}

impl Lists {
    /// The lists that Sonde comes with.
    pub fn built_in() -> &'static Lists {
        // A test pins that the file is valid, so the default never serves.
        static LISTS: LazyLock<Lists> = LazyLock::new(|| Lists::parse(BUILT_IN).unwrap_or_default());
        &LISTS
    }

    /// Reads lists from TOML of the built-in file's form.
    ///
    /// # Errors
    /// What is wrong with the text, with line and column.
    pub fn parse(text: &str) -> Result<Lists, ListsError> {
        let mut lists = Lists::default();
        lists.add(text)?;
        Ok(lists)
    }

    /// Adds another file's entries, which come before those already there.
    ///
    /// # Errors
    /// What is wrong with the text; nothing has been added then.
    pub fn add(&mut self, text: &str) -> Result<(), ListsError> {
        let raw: Raw = toml::from_str(text)?;
        self.groups.splice(0..0, raw.group);
        self.aliases.splice(0..0, raw.alias);
        self.preferences.splice(0..0, raw.preference);
        self.ranking.guest_sets.extend(raw.ranking.guest_sets);
        self.ranking.unusable_folders.extend(raw.ranking.unusable_folders);
        self.exact.clear();
        self.patterns.clear();
        self.aliases_of.clear();
        for (index, alias) in self.aliases.iter().enumerate() {
            self.aliases_of.entry(alias.asked.clone()).or_default().push(index);
        }
        for (index, group) in self.groups.iter().enumerate() {
            for soname in &group.sonames {
                if soname.contains('*') {
                    self.patterns.push((Pattern::new(soname), index));
                } else {
                    self.exact.entry(soname.clone()).or_insert(index);
                }
            }
        }
        Ok(())
    }

    /// The group of a soname. A literal entry beats a pattern, an earlier entry a later one.
    pub fn group_of(&self, soname: &str) -> Option<&Group> {
        let exact = self.exact.get(soname).copied();
        let index = exact
            .or_else(|| self.patterns.iter().find(|(pattern, _)| pattern.matches(soname)).map(|&(_, at)| at));
        index.and_then(|index| self.groups.get(index))
    }

    /// Kind of [`Lists::group_of`].
    pub fn kind_of(&self, soname: &str) -> Option<GroupKind> {
        self.group_of(soname).map(|group| group.kind)
    }

    /// The group that keeps a soname from being provided by any package, if there is one.
    pub fn exclusion_of(&self, soname: &str) -> Option<&Group> {
        self.group_of(soname).filter(|group| group.kind != GroupKind::GccRuntime)
    }

    /// Other spellings of a soname, preferred first, with the reason.
    pub fn aliases_of<'a>(&'a self, soname: &'a str) -> impl Iterator<Item = (&'a str, &'a Alias)> {
        let asked = self.aliases_of.get(soname).into_iter().flatten();
        asked
            .filter_map(|&index| self.aliases.get(index))
            .flat_map(|alias| alias.provided.iter().map(move |provided| (provided.as_str(), alias)))
    }

    /// The curated choice for a soname, if there is one.
    pub fn preference_for(&self, soname: &str) -> Option<&Preference> {
        self.preferences
            .iter()
            .find(|preference| preference.sonames.iter().any(|pattern| glob(pattern, soname)))
    }

    /// The same lists without curated choices, to measure what the general rules are worth.
    #[must_use]
    pub fn without_preferences(&self) -> Lists {
        Lists { preferences: Vec::new(), ..self.clone() }
    }

    /// Whether a folder inside a package holds libraries that are not for programs to run with, such as stubs.
    pub fn is_unusable_folder(&self, dir: &str) -> bool {
        dir.split('/').any(|part| self.ranking.unusable_folders.iter().any(|folder| folder == part))
    }

    /// Whether packages under this first component of an attribute path are for another platform or one
    /// language.
    pub fn is_guest_set(&self, set: &str) -> bool {
        self.ranking.guest_sets.iter().any(|pattern| glob(pattern, set))
    }
}

/// A pattern, taken apart once: `*` is any run of characters.
#[derive(Clone, Debug)]
struct Pattern {
    /// What stands in front of the first `*`.
    head: String,
    /// What stands behind each; empty for a pattern without any.
    parts: Vec<String>,
}

impl Pattern {
    fn new(pattern: &str) -> Pattern {
        let mut parts = pattern.split('*').map(str::to_owned);
        Pattern { head: parts.next().unwrap_or_default(), parts: parts.collect() }
    }

    /// Whether it matches all of a name. Linear in the name for each `*`.
    fn matches(&self, name: &str) -> bool {
        let Some(mut rest) = name.strip_prefix(self.head.as_str()) else { return false };
        let Some((last, middle)) = self.parts.split_last() else { return rest.is_empty() };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// Whether a pattern matches all of a name; `*` is any run of characters.
pub fn glob(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_file_is_valid_and_every_entry_has_a_reason() {
        let lists = Lists::parse(BUILT_IN).unwrap();
        assert!(lists.groups.len() >= 4);
        assert!(lists.groups.iter().all(|group| group.reason.len() > 20 && !group.sonames.is_empty()));
        assert!(lists.aliases.iter().all(|alias| alias.reason.len() > 10 && !alias.provided.is_empty()));
        assert!(lists.preferences.iter().all(|preference| preference.reason.len() > 20));
        for set in ["pkgsCross", "python313Packages", "linuxPackages_6_12", "haskellPackages"] {
            assert!(lists.is_guest_set(set), "{set}");
        }
        for set in ["xorg", "gst_all_1", "libsForQt5", "llvmPackages_19", "qt6"] {
            assert!(!lists.is_guest_set(set), "{set}");
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_name() {
        assert!(glob("libnss_*.so.2", "libnss_sss.so.2"));
        assert!(!glob("libnss_*.so.2", "libnss_sss.so.2.0"));
        assert!(!glob("libnss_*.so.2", "libnss3.so"));
        assert!(glob("lib*-*.so*", "libnvidia-ml.so.1"));
        assert!(!glob("lib*-*.so.1", "libnvidia.so.1"));
        assert!(glob("*", ""));
    }

    #[test]
    fn families_are_told_apart() {
        let lists = Lists::built_in();
        for (soname, kind) in [
            ("libc.so.6", Some(GroupKind::Glibc)),
            ("ld-linux-x86-64.so.2", Some(GroupKind::Glibc)),
            ("libnss_files.so.2", Some(GroupKind::Glibc)),
            ("libnss_sss.so.2", Some(GroupKind::Never)),
            ("libstdc++.so.6", Some(GroupKind::GccRuntime)),
            ("libcuda.so.1", Some(GroupKind::Driver)),
            ("libGLX_nvidia.so.0", Some(GroupKind::Driver)),
            ("libvulkan_radeon.so", Some(GroupKind::Driver)),
            ("libnss3.so", None),
            ("libvulkan.so.1", None),
            ("libGL.so.1", None),
            ("libcrypt.so.1", None),
        ] {
            assert_eq!(lists.kind_of(soname), kind, "{soname}");
        }
    }

    #[test]
    fn a_users_file_comes_first() {
        let mut lists = Lists::built_in().clone();
        lists.add("[[group]]\nkind = 'never'\nreason = 'mine'\nsonames = ['libstdc++.so.6']\n").unwrap();
        assert_eq!(lists.kind_of("libstdc++.so.6"), Some(GroupKind::Never));
        assert_eq!(lists.kind_of("libc.so.6"), Some(GroupKind::Glibc));
        assert!(lists.add("[[grop]]").is_err());
    }

    #[test]
    fn an_alias_names_what_to_look_up() {
        let aliases: Vec<_> =
            Lists::built_in().aliases_of("libbz2.so.1.0").map(|(soname, _)| soname).collect();
        assert_eq!(aliases, ["libbz2.so.1"]);
    }
}
