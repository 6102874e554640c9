//! The dynamic section, as numbers: which table is where. Strings are read on request.

use super::ElfError;
use super::bytes::{Bytes, LONGEST_NAME, add};

const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

pub(super) const DF_1_NODEFLIB: u64 = 0x800;
pub(super) const DF_1_PIE: u64 = 0x0800_0000;

/// More entries than any linker writes: a file with more is not read further.
const MOST_ENTRIES: u64 = 16_384;

/// What the entries say. Addresses are virtual.
#[derive(Default)]
pub(super) struct Dynamic {
    strings: u64,
    strings_vaddr: Option<u64>,
    strings_size: u64,
    pub(super) needed: Vec<u64>,
    pub(super) soname: Option<u64>,
    pub(super) rpath: Option<u64>,
    pub(super) runpath: Option<u64>,
    pub(super) flags_1: u64,
    pub(super) symbols: Option<u64>,
    pub(super) hash: Option<u64>,
    pub(super) gnu_hash: Option<u64>,
    pub(super) versym: Option<u64>,
    pub(super) verneed: Option<(u64, u64)>,
    pub(super) verdef: Option<(u64, u64)>,
}

impl Dynamic {
    /// Absent in static programs.
    pub(super) fn read(file: &Bytes<'_>) -> Result<Option<Dynamic>, ElfError> {
        const WHAT: &str = "the dynamic section";
        let Some(range) = file.dynamic.clone() else { return Ok(None) };
        let mut found = Dynamic::default();
        let (mut strings, mut verneed, mut verdef) = (None, None, None);
        let (mut needs, mut definitions) = (0, 0);
        let step = file.word_size() * 2;
        let entries = (range.end.saturating_sub(range.start) / step).min(MOST_ENTRIES);
        for index in 0..entries {
            let at = add(range.start, index * step)?;
            let value = file.word(add(at, file.word_size())?, WHAT)?;
            match file.word(at, WHAT)? {
                0 => break,
                DT_NEEDED => found.needed.push(value),
                DT_HASH => found.hash = Some(value),
                DT_STRTAB => strings = Some(value),
                DT_SYMTAB => found.symbols = Some(value),
                DT_STRSZ => found.strings_size = value,
                DT_SONAME => found.soname = Some(value),
                DT_RPATH => found.rpath = Some(value),
                DT_RUNPATH => found.runpath = Some(value),
                DT_GNU_HASH => found.gnu_hash = Some(value),
                DT_VERSYM => found.versym = Some(value),
                DT_FLAGS_1 => found.flags_1 = value,
                DT_VERDEF => verdef = Some(value),
                DT_VERDEFNUM => definitions = value,
                DT_VERNEED => verneed = Some(value),
                DT_VERNEEDNUM => needs = value,
                _ => {}
            }
        }
        found.verneed = verneed.map(|at| (at, needs));
        found.verdef = verdef.map(|at| (at, definitions));
        found.strings_vaddr = strings;
        let wants_strings = !found.needed.is_empty() || found.soname.is_some() || verneed.is_some();
        found.strings = match strings {
            Some(vaddr) => file.offset_of(vaddr, "DT_STRTAB points outside the file")?,
            None if wants_strings => return Err(ElfError::Malformed { what: "no DT_STRTAB" }),
            None => 0,
        };
        Ok(Some(found))
    }

    /// The name at an offset of the dynamic string table.
    pub(super) fn name(&self, file: &Bytes<'_>, at: u64, what: &'static str) -> Result<String, ElfError> {
        self.string(file, at, LONGEST_NAME, what)
    }

    /// The same, of at most `longest` bytes.
    pub(super) fn string(
        &self,
        file: &Bytes<'_>,
        at: u64,
        longest: u64,
        what: &'static str,
    ) -> Result<String, ElfError> {
        if at >= self.strings_size {
            return Err(ElfError::Malformed { what: "a name lies outside the dynamic string table" });
        }
        let raw = file.string(add(self.strings, at)?, longest, what)?;
        Ok(String::from_utf8_lossy(raw).into_owned())
    }

    /// Virtual address of the string table.
    pub(super) fn strings_vaddr(&self) -> Option<u64> {
        self.strings_vaddr
    }
}
