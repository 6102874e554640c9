//! Changing a few entries of a large cache without sorting it again.
//!
//! The base of a served cache has tens of thousands of names and a plan changes a handful: entries that are
//! there get a new path (a string at the end and four bytes), new names are merged in, withdrawn ones
//! dropped. Strings are not touched.

use super::{Cache, CacheError, ENTRY, HEADER, Strings, compare, header, holds, put_entry};
use std::cmp::Ordering;

/// What to do about one soname.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The cache answers with this path, whether it knew the name before or not.
    Provide(&'a str),
    /// The cache does not know the name: the loader goes on to its default folders.
    Withdraw,
}

/// A cache like `base` but for `changes`, which apply to entries with these `flags` and no hwcap; of two
/// changes of one name the last counts. Extension blocks are not carried over.
///
/// # Errors
/// `base` is not a cache, or the result would be too large.
pub fn patch(base: &[u8], flags: i32, changes: &[(&str, Change<'_>)]) -> Result<Vec<u8>, CacheError> {
    let base = Cache::open(base)?;
    let mut changes: Vec<_> = changes.iter().filter(|(soname, _)| holds(soname)).rev().copied().collect();
    changes.sort_by(|a, b| compare(b.0, a.0));
    changes.dedup_by(|later, kept| compare(later.0, kept.0) == Ordering::Equal);

    let merged = Merge { base: &base, flags, changes: &changes }.run()?;
    let count = merged.len().max(1);
    // Strings keep their places relative to each other; the entries before them become more or fewer.
    let old_start = HEADER + base.count * ENTRY;
    let old_strings = base.bytes.get(old_start..).unwrap_or_default();
    let new_start = HEADER + count * ENTRY;
    let moved = |at: u32| {
        let inside = (at as usize).checked_sub(old_start).ok_or(CacheError::Corrupt("a name is"))?;
        u32::try_from(inside + new_start).map_err(|_| CacheError::TooLarge)
    };
    let mut added = Strings::starting_at(new_start + old_strings.len());
    let mut table = Vec::with_capacity(count * ENTRY);
    for line in &merged {
        match *line {
            Line::Kept(index) => {
                let raw = base.entry(index)?;
                put_entry(&mut table, raw.flags, moved(raw.key)?, moved(raw.value)?, raw.hwcap);
            }
            Line::Moved(index, path) => {
                let raw = base.entry(index)?;
                put_entry(&mut table, raw.flags, moved(raw.key)?, added.add(path)?, raw.hwcap);
            }
            Line::New(soname, path) => {
                let key = added.add(soname)?;
                put_entry(&mut table, flags, key, added.add(path)?, 0);
            }
        }
    }
    if merged.is_empty() {
        return super::write(&[]);
    }
    let mut file = header(merged.len(), old_strings.len() + added.bytes.len())?;
    file.append(&mut table);
    file.extend_from_slice(old_strings);
    file.append(&mut added.bytes);
    Ok(file)
}

/// An entry of the result.
enum Line<'a> {
    /// The base's.
    Kept(usize),
    /// The base's name with another path.
    Moved(usize, &'a str),
    New(&'a str, &'a str),
}

struct Merge<'a> {
    base: &'a Cache<'a>,
    flags: i32,
    /// Descending, each name once.
    changes: &'a [(&'a str, Change<'a>)],
}

impl<'a> Merge<'a> {
    fn run(&self) -> Result<Vec<Line<'a>>, CacheError> {
        let mut lines = Vec::with_capacity(self.base.count + self.changes.len());
        let mut next = 0;
        for &(soname, change) in self.changes {
            let start = self.first_not_before(next, soname)?;
            lines.extend((next..start).map(Line::Kept));
            next = start;
            let mut seen = false;
            while next < self.base.count {
                let raw = self.base.entry(next)?;
                if compare(self.base.string(raw.key)?, soname) != Ordering::Equal {
                    break;
                }
                match change {
                    _ if raw.flags != self.flags || raw.hwcap != 0 => lines.push(Line::Kept(next)),
                    Change::Provide(path) if !seen => {
                        lines.push(Line::Moved(next, path));
                        seen = true;
                    }
                    // A second entry would never be asked, and a withdrawn one must not answer.
                    Change::Provide(_) | Change::Withdraw => {}
                }
                next += 1;
            }
            if let (Change::Provide(path), false) = (change, seen) {
                lines.push(Line::New(soname, path));
            }
        }
        lines.extend((next..self.base.count).map(Line::Kept));
        Ok(lines)
    }

    /// The first entry from `from` on that sorts at or behind `soname`.
    fn first_not_before(&self, from: usize, soname: &str) -> Result<usize, CacheError> {
        let (mut low, mut high) = (from, self.base.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let key = self.base.string(self.base.entry(middle)?.key)?;
            if compare(key, soname) == Ordering::Greater { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}
