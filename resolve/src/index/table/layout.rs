//! The file's outermost form: header, section table, checksums.
//!
//! ```text
//! 0   magic  "SONDEIDX"              8
//! 8   0x01020304, little-endian      4   reversed: written by a machine of the other byte order
//! 12  format version                 4
//! 16  length of the file             8
//! 24  CRC-32 of the header, this 0   4
//! 28  zero                           4
//! 32  sections: offset u64, length u64, CRC-32 u32, zero u32
//! ```
//!
//! All numbers are little-endian and unaligned; they are read by copying, so the file needs no alignment in
//! memory.

use std::ops::Range;
use thiserror::Error;

const MAGIC: &[u8; 8] = b"SONDEIDX";
const MARK: u32 = 0x0102_0304;
/// Raise it whenever a reader of the old form would misread the new one.
const VERSION: u32 = 1;
const FIXED: usize = 32;
const SECTION: usize = 24;
const CHECKSUM_AT: usize = 24;
/// Alignment of the base cache in the file, so that it can be mapped or copied by pages.
const PAGE: usize = 4096;

/// The parts of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// [`super::Metadata`] as JSON.
    Metadata,
    /// u16 length and bytes, each string once.
    Strings,
    /// Fixed records, by `hash-name`.
    Packages,
    /// Name and first provider, by name; one more record ends the last one's providers.
    Sonames,
    /// Fixed records, by name and then package.
    Providers,
    /// A complete `ld.so.cache`, or nothing.
    BaseCache,
}

const SECTIONS: [(Section, &str); 6] = [
    (Section::Metadata, "its description"),
    (Section::Strings, "its strings"),
    (Section::Packages, "its packages"),
    (Section::Sonames, "its sonames"),
    (Section::Providers, "its providers"),
    (Section::BaseCache, "its prebuilt cache"),
];
const HEADER: usize = FIXED + SECTIONS.len() * SECTION;

/// Why a file cannot serve as the index.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something else.
    #[error("this is not a Sonde index: import a nix-index database with `sonde index import FILE`")]
    NotATable,
    /// Written by a later Sonde, or an earlier one with another form.
    #[error(
        "the index has format version {found} and this Sonde reads {}: import the database again with `sonde index import FILE`",
        VERSION
    )]
    Version {
        /// The file's.
        found: u32,
    },
    /// Written by a machine of the other byte order.
    #[error(
        "the index was written on a machine of the other byte order: import the database again with `sonde index import FILE`"
    )]
    ForeignEndian,
    /// The file is shorter or longer than its header says.
    #[error(
        "the index is {found} bytes long and should be {expected}: import the database again with `sonde index import FILE`"
    )]
    Length {
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// A checksum does not match.
    #[error("the index is damaged ({0}): import the database again with `sonde index import FILE`")]
    Damaged(&'static str),
}

/// Where the sections lie; all of them inside the file.
#[derive(Debug)]
pub(super) struct Layout {
    sections: [(Range<usize>, u32); SECTIONS.len()],
}

impl Layout {
    pub(super) fn read(bytes: &[u8]) -> Result<Layout, OpenError> {
        if !bytes.starts_with(MAGIC) {
            return Err(OpenError::NotATable);
        }
        let short = OpenError::Length { expected: HEADER as u64, found: bytes.len() as u64 };
        match u32_at(bytes, 8).ok_or(short.clone())? {
            MARK => {}
            mark if mark == MARK.swap_bytes() => return Err(OpenError::ForeignEndian),
            _ => return Err(OpenError::Damaged("its header")),
        }
        match u32_at(bytes, 12).ok_or(short.clone())? {
            VERSION => {}
            found => return Err(OpenError::Version { found }),
        }
        let expected = u64_at(bytes, 16).ok_or(short.clone())?;
        if expected != bytes.len() as u64 {
            return Err(OpenError::Length { expected, found: bytes.len() as u64 });
        }
        let header = bytes.get(..HEADER).ok_or(short)?;
        if u32_at(header, CHECKSUM_AT) != Some(header_checksum(header)) {
            return Err(OpenError::Damaged("its header"));
        }
        let mut sections = [const { (0..0, 0) }; SECTIONS.len()];
        for (index, section) in sections.iter_mut().enumerate() {
            let at = FIXED + index * SECTION;
            *section = range_at(header, at, bytes.len()).ok_or(OpenError::Damaged("its header"))?;
        }
        Ok(Layout { sections })
    }

    pub(super) fn slice<'b>(&self, bytes: &'b [u8], section: Section) -> &'b [u8] {
        let found = self.sections.get(section as usize).and_then(|(range, _)| bytes.get(range.clone()));
        found.unwrap_or_default()
    }

    /// FNV-1a over the header, which has the length and checksum of every section.
    pub(super) fn identity(&self, bytes: &[u8]) -> u64 {
        let header = bytes.get(..HEADER).unwrap_or_default();
        header.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    pub(super) fn verify(&self, bytes: &[u8]) -> Result<(), OpenError> {
        for ((section, what), (_, checksum)) in SECTIONS.iter().zip(&self.sections) {
            if crc32fast::hash(self.slice(bytes, *section)) != *checksum {
                return Err(OpenError::Damaged(what));
            }
        }
        Ok(())
    }
}

/// Puts sections, in the order of [`Section`], into a file.
pub(super) fn assemble(sections: [&[u8]; SECTIONS.len()]) -> Vec<u8> {
    let total = HEADER + PAGE + sections.iter().map(|section| section.len()).sum::<usize>();
    let mut file = Vec::with_capacity(total);
    file.resize(HEADER, 0);
    let mut table = Vec::with_capacity(HEADER - FIXED);
    for (data, (section, _)) in sections.iter().zip(SECTIONS) {
        if section == Section::BaseCache && !data.is_empty() {
            file.resize(file.len().next_multiple_of(PAGE), 0);
        }
        table.extend_from_slice(&(file.len() as u64).to_le_bytes());
        table.extend_from_slice(&(data.len() as u64).to_le_bytes());
        table.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
        table.extend_from_slice(&[0; 4]);
        file.extend_from_slice(data);
    }
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&MARK.to_le_bytes());
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(file.len() as u64).to_le_bytes());
    header.extend_from_slice(&[0; 8]);
    header.append(&mut table);
    let checksum = header_checksum(&header);
    for (to, from) in header.iter_mut().skip(CHECKSUM_AT).zip(checksum.to_le_bytes()) {
        *to = from;
    }
    for (to, from) in file.iter_mut().zip(header) {
        *to = from;
    }
    file
}

/// CRC-32 of the header with its own field taken as zero.
fn header_checksum(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(..CHECKSUM_AT).unwrap_or_default());
    hasher.update(&[0; 4]);
    hasher.update(header.get(CHECKSUM_AT + 4..).unwrap_or_default());
    hasher.finalize()
}

fn range_at(header: &[u8], at: usize, length: usize) -> Option<(Range<usize>, u32)> {
    let start = usize::try_from(u64_at(header, at)?).ok()?;
    let end = start.checked_add(usize::try_from(u64_at(header, at + 8)?).ok()?)?;
    (end <= length).then_some((start..end, u32_at(header, at + 16)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
