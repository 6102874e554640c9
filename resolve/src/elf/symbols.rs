//! The dynamic symbol table: what a file leaves undefined and what it defines, with versions.
//!
//! This is what coverage compares, and it costs reading the whole table: not for the way of an ordinary
//! start.
//!
//! Nothing in the dynamic section says how many symbols there are. In order: the section header of the table
//! if it was not stripped, `DT_HASH`, `DT_GNU_HASH`; and since GNU ld writes an empty GNU hash table that
//! does not count undefined symbols, the gap up to the string table, which every linker puts behind it.

use super::bytes::{Bytes, add};
use super::dynamic::Dynamic;
use super::{Class, ElfError, versions};
use std::collections::HashMap;

const SHT_DYNSYM: u32 = 11;
const STB_LOCAL: u8 = 0;
const STB_WEAK: u8 = 2;
const SHN_UNDEF: u16 = 0;
/// Version indices: local, and global without a version.
const VER_NDX_LOCAL: u16 = 0;
const VER_NDX_GLOBAL: u16 = 1;
const VERSYM_HIDDEN: u16 = 0x8000;

/// A symbol that somebody else must define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndefinedSymbol {
    /// Its name.
    pub name: String,
    /// The version it is bound to; libraries without versions give none.
    pub version: Option<String>,
    /// The soname that has to define that version. Without a version nothing says which library it comes
    /// from.
    pub soname: Option<String>,
    /// It may stay undefined.
    pub weak: bool,
}

/// A symbol that the file offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinedSymbol {
    /// Its name.
    pub name: String,
    /// Its version, if the file has versions.
    pub version: Option<String>,
    /// Bound to only by who asks for exactly this version (`name@VERSION`, not `name@@VERSION`).
    pub hidden: bool,
}

/// The symbols of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolFacts {
    /// Needed from others.
    pub undefined: Vec<UndefinedSymbol>,
    /// Offered to others.
    pub defined: Vec<DefinedSymbol>,
}

impl SymbolFacts {
    /// Reads the dynamic symbol table of a whole file; empty for a file without a dynamic section.
    ///
    /// # Errors
    /// As [`super::ElfFacts::parse`].
    pub fn parse(bytes: &[u8]) -> Result<SymbolFacts, ElfError> {
        let mut facts = SymbolFacts::default();
        walk(bytes, &mut facts.undefined, Some(&mut facts.defined))?;
        Ok(facts)
    }

    /// Reads only what a file leaves undefined, which is all that a program's demand consists of.
    ///
    /// # Errors
    /// As [`super::ElfFacts::parse`].
    pub fn parse_undefined(bytes: &[u8]) -> Result<Vec<UndefinedSymbol>, ElfError> {
        let mut undefined = Vec::new();
        walk(bytes, &mut undefined, None)?;
        Ok(undefined)
    }
}

fn walk(
    bytes: &[u8],
    undefined: &mut Vec<UndefinedSymbol>,
    mut defined: Option<&mut Vec<DefinedSymbol>>,
) -> Result<(), ElfError> {
    const WHAT: &str = "the dynamic symbol table";
    let file = Bytes::open(bytes)?;
    let Some(dynamic) = Dynamic::read(&file)? else { return Ok(()) };
    let Some(vaddr) = dynamic.symbols else { return Ok(()) };
    let names = Versions::read(&file, &dynamic)?;
    let table = file.offset_of(vaddr, "DT_SYMTAB points outside the file")?;
    let (size, info_at, section_at) = if file.class == Class::Elf64 { (24, 4, 6) } else { (16, 12, 14) };
    let count = count(&file, &dynamic, vaddr, size)?;
    let versyms =
        dynamic.versym.map(|at| file.offset_of(at, "DT_VERSYM points outside the file")).transpose()?;
    let mut name_bytes = 0;
    for index in 1..count {
        let at = add(table, index * size)?;
        let info = file.u8(add(at, info_at)?, WHAT)?;
        let name_at = file.u32(at, WHAT)?;
        let missing = file.u16(add(at, section_at)?, WHAT)? == SHN_UNDEF;
        if info >> 4 == STB_LOCAL || name_at == 0 || !missing && defined.is_none() {
            continue;
        }
        let version = match versyms {
            Some(base) => file.u16(add(base, index * 2)?, "the symbol versions")?,
            None => VER_NDX_GLOBAL,
        };
        let name = dynamic.name(&file, name_at.into(), WHAT)?;
        name_bytes += name.len() as u64;
        if name_bytes > file.len() {
            return Err(ElfError::Malformed { what: "symbol names add up to more than the file" });
        }
        if missing {
            let bound = names.needed.get(&(version & !VERSYM_HIDDEN));
            undefined.push(UndefinedSymbol {
                name,
                version: bound.map(|(_, version)| version.clone()),
                soname: bound.map(|(soname, _)| soname.clone()),
                weak: info >> 4 == STB_WEAK,
            });
        } else if let Some(defined) = &mut defined
            && version & !VERSYM_HIDDEN != VER_NDX_LOCAL
        {
            defined.push(DefinedSymbol {
                name,
                version: names.defined.get(&(version & !VERSYM_HIDDEN)).cloned(),
                hidden: version & VERSYM_HIDDEN != 0,
            });
        }
    }
    Ok(())
}

