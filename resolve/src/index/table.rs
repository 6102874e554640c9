//! Our own index: one file, mapped, that answers "who has `libz.so.1`" with a binary search.
//!
//! [`TableBuilder`] makes it from [`super::nix_index::Package`]s, [`Table`] reads it in place: opening checks
//! the header and nothing else, a lookup touches a handful of pages, and [`Table::verify`] reads everything.
//! A table never changes; a new one replaces the file. `layout.rs` has the format.
//!
//! It keeps names, not choices: which provider is best is `choose`'s business. The prebuilt cache that it
//! carries is bytes to it.

mod build;
mod layout;
mod provider;

pub use build::{About, TableBuilder, TableImage};
pub use layout::OpenError;
pub use provider::{LinkTarget, PackageRef, Provider, split_store_path};

use crate::lists::glob;
use layout::{Layout, Section};
use provider::{PACKAGE, PROVIDER, SONAME, u32_at};
use serde::{Deserialize, Serialize};

/// Where a table came from and how much is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What the importer called the database.
    pub source: String,
    /// When it was imported, in seconds since 1970.
    pub imported_at: u64,
    /// The systems of its packages, most frequent first: `x86_64-linux`.
    pub systems: Vec<String>,
    /// Store paths in the database, with and without libraries.
    pub packages: u64,
    /// Files, folders and links in the database.
    pub entries: u64,
    /// Store paths with libraries, which are the ones in the table.
    pub providers: u64,
    /// Shared objects in the table.
    pub libraries: u64,
    /// Different file names of shared objects.
    pub sonames: u64,
}

/// An index, over bytes that it owns or borrows (a map, a vector, a slice).
#[derive(Debug)]
pub struct Table<B> {
    bytes: B,
    layout: Layout,
    metadata: Metadata,
}

impl<B: AsRef<[u8]>> Table<B> {
    /// Checks the header and takes the bytes.
    ///
    /// # Errors
    /// Not a table, another version's, cut short or damaged in its header; each says what to do.
    pub fn open(bytes: B) -> Result<Table<B>, OpenError> {
        let layout = Layout::read(bytes.as_ref())?;
        let metadata = layout.slice(bytes.as_ref(), Section::Metadata);
        let metadata = serde_json::from_slice(metadata).map_err(|_| OpenError::Damaged("its description"))?;
        Ok(Table { bytes, layout, metadata })
    }

    /// What holds the bytes.
    pub fn source(&self) -> &B {
        &self.bytes
    }

    /// Reads all of the file and compares checksums.
    ///
    /// # Errors
    /// Which part is damaged.
    pub fn verify(&self) -> Result<(), OpenError> {
        self.layout.verify(self.bytes.as_ref())
    }

    /// Where the table came from and how much is in it.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// A number that tables of other contents do not have, as far as checksums tell. Costs nothing to work out.
    pub fn identity(&self) -> u64 {
        self.layout.identity(self.bytes.as_ref())
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    /// The prebuilt `ld.so.cache` of all sonames, if one was attached. It begins on a 4096-byte boundary of
    /// the file.
    pub fn base_cache(&self) -> Option<&[u8]> {
        Some(self.section(Section::BaseCache)).filter(|cache| !cache.is_empty())
    }

    /// All providers of a file name, in the order of their store paths. The name is compared as it is: no
    /// aliases.
    pub fn lookup<'t>(&'t self, soname: &str) -> impl Iterator<Item = Provider<'t>> + use<'t, B> {
        let range = match self.position(soname) {
            Ok(index) => self.providers_of(index),
            Err(_) => 0..0,
        };
        range.filter_map(|index| self.provider(index))
    }

