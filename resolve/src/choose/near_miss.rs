//! What somebody may have meant by a soname that nobody has: another version, another case, a slip of a
//! finger.
//!
//! For messages only. Nothing found here is ever loaded.

use crate::index::table::Table;

/// A name that exists and resembles the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearMiss {
    /// How it resembles it.
    pub kind: Resemblance,
    /// The name.
    pub soname: String,
}

/// In the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resemblance {
    /// `libfoo.so.1` for `libfoo.so.2`: the program was built for another release.
    OtherVersion,
    /// `libSDL2-2.0.so.0` for `libsdl2-2.0.so.0`.
    OtherCase,
    /// One letter, or two of a long name, differ.
    Spelling,
}

/// The names of a table that resemble `soname` most, at most `limit` of them. Reads all names: some
/// milliseconds.
pub fn near_misses<B: AsRef<[u8]>>(soname: &str, table: &Table<B>, limit: usize) -> Vec<NearMiss> {
    let (stem, _) = split(soname);
    let lower = stem.to_lowercase();
    let letters: Vec<char> = lower.chars().collect();
    let allowed = if letters.len() > 8 { 2 } else { 1 };
    let mut found: Vec<(NearMiss, usize)> = table
        .sonames()
        .filter(|name| *name != soname)
        .filter_map(|name| {
            let (other, _) = split(name);
            let (kind, steps) = if other == stem {
                (Resemblance::OtherVersion, 0)
            } else if other.len().abs_diff(stem.len()) > allowed {
                return None;
            } else if other.to_lowercase() == lower {
                (Resemblance::OtherCase, 0)
            } else {
                (Resemblance::Spelling, distance(&letters, other, allowed)?)
            };
            Some((NearMiss { kind, soname: name.to_owned() }, steps))
        })
        .collect();
    // Among slips the nearest first, and those that agree in the version before those that do not.
    found.sort_by_cached_key(|(near, steps)| {
        let version_differs = split(&near.soname).1 != split(soname).1;
        (near.kind, *steps, near.kind != Resemblance::OtherVersion && version_differs, near.soname.clone())
    });
    found.into_iter().map(|(near, _)| near).take(limit).collect()
}

/// `libfoo.so.1` → `libfoo` and `.so.1`.
fn split(soname: &str) -> (&str, &str) {
    soname.find(".so").and_then(|at| soname.split_at_checked(at)).unwrap_or((soname, ""))
}

/// How many letters must be changed, added, removed or swapped with their neighbour; nothing if more than
/// `allowed`.
fn distance(a: &[char], b: &str, allowed: usize) -> Option<usize> {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, &letter) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in b.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let changed = at(&last, column) + usize::from(letter != other);
            let mut steps = changed.min(at(&last, column + 1) + 1).min(at(&current, column) + 1);
            let swapped =
                row > 0 && column > 0 && a.get(row - 1) == Some(&other) && b.get(column - 1) == Some(&letter);
            if swapped {
                steps = steps.min(at(&before, column - 1) + 1);
            }
            current.push(steps);
        }
        if current.iter().all(|&steps| steps > allowed) {
            return None;
        }
        before = std::mem::replace(&mut last, current);
    }
    last.last().copied().filter(|&steps| steps <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::testing::{package, table};

    fn near(soname: &str) -> Vec<(Resemblance, String)> {
        let table = table(&[package(
            "foo",
            &[
                "lib/libfoo.so.1",
                "lib/libfoo.so",
                "lib/libfob.so.2",
                "lib/libSDL2-2.0.so.0",
                "lib/libsomething-long.so.3",
            ],
        )]);
        near_misses(soname, &table, 9).into_iter().map(|near| (near.kind, near.soname)).collect()
    }

    #[test]
    fn another_version_comes_before_another_spelling() {
        assert_eq!(
            near("libfoo.so.2"),
            [
                (Resemblance::OtherVersion, "libfoo.so".into()),
                (Resemblance::OtherVersion, "libfoo.so.1".into()),
                (Resemblance::Spelling, "libfob.so.2".into()),
            ]
        );
    }

    #[test]
    fn case_and_slips_are_forgiven() {
        assert_eq!(near("libsdl2-2.0.so.0"), [(Resemblance::OtherCase, "libSDL2-2.0.so.0".into())]);
        assert_eq!(near("libsomethign-long.so.3")[0].1, "libsomething-long.so.3");
        assert_eq!(
            near("libofo.so.1")[0],
            (Resemblance::Spelling, "libfoo.so.1".into()),
            "two letters swapped"
        );
    }

    #[test]
    fn what_resembles_nothing_gets_no_answer() {
        assert!(near("libquite-different.so.1").is_empty());
        assert!(near("").is_empty());
    }
}