/// What the version indices of this file mean.
struct Versions {
    needed: HashMap<u16, (String, String)>,
    defined: HashMap<u16, String>,
}

impl Versions {
    fn read(file: &Bytes<'_>, dynamic: &Dynamic) -> Result<Versions, ElfError> {
        let mut found = Versions { needed: HashMap::new(), defined: HashMap::new() };
        for need in versions::needs(file, dynamic)? {
            for (index, version) in need.versions {
                found.needed.insert(index, (need.soname.clone(), version.name));
            }
        }
        for definition in versions::definitions(file, dynamic)? {
            if !definition.base {
                found.defined.insert(definition.index, definition.name);
            }
        }
        Ok(found)
    }
}

fn count(file: &Bytes<'_>, dynamic: &Dynamic, table: u64, size: u64) -> Result<u64, ElfError> {
    if let Some(count) = count_by_section(file, table, size) {
        return Ok(count);
    }
    if let Some(vaddr) = dynamic.hash {
        let at = file.offset_of(vaddr, "DT_HASH points outside the file")?;
        return file.u32(add(at, 4)?, "the hash table").map(u64::from);
    }
    if let Some(count) = count_by_gnu_hash(file, dynamic)? {
        return Ok(count);
    }
    // A string table in front of the symbols, or none: nothing to count by.
    Ok(dynamic.strings_vaddr().and_then(|strings| strings.checked_sub(table)).unwrap_or(0) / size)
}

fn count_by_section(file: &Bytes<'_>, table: u64, size: u64) -> Option<u64> {
    const WHAT: &str = "the section headers";
    let (base, entry, entries) = file.sections;
    let (address_at, size_at) = if file.class == Class::Elf64 { (16, 32) } else { (12, 20) };
    (0..u64::from(entries)).find_map(|index| {
        let at = base.checked_add(index * u64::from(entry))?;
        let found = file.u32(at.checked_add(4)?, WHAT).ok()? == SHT_DYNSYM
            && file.word(at.checked_add(address_at)?, WHAT).ok()? == table;
        found.then(|| file.word(at.checked_add(size_at)?, WHAT).ok()).flatten().map(|bytes| bytes / size)
    })
}

/// The highest symbol index in any chain, plus one; nothing when no symbol is hashed.
fn count_by_gnu_hash(file: &Bytes<'_>, dynamic: &Dynamic) -> Result<Option<u64>, ElfError> {
    const WHAT: &str = "the GNU hash table";
    let Some(vaddr) = dynamic.gnu_hash else { return Ok(None) };
    let at = file.offset_of(vaddr, "DT_GNU_HASH points outside the file")?;
    let buckets = u64::from(file.u32(at, WHAT)?);
    let first = u64::from(file.u32(add(at, 4)?, WHAT)?);
    let bloom = u64::from(file.u32(add(at, 8)?, WHAT)?) * file.word_size();
    let buckets_at = add(add(at, 16)?, bloom)?;
    // One bounds check for the whole array, before a loop that a hostile count could make long.
    file.slice(buckets_at, buckets * 4, WHAT)?;
    let mut last = 0;
    for bucket in 0..buckets {
        last = last.max(u64::from(file.u32(add(buckets_at, bucket * 4)?, WHAT)?));
    }
    if last < first || last == 0 {
        return Ok(None);
    }
    let chains_at = add(buckets_at, buckets * 4)?;
    while file.u32(add(chains_at, (last - first) * 4)?, WHAT)? & 1 == 0 {
        last += 1;
    }
    Ok(Some(last + 1))
}