    /// The provider at a store path: `/nix/store/…-zlib-1.3/lib/libz.so.1`.
    pub fn by_store_path(&self, path: &str) -> Option<Provider<'_>> {
        let (store_dir, base, inside) = split_store_path(path)?;
        let file_name = inside.rsplit('/').next()?;
        self.lookup(file_name).find(|provider| {
            provider.package.base == base
                && provider.package.store_dir == store_dir
                && provider.path() == inside
        })
    }

    /// Providers whose path in their package is, or ends with, these components: `dri/swrast_dri.so`.
    pub fn by_suffix<'t>(&'t self, suffix: &str) -> impl Iterator<Item = Provider<'t>> + use<'t, B> {
        let suffix = suffix.trim_start_matches('/').to_owned();
        let file_name = suffix.rsplit('/').next().unwrap_or_default().to_owned();
        self.lookup(&file_name).filter(move |provider| {
            let path = provider.path();
            path.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        })
    }

    /// Providers whose path in their package, or the end of it behind a slash, matches a pattern; `*` is any run of
    /// characters. Reads all of the table: some milliseconds.
    pub fn matching<'t>(&'t self, pattern: &str) -> impl Iterator<Item = Provider<'t>> + use<'t, B> {
        let pattern = format!("*/{}", pattern.trim_start_matches('/'));
        self.providers().filter(move |provider| glob(&pattern, &format!("/{}", provider.path())))
    }

    /// All file names, in byte order.
    pub fn sonames(&self) -> impl Iterator<Item = &str> {
        (0..self.soname_count()).filter_map(|index| self.soname(index))
    }

    /// All file names that begin with `prefix`, in byte order.
    pub fn sonames_with_prefix<'t>(&'t self, prefix: &str) -> impl Iterator<Item = &'t str> + use<'t, B> {
        let prefix = prefix.to_owned();
        let start = self.position(&prefix).unwrap_or_else(|index| index);
        let names = (start..self.soname_count()).map_while(|index| self.soname(index));
        names.take_while(move |name| name.starts_with(&prefix))
    }

    /// Every shared object, by file name and then store path.
    pub fn providers(&self) -> impl Iterator<Item = Provider<'_>> {
        (0..self.soname_count())
            .flat_map(|index| self.providers_of(index))
            .filter_map(|index| self.provider(index))
    }

    fn section(&self, section: Section) -> &[u8] {
        self.layout.slice(self.bytes.as_ref(), section)
    }

    fn string(&self, at: u32) -> Option<&str> {
        let strings = self.section(Section::Strings);
        let at = at as usize;
        let length = usize::from(u16::from_le_bytes(strings.get(at..at.checked_add(2)?)?.try_into().ok()?));
        std::str::from_utf8(strings.get(at + 2..(at + 2).checked_add(length)?)?).ok()
    }

    /// The last record is a sentinel: it ends the providers of the name before it.
    fn soname_count(&self) -> usize {
        (self.section(Section::Sonames).len() / SONAME).saturating_sub(1)
    }

    fn soname(&self, index: usize) -> Option<&str> {
        self.string(u32_at(self.section(Section::Sonames), index.checked_mul(SONAME)?)?)
    }

    /// Where a name is, or would be.
    fn position(&self, soname: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.soname_count());
        while low < high {
            let middle = low + (high - low) / 2;
            // An unreadable name sorts first: a damaged table finds less, and nothing worse.
            match self.soname(middle).unwrap_or_default().cmp(soname) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn providers_of(&self, soname: usize) -> std::ops::Range<usize> {
        let records = self.section(Section::Sonames);
        let first =
            |index: usize| u32_at(records, index.checked_mul(SONAME)?.checked_add(4)?).map(|at| at as usize);
        let all = self.section(Section::Providers).len() / PROVIDER;
        match (first(soname), first(soname + 1)) {
            (Some(start), Some(end)) => start.min(all)..end.min(all),
            _ => 0..0,
        }
    }

    fn provider(&self, index: usize) -> Option<Provider<'_>> {
        let record = self.section(Section::Providers).get(index.checked_mul(PROVIDER)?..)?;
        Provider::decode(record, |at| self.string(at), |package| self.package(package))
    }

    fn package(&self, index: u32) -> Option<PackageRef<'_>> {
        let record = self.section(Section::Packages).get((index as usize).checked_mul(PACKAGE)?..)?;
        PackageRef::decode(record, |at| self.string(at))
    }
}

#[cfg(test)]
mod tests;
