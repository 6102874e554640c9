//! glibc's `ld.so.cache` (`glibc-ld.so.cache1.1`): reading it, writing one that the real loader accepts,
//! changing one.
//!
//! The layout is glibc's `sysdeps/generic/dl-cache.h`: a header of 48 bytes, entries of 24 bytes in
//! *descending* order of [`compare`], strings, each addressed from the start of the file. Which library
//! belongs in it is decided elsewhere. Everything is little-endian, like every machine that [`flags_of`]
//! knows.

mod order;
mod patch;

pub use order::{compare, holds};
pub use patch::{Change, patch};

use std::collections::HashMap;
use thiserror::Error;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Before glibc 2.32 the new format followed an old one in the same file.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// `cache_file_new_flags_endian_little`.
const LITTLE_ENDIAN: u8 = 2;
/// The loader rejects a cache that is no longer than its header: an empty one gets an entry that nobody asks
/// for.
const DUMMY: &str = "libsonde-no-such-library.so.0";

/// One line of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name that programs ask for.
    pub soname: String,
    /// Where it is, absolute.
    pub path: String,
    /// Library type and machine, as [`flags_of`] gives them.
    pub flags: i32,
    /// 0, or what processors the library is for (bit 62: an index into the extension block's `glibc-hwcaps`
    /// names).
    pub hwcap: u64,
}

/// Why a file is no cache.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It does not begin like one.
    #[error("not an ld.so.cache of glibc 2.2 or later (`glibc-ld.so.cache1.1` is missing)")]
    NotACache,
    /// Written on a machine of the other byte order.
    #[error("the ld.so.cache is of a big-endian machine")]
    BigEndian,
    /// It ends early, or refers beyond its end.
    #[error("the ld.so.cache is corrupt: {0} beyond its end")]
    Corrupt(&'static str),
    /// Offsets in a cache have 32 bits.
    #[error("the ld.so.cache would be larger than 4 GiB")]
    TooLarge,
}

/// The flags of libc6 libraries of a machine (`e_machine`); nothing for a machine whose value we do not know.
pub fn flags_of(machine: u16) -> Option<i32> {
    match machine {
        3 => Some(0x0003),   // i386
        62 => Some(0x0303),  // x86-64
        183 => Some(0x0a03), // AArch64
        243 => Some(0x1003), // RISC-V, lp64d
        258 => Some(0x1203), // LoongArch, double
        _ => None,
    }
}

/// Writes a cache. Entries may come in any order; of two with the same name and flags the first is the one
/// that counts. Names that the loader could not find again ([`holds`]) are left out.
///
/// # Errors
/// More than 4 GiB.
pub fn write(entries: &[Entry]) -> Result<Vec<u8>, CacheError> {
    let mut sorted: Vec<&Entry> = entries.iter().filter(|entry| holds(&entry.soname)).collect();
    let dummy =
        Entry { soname: DUMMY.into(), path: format!("/nonexistent/{DUMMY}"), flags: 0x0303, hwcap: 0 };
    if sorted.is_empty() {
        sorted.push(&dummy);
    }
    sorted.sort_by(|a, b| compare(&b.soname, &a.soname).then(b.hwcap.cmp(&a.hwcap)));
    let mut strings = Strings::starting_at(HEADER + sorted.len() * ENTRY);
    let mut table = Vec::with_capacity(sorted.len() * ENTRY);
    for entry in &sorted {
        let value = strings.add(&entry.path)?;
        let key = match entry.path.strip_suffix(entry.soname.as_str()) {
            // The name is the end of its own path, nearly always: one string serves both.
            Some(folder) => value + u32::try_from(folder.len()).map_err(|_| CacheError::TooLarge)?,
            None => strings.add(&entry.soname)?,
        };
        put_entry(&mut table, entry.flags, key, value, entry.hwcap);
    }
    let mut file = header(sorted.len(), strings.bytes.len())?;
    file.append(&mut table);
    file.append(&mut strings.bytes);
    Ok(file)
}

/// Reads a cache, or the new part of one in the old combined format.
///
/// # Errors
/// It is not a cache, or refers beyond its own end.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, CacheError> {
    let cache = Cache::open(bytes)?;
    (0..cache.count)
        .map(|index| {
            let raw = cache.entry(index)?;
            Ok(Entry {
                soname: cache.string(raw.key)?.to_owned(),
                path: cache.string(raw.value)?.to_owned(),
                flags: raw.flags,
                hwcap: raw.hwcap,
            })
        })
        .collect()
}

