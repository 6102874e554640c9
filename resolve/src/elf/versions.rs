//! `.gnu.version_r` and `.gnu.version_d`: linked lists of records, each pointing to the next by a relative
//! offset.
//!
//! A hostile chain can point backwards or to itself: every step must go forward and the number of steps is
//! bounded by what a 16-bit version index can name.

use super::bytes::{Bytes, add};
use super::dynamic::Dynamic;
use super::{ElfError, NeededVersion};

/// A version index has 15 bits and a hidden mark.
const MOST_VERSIONS: usize = 0x8000;
const VER_FLG_BASE: u16 = 1;
const VER_FLG_WEAK: u16 = 2;

/// Versions needed from one library, each with the index by which the symbol table refers to it.
pub(super) struct Need {
    pub(super) soname: String,
    pub(super) versions: Vec<(u16, NeededVersion)>,
}

/// A version that the file defines.
pub(super) struct Definition {
    pub(super) index: u16,
    pub(super) name: String,
    /// It is the file's own name, not a version.
    pub(super) base: bool,
}

pub(super) fn needs(file: &Bytes<'_>, dynamic: &Dynamic) -> Result<Vec<Need>, ElfError> {
    const WHAT: &str = "the version needs";
    let Some((vaddr, count)) = dynamic.verneed else { return Ok(Vec::new()) };
    let mut at = file.offset_of(vaddr, "DT_VERNEED points outside the file")?;
    let (mut found, mut total) = (Vec::new(), 0);
    for _ in 0..count.min(MOST_VERSIONS as u64) {
        let entries = file.u16(add(at, 2)?, WHAT)?;
        let soname = dynamic.name(file, file.u32(add(at, 4)?, WHAT)?.into(), WHAT)?;
        let mut entry = add(at, file.u32(add(at, 8)?, WHAT)?.into())?;
        let mut versions = Vec::new();
        for _ in 0..entries {
            total += 1;
            if total > MOST_VERSIONS {
                return Err(ElfError::Malformed { what: "more version needs than can be numbered" });
            }
            let weak = file.u16(add(entry, 4)?, WHAT)? & VER_FLG_WEAK != 0;
            let index = file.u16(add(entry, 6)?, WHAT)? & 0x7fff;
            let name = dynamic.name(file, file.u32(add(entry, 8)?, WHAT)?.into(), WHAT)?;
            versions.push((index, NeededVersion { name, weak }));
            match file.u32(add(entry, 12)?, WHAT)? {
                0 => break,
                next => entry = add(entry, next.into())?,
            }
        }
        found.push(Need { soname, versions });
        match file.u32(add(at, 12)?, WHAT)? {
            0 => break,
            next => at = add(at, next.into())?,
        }
    }
    Ok(found)
}

pub(super) fn definitions(file: &Bytes<'_>, dynamic: &Dynamic) -> Result<Vec<Definition>, ElfError> {
    const WHAT: &str = "the version definitions";
    let Some((vaddr, count)) = dynamic.verdef else { return Ok(Vec::new()) };
    let mut at = file.offset_of(vaddr, "DT_VERDEF points outside the file")?;
    let mut found = Vec::new();
    for _ in 0..count.min(MOST_VERSIONS as u64) {
        let flags = file.u16(add(at, 2)?, WHAT)?;
        let index = file.u16(add(at, 4)?, WHAT)? & 0x7fff;
        let name_at = add(at, file.u32(add(at, 12)?, WHAT)?.into())?;
        let name = dynamic.name(file, file.u32(name_at, WHAT)?.into(), WHAT)?;
        found.push(Definition { index, name, base: flags & VER_FLG_BASE != 0 });
        match file.u32(add(at, 16)?, WHAT)? {
            0 => break,
            next => at = add(at, next.into())?,
        }
    }
    Ok(found)
}
