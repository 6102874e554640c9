//! The ranking rules, as a table: read it from top to bottom, the first that tells two candidates apart
//! decides.
//!
//! A rule is a score, higher is better, and the sentence that people are shown. Lists of names that rules
//! need are in `data/lists.toml`.

use super::Field;
use super::candidate::Candidate;
use crate::elf::Class;
use std::cmp::Ordering;
use std::fmt;

/// One ranking rule.
pub struct Rule {
    /// Its name in reports.
    pub name: &'static str,
    /// Why a higher score is better, for people.
    pub reason: &'static str,
    pub(super) score: fn(&Candidate<'_>, &Field<'_, '_>) -> i64,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.name == other.name
    }
}

/// The rules, most important first.
pub static RULES: &[Rule] = &[
    Rule {
        name: "pinned",
        reason: "your policy names it",
        score: |candidate, field| (field.context.pinned)(candidate).into(),
    },
    Rule {
        name: "width",
        reason: "its folder holds libraries of the program's width",
        score: |candidate, field| fits_width(candidate, field.context.class).into(),
    },
    Rule {
        name: "exact-name",
        reason: "it has the very name that was asked for",
        score: |candidate, _| (!candidate.alias).into(),
    },
    Rule {
        name: "usable",
        reason: "its folder holds libraries to run with, not stubs, debugging copies or another platform's",
        score: |candidate, field| (!field.context.lists.is_unusable_folder(candidate.provider.dir)).into(),
    },
    Rule {
        name: "public-folder",
        reason: "it lies in lib/, where programs look, not in a package's private folder",
        score: |candidate, _| candidate.is_public().into(),
    },
    Rule {
        name: "own-file",
        reason: "the file is the package's own, not an environment's link to another package",
        score: |candidate, _| (!candidate.is_foreign_link()).into(),
    },
    Rule {
        name: "run-time-output",
        reason: "its output is meant for running programs, not for building or debugging them",
        score: |candidate, _| output_rank(candidate),
    },
    Rule {
        name: "database",
        reason: "it is from the database that is asked first",
        score: |candidate, _| -i64::try_from(candidate.database).unwrap_or(i64::MAX),
    },
    Rule {
        name: "known",
        reason: "it has an attribute of its own, or is already in the store; others were only seen as a reference",
        score: |candidate, field| (candidate.provider.package.toplevel || is_valid(candidate, field)).into(),
    },
    Rule {
        name: "sibling",
        reason: "another library of the program comes from the same package, and the two belong together",
        score: |candidate, field| field.context.chosen.contains(candidate.provider.package.base).into(),
    },
    Rule {
        name: "curated",
        reason: "the lists file prefers this package for this name",
        score: |candidate, field| {
            let preference = field.context.lists.preference_for(candidate.provider.file_name);
            preference.is_some_and(|preference| preference.attr == candidate.provider.package.attr).into()
        },
    },
    Rule {
        name: "main-set",
        reason: "it is not from a set of packages for another platform or one language",
        score: |candidate, field| (!in_guest_set(candidate, field)).into(),
    },
    Rule {
        name: "popularity",
        reason: "more packages and environments lean on it",
        score: |candidate, _| candidate.provider.package.popularity.into(),
    },
    Rule {
        name: "plain-attribute",
        reason: "the other attributes are variants of this one",
        score: variants_of_it,
    },
    Rule {
        name: "named-alike",
        reason: "its attribute is what the soname is called",
        score: |candidate, _| likeness(candidate.provider.file_name, candidate.provider.package.attr),
    },
    Rule {
        name: "valid",
        reason: "it is already in the store",
        score: |candidate, field| is_valid(candidate, field).into(),
    },
    Rule {
        name: "top-level",
        reason: "its attribute is at the top of nixpkgs, not in a set",
        score: |candidate, _| (!candidate.provider.package.attr.contains('.')).into(),
    },
    Rule { name: "newest", reason: "its version is the newest", score: newer_than },
    Rule {
        name: "shortest-attribute",
        reason: "its attribute is the shortest",
        score: |candidate, _| -i64::try_from(candidate.provider.package.attr.len()).unwrap_or(i64::MAX),
    },
];