/// An entry as it stands in the file.
#[derive(Clone, Copy)]
struct RawEntry {
    flags: i32,
    key: u32,
    value: u32,
    hwcap: u64,
}

/// A cache's bytes, from its magic on.
struct Cache<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Cache<'a> {
    fn open(bytes: &'a [u8]) -> Result<Cache<'a>, CacheError> {
        let bytes = match bytes.starts_with(OLD_MAGIC) {
            false => bytes,
            true => {
                let count = u32_at(bytes, 12).ok_or(CacheError::NotACache)? as usize;
                let start = count.checked_mul(OLD_ENTRY).and_then(|size| size.checked_add(OLD_HEADER));
                let start =
                    start.and_then(|start| start.checked_next_multiple_of(8)).ok_or(CacheError::NotACache)?;
                bytes.get(start..).ok_or(CacheError::NotACache)?
            }
        };
        if !bytes.starts_with(MAGIC) {
            return Err(CacheError::NotACache);
        }
        let flags = *bytes.get(28).ok_or(CacheError::Corrupt("the header is"))?;
        // 0: written before glibc 2.33, by a machine that did not say.
        if flags & 3 != LITTLE_ENDIAN && flags & 3 != 0 {
            return Err(CacheError::BigEndian);
        }
        let count = u32_at(bytes, 20).ok_or(CacheError::Corrupt("the header is"))? as usize;
        let end = count.checked_mul(ENTRY).and_then(|size| size.checked_add(HEADER));
        match end {
            Some(end) if end <= bytes.len() => Ok(Cache { bytes, count }),
            _ => Err(CacheError::Corrupt("entries are")),
        }
    }

    fn entry(&self, index: usize) -> Result<RawEntry, CacheError> {
        let read = || {
            let at = index.checked_mul(ENTRY)?.checked_add(HEADER)?;
            Some(RawEntry {
                flags: i32::from_le_bytes(array_at(self.bytes, at)?),
                key: u32_at(self.bytes, at + 4)?,
                value: u32_at(self.bytes, at + 8)?,
                hwcap: u64::from_le_bytes(array_at(self.bytes, at + 16)?),
            })
        };
        read().ok_or(CacheError::Corrupt("an entry is"))
    }

    fn string(&self, at: u32) -> Result<&'a str, CacheError> {
        let rest = self.bytes.get(at as usize..).ok_or(CacheError::Corrupt("a name is"))?;
        let end = memchr::memchr(0, rest).ok_or(CacheError::Corrupt("a name is"))?;
        let raw = rest.get(..end).unwrap_or_default();
        std::str::from_utf8(raw).map_err(|_| CacheError::Corrupt("a name that is not text is"))
    }
}

/// NUL-terminated strings, each kept once.
struct Strings {
    bytes: Vec<u8>,
    start: usize,
    known: HashMap<String, u32>,
}

impl Strings {
    fn starting_at(start: usize) -> Strings {
        Strings { bytes: Vec::new(), start, known: HashMap::new() }
    }

    /// Offset of the string from the start of the file.
    fn add(&mut self, string: &str) -> Result<u32, CacheError> {
        if let Some(&at) = self.known.get(string) {
            return Ok(at);
        }
        let at = u32::try_from(self.start + self.bytes.len()).map_err(|_| CacheError::TooLarge)?;
        self.bytes.extend_from_slice(string.as_bytes());
        self.bytes.push(0);
        self.known.insert(string.to_owned(), at);
        Ok(at)
    }
}

fn header(count: usize, strings: usize) -> Result<Vec<u8>, CacheError> {
    let narrow = |value: usize| u32::try_from(value).map_err(|_| CacheError::TooLarge);
    let mut file = Vec::with_capacity(HEADER + count * ENTRY + strings);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&narrow(count)?.to_le_bytes());
    file.extend_from_slice(&narrow(strings)?.to_le_bytes());
    file.push(LITTLE_ENDIAN);
    // Padding, no extension block, unused.
    file.resize(HEADER, 0);
    Ok(file)
}

fn put_entry(table: &mut Vec<u8>, flags: i32, key: u32, value: u32, hwcap: u64) {
    table.extend_from_slice(&flags.to_le_bytes());
    table.extend_from_slice(&key.to_le_bytes());
    table.extend_from_slice(&value.to_le_bytes());
    table.extend_from_slice(&0u32.to_le_bytes());
    table.extend_from_slice(&hwcap.to_le_bytes());
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
