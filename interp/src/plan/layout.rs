//! Where everything stands in a plan's head, and how it is written. All numbers are little-endian and all offsets count
//! from the start of the file:
//!
//! ```text
//!   0  magic "SNDPLAN\0" │ version u32 │ head length u32 │ file length u64 │ checksum u64
//!  32  flags u32 │ site of opens u32 │ expiry u64 │ stamp of the program, 48 bytes
//!  96  program │ build id │ loader │ loader's cache │ served cache        spans of bytes; paths end with a NUL
//! 136  bundled │ conditions                                             spans of (path span, stamp), 56 bytes each
//! 152  objects                                                          spans of path spans, 8 bytes each
//! 160  settled │ provided                                               spans of digests, 8 bytes each, ascending
//! 176  site of looks u32
//! 180  …what the spans point to…
//!      the body, from the head's length to the file's: for people, see `sonde plans show`
//! ```
//!
//! A span is an offset and a number of bytes or entries, each u32.

use crate::site::Sites;

/// Raised whenever the layout changes, or the meaning of what stands in it; others are ignored and made anew.
pub const VERSION: u32 = 2;

pub(super) const MAGIC: &[u8; 8] = b"SNDPLAN\0";
pub(super) const START: usize = 32;
const STAMP: usize = 48;
pub(super) const WATCHED: usize = 8 + STAMP;

/// Length in bytes of the fixed part.
pub const FIXED: usize = 180;

/// The program was built by Nix: it names its own loader.
pub const BUILT_BY_NIX: u32 = 1;
/// The loader looks at its cache before each search (glibc 2.44 and later).
pub const LOOKS_AT_CACHE: u32 = 2;
/// Store paths lie elsewhere than they say (the embedded store, not mounted): only a supervisor can serve them.
pub const ELSEWHERE: u32 = 4;
/// Configuration and policy let the shim start the program by itself, with its own traps.
pub const INLINE: u32 = 8;

/// What tells one state of a file or folder from another (stat(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`; 0 where there is nothing, and nothing else counts.
    pub inode: u64,
    /// `st_size` in bytes.
    pub size: u64,
    /// `st_mtim`, seconds.
    pub modified: i64,
    /// `st_ctim`, seconds.
    pub changed: i64,
    /// `st_mtim`, nanoseconds.
    pub modified_nanoseconds: u32,
    /// `st_ctim`, nanoseconds.
    pub changed_nanoseconds: u32,
}

impl Stamp {
    /// What there is where nothing is.
    pub const ABSENT: Self = Self {
        device: 0,
        inode: 0,
        size: 0,
        modified: 0,
        changed: 0,
        modified_nanoseconds: 0,
        changed_nanoseconds: 0,
    };

    /// As it stands in a plan.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; STAMP] {
        let mut bytes = [0; STAMP];
        bytes[..8].copy_from_slice(&self.device.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.inode.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.modified.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.changed.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.modified_nanoseconds.to_le_bytes());
        bytes[44..].copy_from_slice(&self.changed_nanoseconds.to_le_bytes());
        bytes
    }

    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        let signed = |at| u64_at(bytes, at).cast_signed();
        Self {
            device: u64_at(bytes, at),
            inode: u64_at(bytes, at + 8),
            size: u64_at(bytes, at + 16),
            modified: signed(at + 24),
            changed: signed(at + 32),
            modified_nanoseconds: u32_at(bytes, at + 40),
            changed_nanoseconds: u32_at(bytes, at + 44),
        }
    }
}

/// Where something stands in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// In bytes from the start of the file.
    pub offset: u32,
    /// Bytes, without a path's NUL; or entries of a table.
    pub length: u32,
}

