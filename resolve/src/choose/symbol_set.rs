//! What one library defines, small enough to be kept for every library that was ever read.
//!
//! Symbols are kept as 64-bit hashes: coverage asks "is this name defined", and the names of what is missing
//! are in the program. A set of 20,000 symbols is 320 kB and is read back without parsing. The key under
//! which sets are kept (the store path) and where is the caller's business.

use crate::elf::ElfFacts;
use crate::elf::symbols::SymbolFacts;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"SONDESYM";
/// Raise it when the form or the hash changes: kept sets are then made anew.
const VERSION: u32 = 1;

/// What a library defines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolSet {
    soname: Option<String>,
    versions: Vec<String>,
    /// Sorted: a hash of each name, and one of each name with its version.
    hashes: Vec<u64>,
}

/// A kept set cannot be used; it is to be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the kept symbol set is of another version or damaged: it will be made anew")]
pub struct SetError;

impl SymbolSet {
    /// The set of a library.
    pub fn of(elf: &ElfFacts, symbols: &SymbolFacts) -> SymbolSet {
        let mut hashes = Vec::with_capacity(symbols.defined.len() * 2);
        for symbol in &symbols.defined {
            hashes.push(hash(&symbol.name, None));
            if let Some(version) = &symbol.version {
                hashes.push(hash(&symbol.name, Some(version)));
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        let mut versions = elf.version_defs.clone();
        versions.sort_unstable();
        versions.dedup();
        SymbolSet { soname: elf.soname.clone(), versions, hashes }
    }

    /// `DT_SONAME`.
    pub fn soname(&self) -> Option<&str> {
        self.soname.as_deref()
    }

    /// The versions that it defines, sorted.
    pub fn versions(&self) -> &[String] {
        &self.versions
    }

    /// It defines the version.
    pub fn has_version(&self, version: &str) -> bool {
        self.versions.binary_search_by(|own| own.as_str().cmp(version)).is_ok()
    }

    /// It defines the symbol, in any version.
    pub fn defines(&self, name: &str) -> bool {
        self.hashes.binary_search(&hash(name, None)).is_ok()
    }

    /// It defines the symbol in this version, or, having no versions at all, in any.
    pub fn defines_version(&self, name: &str, version: &str) -> bool {
        match self.versions.is_empty() {
            true => self.defines(name),
            false => self.hashes.binary_search(&hash(name, Some(version))).is_ok(),
        }
    }

    /// The set as bytes, for keeping.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.hashes.len() * 8);
        let soname = self.soname.iter().map(String::as_str);
        let texts: Vec<&str> = soname.chain(self.versions.iter().map(String::as_str)).collect();
        body.push(u8::from(self.soname.is_some()));
        body.extend_from_slice(&(texts.len() as u32).to_le_bytes());
        for text in texts {
            body.extend_from_slice(&(text.len() as u32).to_le_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        for hash in &self.hashes {
            body.extend_from_slice(&hash.to_le_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        bytes.append(&mut body);
        bytes
    }

    /// A kept set.
    ///
    /// # Errors
    /// Other or damaged bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<SymbolSet, SetError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(SetError)?;
        let (version, checksum) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
        if version != VERSION || crc32fast::hash(rest) != checksum {
            return Err(SetError);
        }
        let (&has_soname, body) = rest.split_first().ok_or(SetError)?;
        rest = body;
        let mut versions = Vec::new();
        for _ in 0..take_u32(&mut rest)? {
            let length = take_u32(&mut rest)? as usize;
            let (text, after) = rest.split_at_checked(length).ok_or(SetError)?;
            versions.push(std::str::from_utf8(text).map_err(|_| SetError)?.to_owned());
            rest = after;
        }
        let soname = match has_soname {
            0 => None,
            _ if versions.is_empty() => return Err(SetError),
            _ => Some(versions.remove(0)),
        };
        let (hashes, odd) = rest.as_chunks();
        if !odd.is_empty() {
            return Err(SetError);
        }
        Ok(SymbolSet {
            soname,
            versions,
            hashes: hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect(),
        })
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, SetError> {
    let (head, tail) = rest.split_first_chunk().ok_or(SetError)?;
    *rest = tail;
    Ok(u32::from_le_bytes(*head))
}

/// FNV-1a over the name, and over `@` and the version if there is one: the same on every machine and in every
/// release.
fn hash(name: &str, version: Option<&str>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    match version {
        Some(version) => version.bytes().fold(step(hash, b'@'), step),
        None => hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> SymbolSet {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc =
            maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("libc"));
        let bytes = std::fs::read(libc.map_or_else(|| std::env::current_exe().unwrap(), Into::into)).unwrap();
        SymbolSet::of(&ElfFacts::parse(&bytes).unwrap(), &SymbolFacts::parse(&bytes).unwrap())
    }

    #[test]
    fn a_real_library_defines_what_it_is_known_for() {
        let set = own();
        if set.soname() == Some("libc.so.6") {
            assert!(set.defines("printf") && !set.defines("no_such_function"));
            assert!(set.has_version("GLIBC_2.17") && !set.has_version("GLIBC_1.0"));
            assert!(
                set.defines_version("printf", "GLIBC_2.2.5") || set.defines_version("printf", "GLIBC_2.17")
            );
            assert!(!set.defines_version("printf", "GLIBC_2.99"));
        }
    }

    #[test]
    fn a_set_survives_being_kept_and_damage_is_noticed() {
        let set = own();
        let bytes = set.to_bytes();
        assert_eq!(SymbolSet::from_bytes(&bytes), Ok(set));
        assert_eq!(SymbolSet::from_bytes(b""), Err(SetError));
        for at in [0, 9, 13, 20, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert_eq!(SymbolSet::from_bytes(&damaged), Err(SetError), "{at}");
        }
        assert_eq!(SymbolSet::from_bytes(&SymbolSet::default().to_bytes()), Ok(SymbolSet::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&VERSION.to_le_bytes());
            bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
            let _ = SymbolSet::from_bytes(&bytes);
        }
    }
}
