//! A streaming reader of nix-index's file database (`files`), keeping only what can be loaded.
//!
//! Our own rather than the `nix-index` crate's, which brings an HTTP client, an async runtime and SQLite
//! along and hands out every one of eight million entries as an allocated path. This one copies nothing but
//! the shared prefix of two neighbouring paths until a line is a library's. The format: `NIXI`, version 1 as
//! u64, then zstd of `metadata 00 differential rest 0a` entries; the files of a package precede the entry
//! that names it.

use super::is_shared_object_name;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Read};
use thiserror::Error;

/// zstd's window: nix-index compresses with 128 MiB, which is also the most that its own reader accepts.
const WINDOW_LOG: u32 = 27;
const CHUNK: usize = 1 << 20;
/// Longest entry that is believed; the real ones stay under 5 kB.
const LONGEST_ENTRY: usize = 1 << 20;

/// One output of a package, with the shared objects in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Usually `/nix/store`.
    pub store_dir: String,
    /// The 32 characters of the store path's hash.
    pub hash: String,
    /// Name and version, as in the store path: `zlib-1.3.1`.
    pub name: String,
    /// Attribute path in nixpkgs: `xorg.libX11`.
    pub attr: String,
    /// Output: `out`, `lib`, `dev`.
    pub output: String,
    /// Found under its own attribute; otherwise it was only reached as a reference of the package `attr`.
    pub toplevel: bool,
    /// `x86_64-linux`, if the database says so.
    pub system: Option<String>,
    /// Shared objects under `/lib*/`, in the database's order.
    pub libraries: Vec<Library>,
    /// `hash-name` of other store paths whose libraries this one has symbolic links to, sorted: an
    /// environment's members.
    pub links_into: Vec<String>,
}

/// One shared object of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Relative to the store path, without a slash in front: `lib/libz.so.1`.
    pub path: String,
    /// What it is.
    pub kind: LibraryKind,
}

/// A shared object is a file or a link to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LibraryKind {
    /// A regular file of so many bytes, executable or not.
    Regular {
        /// In bytes.
        size: u64,
    },
    /// A symbolic link; its text, which may dangle.
    Symlink {
        /// Relative to the link's folder, or absolute.
        target: String,
    },
}

/// What a database held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Store paths.
    pub packages: u64,
    /// Files, folders and links.
    pub entries: u64,
    /// Shared objects that were handed on.
    pub libraries: u64,
    /// Entries under `/bin/`.
    pub executables: u64,
    /// Bytes after decompression.
    pub bytes: u64,
}

impl Stats {
    /// The database is one of nix-index-database's `-small` ones (or like them): programs, but not one
    /// library.
    pub fn has_no_libraries(&self) -> bool {
        self.libraries == 0 && self.packages > 0
    }
}

/// Why a database could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not a nix-index database.
    #[error(
        "this is not a nix-index database (it does not start with NIXI): give the file called `files` that nix-index writes, or an `index-*` file of nix-index-database"
    )]
    NotADatabase,
    /// A format that this reader does not know.
    #[error(
        "the database has format version {0}, and only version 1 is known: update Sonde, or take a database that an older nix-index wrote"
    )]
    Version(u64),
    /// The compressed stream is broken, cut short, or needs more memory than allowed.
    #[error("the database cannot be decompressed ({0}): fetch it again")]
    Decompress(#[source] io::Error),
    /// The decompressed stream is not what the format says.
    #[error("the database is corrupt at byte {at} of its decompressed contents ({what}): fetch it again")]
    Corrupt {
        /// Offset after decompression.
        at: u64,
        /// What was expected.
        what: &'static str,
    },
}

#[derive(Deserialize)]
struct RawPackage<'a> {
    #[serde(borrow)]
    store_dir: Cow<'a, str>,
    #[serde(borrow)]
    hash: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    origin: RawOrigin<'a>,
}

#[derive(Deserialize)]
struct RawOrigin<'a> {
    #[serde(borrow)]
    attr: Cow<'a, str>,
    #[serde(borrow)]
    output: Cow<'a, str>,
    toplevel: bool,
    #[serde(borrow, default)]
    system: Option<Cow<'a, str>>,
}