impl Span {
    /// As it stands in a plan.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        Self { offset: u32_at(bytes, at), length: u32_at(bytes, at + 4) }
    }

    /// The bytes of `length` entries of this size, and `more` behind them; `None` if they are not all in `bytes`.
    pub(super) fn of(self, bytes: &[u8], size: usize, more: usize) -> Option<&[u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let length = usize::try_from(self.length).ok()?.checked_mul(size)?.checked_add(more)?;
        bytes.get(start..start.checked_add(length)?)
    }
}

/// The fixed part, as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fixed {
    /// [`BUILT_BY_NIX`] and its like.
    pub flags: u32,
    /// Where the loader is to be changed.
    pub sites: Sites,
    /// When the plan is to be made anew, in seconds since 1970, because something absent may have appeared; 0: never.
    pub expiry: u64,
    /// Of the program's file.
    pub stamp: Stamp,
    /// The program's path.
    pub program: Span,
    /// Its build id; empty where it has none, or none in its first page.
    pub build_id: Span,
    /// The loader's path.
    pub loader: Span,
    /// The path that the loader opens as its cache; empty for one that has none.
    pub loader_cache: Span,
    /// The file that it is to find there; empty where none could be kept.
    pub served_cache: Span,
    /// Files that came with the program, in its own root.
    pub bundled: Span,
    /// Files and folders that decided: indexes, configuration, policies, drivers.
    pub conditions: Span,
    /// Store objects that must be there.
    pub objects: Span,
    /// Digests of the sonames that need not be asked about: the served cache has them, a library of a package finds
    /// them, or nobody has them.
    pub settled: Span,
    /// Digests of the paths at which they are provided.
    pub provided: Span,
}

impl Fixed {
    /// The first [`FIXED`] bytes of a plan of which `rest` follows in the head and `body` behind it.
    ///
    /// `None` if it is too long for its offsets.
    #[must_use]
    pub fn to_bytes(&self, rest: &[u8], body: &[u8]) -> Option<[u8; FIXED]> {
        let head = FIXED.checked_add(rest.len())?;
        let whole = head.checked_add(body.len())?;
        let mut bytes = [0; FIXED];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::try_from(head).ok()?.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::try_from(whole).ok()?.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.sites.open.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.expiry.to_le_bytes());
        bytes[48..96].copy_from_slice(&self.stamp.to_bytes());
        for (at, span) in self.spans().iter().enumerate() {
            bytes[96 + 8 * at..104 + 8 * at].copy_from_slice(&span.to_bytes());
        }
        bytes[176..180].copy_from_slice(&self.sites.look.to_le_bytes());
        let sum = checksum(checksum(SEED, &bytes[START..]), rest);
        bytes[24..START].copy_from_slice(&sum.to_le_bytes());
        Some(bytes)
    }

    fn spans(&self) -> [Span; 10] {
        [
            self.program,
            self.build_id,
            self.loader,
            self.loader_cache,
            self.served_cache,
            self.bundled,
            self.conditions,
            self.objects,
            self.settled,
            self.provided,
        ]
    }

    pub(super) fn at(bytes: &[u8]) -> Self {
        let span = |number: usize| Span::at(bytes, 96 + 8 * number);
        Self {
            flags: u32_at(bytes, 32),
            sites: Sites { open: u32_at(bytes, 36), look: u32_at(bytes, 176) },
            expiry: u64_at(bytes, 40),
            stamp: Stamp::at(bytes, 48),
            program: span(0),
            build_id: span(1),
            loader: span(2),
            loader_cache: span(3),
            served_cache: span(4),
            bundled: span(5),
            conditions: span(6),
            objects: span(7),
            settled: span(8),
            provided: span(9),
        }
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

pub(super) fn checksum_of(head: &[u8]) -> u64 {
    checksum(checksum(SEED, &head[START..FIXED]), &head[FIXED..])
}

/// Tells a torn or damaged head from a whole one, eight bytes at a time; whoever wants to deceive can.
fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d);
    words.fold(mix(seed, bytes.len() as u64), mix)
}

// The callers have checked that the bytes are there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