pub(super) fn fits_width(candidate: &Candidate<'_>, class: Class) -> bool {
    let first = candidate.provider.dir.split('/').next().unwrap_or_default();
    let narrow_set = candidate.provider.package.attr.starts_with("pkgsi686Linux.");
    match class {
        Class::Elf64 => matches!(first, "lib" | "lib64") && !narrow_set,
        Class::Elf32 => first == "lib32" || first == "lib" && narrow_set,
    }
}

fn output_rank(candidate: &Candidate<'_>) -> i64 {
    let package = &candidate.provider.package;
    // A reference's output is not its own; its name carries the output by Nix's habit.
    let output =
        if package.toplevel { package.output } else { package.name().rsplit('-').next().unwrap_or_default() };
    match output {
        "debug" | "static" | "doc" | "man" | "devdoc" => -2,
        "dev" => -1,
        _ => 0,
    }
}

fn is_valid(candidate: &Candidate<'_>, field: &Field<'_, '_>) -> bool {
    (field.context.valid)(&candidate.provider.package.store_path())
}

fn in_guest_set(candidate: &Candidate<'_>, field: &Field<'_, '_>) -> bool {
    let Some((set, _)) = candidate.provider.package.attr.split_once('.') else { return false };
    field.context.lists.is_guest_set(set)
}

/// How many rivals' attributes are this one with something added: `openssl` before `openssl_legacy`.
fn variants_of_it(candidate: &Candidate<'_>, field: &Field<'_, '_>) -> i64 {
    let own = candidate.provider.package;
    let extends = |rival: &&Candidate<'_>| {
        let rival = rival.provider.package;
        rival.toplevel && rival.attr.len() > own.attr.len() && rival.attr.starts_with(own.attr)
    };
    i64::try_from(field.rivals.iter().filter(extends).count()).unwrap_or(i64::MAX)
}

/// How alike a soname and an attribute are: 3 the same, 2 the same but for numbers or `lib`, 1 one begins
/// with the other.
pub(super) fn likeness(soname: &str, attr: &str) -> i64 {
    let stem = soname.split(".so").next().unwrap_or_default();
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let core = |text: &str| -> String {
        let text = text.strip_prefix("lib").unwrap_or(text);
        text.trim_end_matches(|last: char| last.is_ascii_digit()).to_owned()
    };
    let (stem, leaf) = (plain(stem), plain(attr.rsplit('.').next().unwrap_or_default()));
    let (stem_core, leaf_core) = (core(&stem), core(&leaf));
    if stem == leaf || stem.strip_prefix("lib") == Some(&leaf) {
        3
    } else if stem_core.is_empty() || leaf_core.is_empty() {
        0
    } else if stem_core == leaf_core || format!("{stem_core}lib") == leaf_core {
        2
    } else {
        (stem_core.starts_with(&leaf_core) || leaf_core.starts_with(&stem_core)).into()
    }
}

/// How many rivals' versions are older.
fn newer_than(candidate: &Candidate<'_>, field: &Field<'_, '_>) -> i64 {
    let own = version(candidate.provider.package.name());
    let older = field
        .rivals
        .iter()
        .filter(|rival| compare_versions(version(rival.provider.package.name()), own) == Ordering::Less);
    i64::try_from(older.count()).unwrap_or(i64::MAX)
}

/// Which of two packages' names (`glibc-2.42`) has the newer version.
pub fn compare_names(a: &str, b: &str) -> Ordering {
    compare_versions(version(a), version(b))
}

/// The part of a name that Nix takes for the version: from the first dash that no letter follows.
fn version(name: &str) -> &str {
    let dash = name
        .match_indices('-')
        .find(|(at, _)| name.as_bytes().get(at + 1).is_some_and(|next| !next.is_ascii_alphabetic()));
    dash.and_then(|(at, _)| name.get(at + 1..)).unwrap_or_default()
}

/// Component by component; numbers as numbers, and before words.
fn compare_versions(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        text.split(['.', '-', '+', '_', '~'])
            .map(|part| {
                part.parse().map_or_else(|_| (0, part.to_owned()), |number: u64| (number, String::new()))
            })
            .collect()
    };
    parts(a).cmp(&parts(b))
}