/// Reads a database and hands every package that has libraries, or links to some, to `sink`. Needs about 135
/// MB, which is zstd's window. For progress, count what is read from `source`.
///
/// # Errors
/// As [`ReadError`]; packages before the fault have been handed on.
pub fn read(mut source: impl Read, mut sink: impl FnMut(Package)) -> Result<Stats, ReadError> {
    let mut head = [0; 12];
    source.read_exact(&mut head).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::NotADatabase,
        _ => ReadError::Decompress(error),
    })?;
    let (magic, version) = head.split_at(4);
    if magic != b"NIXI" {
        return Err(ReadError::NotADatabase);
    }
    let version = version.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
    if version != 1 {
        return Err(ReadError::Version(version));
    }
    let mut stream = zstd::Decoder::new(source).map_err(ReadError::Decompress)?;
    stream.window_log_max(WINDOW_LOG).map_err(ReadError::Decompress)?;
    read_entries(stream, &mut sink)
}

fn read_entries(mut stream: impl Read, sink: &mut impl FnMut(Package)) -> Result<Stats, ReadError> {
    let mut walk = Walk::default();
    let mut buffer = vec![0; CHUNK];
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        let free = buffer.get_mut(filled..).unwrap_or_default();
        let read = stream.read(free).map_err(ReadError::Decompress)?;
        filled += read;
        let bytes = buffer.get(..filled).unwrap_or_default();
        let mut used = 0;
        while let Some(entry) = Entry::split(bytes.get(used..).unwrap_or_default()) {
            walk.take(&entry, sink)?;
            used += entry.len;
            walk.stats.bytes += entry.len as u64;
        }
        if read == 0 {
            return if used == filled {
                walk.finish()
            } else {
                Err(walk.corrupt("the last entry is cut short"))
            };
        }
        if used == 0 && filled > LONGEST_ENTRY {
            return Err(walk.corrupt("an entry without an end"));
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// One entry as it stands in the stream.
struct Entry<'a> {
    metadata: &'a [u8],
    /// Change of the length of the prefix shared with the previous path.
    differential: i32,
    rest: &'a [u8],
    /// Bytes of the whole entry.
    len: usize,
}

impl<'a> Entry<'a> {
    /// The entry at the start of `bytes`, if it is there to its end.
    fn split(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let nul = bytes.iter().position(|&byte| byte == 0)?;
        let metadata = bytes.get(..nul)?;
        let (differential, start) = match *bytes.get(nul + 1)? {
            0x80 => (i16::from_be_bytes([*bytes.get(nul + 2)?, *bytes.get(nul + 3)?]).into(), nul + 4),
            byte => (i32::from(i8::from_ne_bytes([byte])), nul + 2),
        };
        let tail = bytes.get(start..)?;
        let end = memchr::memchr(b'\n', tail)?;
        Some(Entry { metadata, differential, rest: tail.get(..end)?, len: start + end + 1 })
    }
}

#[derive(Default)]
struct Walk {
    path: Vec<u8>,
    shared: usize,
    libraries: Vec<Library>,
    links_into: BTreeSet<String>,
    /// Entries since the last package.
    pending: u64,
    stats: Stats,
}

impl Walk {
    fn take(&mut self, entry: &Entry<'_>, sink: &mut impl FnMut(Package)) -> Result<(), ReadError> {
        let shared = i64::try_from(self.shared).ok().map(|shared| shared + i64::from(entry.differential));
        self.shared = match shared.and_then(|shared| usize::try_from(shared).ok()) {
            Some(shared) if shared <= self.path.len() => shared,
            _ => return Err(self.corrupt("a path shares more with its predecessor than there is")),
        };
        self.path.truncate(self.shared);
        self.path.extend_from_slice(entry.rest);
        if self.path.len() > LONGEST_ENTRY {
            return Err(self.corrupt("a path longer than any"));
        }
        if entry.metadata == b"p" {
            return self.close_package(sink);
        }
        let Some((&kind, detail)) = entry.metadata.split_last() else {
            return Err(self.corrupt("an entry without a type"));
        };
        self.pending += 1;
        self.stats.entries += 1;
        match kind {
            b'r' | b'x' => self.file(detail),
            b's' => self.link(detail),
            b'd' => Ok(()),
            _ => Err(self.corrupt("an entry of unknown type")),
        }
    }

    fn file(&mut self, detail: &[u8]) -> Result<(), ReadError> {
        if self.path.starts_with(b"/bin/") {
            self.stats.executables += 1;
        }
        let Some(path) = library_path(&self.path) else { return Ok(()) };
        let size = std::str::from_utf8(detail).ok().and_then(|digits| digits.parse().ok());
        let Some(size) = size else { return Err(self.corrupt("a file size that is no number")) };
        self.libraries.push(Library { path, kind: LibraryKind::Regular { size } });
        Ok(())
    }

    fn link(&mut self, target: &[u8]) -> Result<(), ReadError> {
        if let Some(base) = linked_store_path(target)
            && !self.links_into.contains(base)
        {
            self.links_into.insert(base.to_owned());
        }
        let Some(path) = library_path(&self.path) else { return Ok(()) };
        let Ok(target) = std::str::from_utf8(target) else { return Ok(()) };
        self.libraries.push(Library { path, kind: LibraryKind::Symlink { target: target.to_owned() } });
        Ok(())
    }

    fn close_package(&mut self, sink: &mut impl FnMut(Package)) -> Result<(), ReadError> {
        let Ok(raw) = serde_json::from_slice::<RawPackage<'_>>(&self.path) else {
            return Err(self.corrupt("a package that is not the expected JSON"));
        };
        if raw.hash.len() != 32 || !raw.hash.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(self.corrupt("a store path without a hash of 32 letters and digits"));
        }
        if raw.name.contains('/') {
            return Err(self.corrupt("a store path whose name has a slash"));
        }
        let own = format!("{}-{}", raw.hash, raw.name);
        self.links_into.remove(&own);
        self.stats.packages += 1;
        self.stats.libraries += self.libraries.len() as u64;
        if !self.libraries.is_empty() || !self.links_into.is_empty() {
            let package = Package {
                store_dir: raw.store_dir.into_owned(),
                hash: raw.hash.into_owned(),
                name: raw.name.into_owned(),
                attr: raw.origin.attr.into_owned(),
                output: raw.origin.output.into_owned(),
                toplevel: raw.origin.toplevel,
                system: raw.origin.system.map(Cow::into_owned),
                libraries: std::mem::take(&mut self.libraries),
                links_into: std::mem::take(&mut self.links_into).into_iter().collect(),
            };
            sink(package);
        }
        self.pending = 0;
        Ok(())
    }

    fn finish(self) -> Result<Stats, ReadError> {
        match self.pending {
            0 => Ok(self.stats),
            _ => Err(self.corrupt("files that belong to no package at the end")),
        }
    }

    fn corrupt(&self, what: &'static str) -> ReadError {
        ReadError::Corrupt { at: self.stats.bytes, what }
    }
}

/// The path without its slash, if it is a shared object under `/lib*/`. Names that are not UTF-8 are not
/// kept: no soname is.
fn library_path(path: &[u8]) -> Option<String> {
    let path = path.strip_prefix(b"/")?;
    if !path.starts_with(b"lib") {
        return None;
    }
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    // `/libexec/…` holds programs' own files.
    if path.starts_with(b"libexec/") || !is_shared_object_name(path.get(slash + 1..)?) {
        return None;
    }
    std::str::from_utf8(path).ok().map(str::to_owned)
}

/// `hash-name` of the store path that an absolute link to a library points into.
fn linked_store_path(target: &[u8]) -> Option<&str> {
    if target.first() != Some(&b'/') {
        return None;
    }
    let slash = target.iter().rposition(|&byte| byte == b'/')?;
    if !is_shared_object_name(target.get(slash + 1..)?) {
        return None;
    }
    let target = std::str::from_utf8(target).ok()?;
    // A store path is the first component that begins with a hash and a dash.
    target.split('/').find(|part| {
        part.as_bytes().get(32) == Some(&b'-')
            && part.bytes().take(32).all(|byte| byte.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests;
