//! Makes a table from packages, all in memory: about 40 MB for the whole of nixpkgs.

use super::super::nix_index::{Package, Stats};
use super::layout::assemble;
use super::provider::{PackageRef, Provider};
use super::{Metadata, OpenError, Table};
use std::collections::{BTreeMap, HashMap};

/// What the caller knows of the database.
#[derive(Clone, Debug)]
pub struct About {
    /// What to call it.
    pub source: String,
    /// Now, in seconds since 1970; this crate has no clock.
    pub imported_at: u64,
}

/// Collects packages.
#[derive(Debug, Default)]
pub struct TableBuilder {
    packages: Vec<Package>,
    /// Store paths by `hash-name`: how many others link into them.
    links: HashMap<String, u32>,
    /// Builds by name that were only found as references.
    copies: HashMap<String, u32>,
    systems: BTreeMap<String, u64>,
}

impl TableBuilder {
    /// An empty one.
    pub fn new() -> TableBuilder {
        TableBuilder::default()
    }

    /// Adds a package. The order of packages does not matter.
    pub fn add(&mut self, package: Package) {
        for base in &package.links_into {
            *self.links.entry(base.clone()).or_default() += 1;
        }
        if package.libraries.is_empty() {
            return;
        }
        if !package.toplevel {
            *self.copies.entry(package.name.clone()).or_default() += 1;
        }
        if let Some(system) = &package.system {
            *self.systems.entry(system.clone()).or_default() += 1;
        }
        self.packages.push(package);
    }

    /// The finished table, still without a base cache.
    pub fn build(mut self, about: About, stats: &Stats) -> TableImage {
        self.packages.sort_by(|a, b| (&a.hash, &a.name).cmp(&(&b.hash, &b.name)));
        let mut files: Vec<(&str, u32, &str, usize)> = Vec::new();
        for (package, index) in self.packages.iter().zip(0u32..) {
            for (at, library) in package.libraries.iter().enumerate() {
                let (dir, name) = library.path.rsplit_once('/').unwrap_or(("", &library.path));
                files.push((name, index, dir, at));
            }
        }
        files.sort_unstable();

        let mut strings = Strings::new();
        let (mut sonames, mut providers) = (Vec::new(), Vec::new());
        let (mut last, mut distinct) = (None, 0u64);
        // Names first and in order: a binary search then stays within few pages.
        for &(name, ..) in &files {
            strings.add(name);
        }
        for (&(name, package, dir, at), position) in files.iter().zip(0u32..) {
            if last != Some(name) {
                last = Some(name);
                distinct += 1;
                sonames.extend_from_slice(&strings.add(name).to_le_bytes());
                sonames.extend_from_slice(&position.to_le_bytes());
            }
            let library = self.packages.get(package as usize).and_then(|package| package.libraries.get(at));
            if let Some(library) = library {
                Provider::encode(
                    package,
                    (dir, name),
                    &library.kind,
                    |text| strings.add(text),
                    &mut providers,
                );
            }
        }
        sonames.extend_from_slice(&Strings::EMPTY.to_le_bytes());
        sonames.extend_from_slice(&u32::try_from(files.len()).unwrap_or(u32::MAX).to_le_bytes());

        let mut packages = Vec::new();
        for package in &self.packages {
            let base = format!("{}-{}", package.hash, package.name);
            let copies = self.copies.get(&package.name).copied().unwrap_or(0) - u32::from(!package.toplevel);
            let popularity = self.links.get(&base).copied().unwrap_or(0).saturating_add(copies);
            PackageRef::encode(package, |text| strings.add(text), popularity, &mut packages);
        }
        let mut systems: Vec<_> = self.systems.into_iter().collect();
        systems.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let metadata = Metadata {
            source: about.source,
            imported_at: about.imported_at,
            systems: systems.into_iter().map(|(system, _)| system).collect(),
            packages: stats.packages,
            entries: stats.entries,
            providers: self.packages.len() as u64,
            libraries: files.len() as u64,
            sonames: distinct,
        };
        let metadata = serde_json::to_vec(&metadata).unwrap_or_default();
        TableImage { metadata, strings: strings.bytes, packages, sonames, providers }
    }
}

/// A table's contents before they become a file.
#[derive(Debug)]
pub struct TableImage {
    metadata: Vec<u8>,
    strings: Vec<u8>,
    packages: Vec<u8>,
    sonames: Vec<u8>,
    providers: Vec<u8>,
}

impl TableImage {
    /// The file, with a prebuilt cache or none (an empty slice).
    pub fn to_bytes(&self, base_cache: &[u8]) -> Vec<u8> {
        assemble([&self.metadata, &self.strings, &self.packages, &self.sonames, &self.providers, base_cache])
    }

    /// The table, to make its base cache from.
    ///
    /// # Errors
    /// None for an image that [`TableBuilder`] made.
    pub fn table(&self) -> Result<Table<Vec<u8>>, OpenError> {
        Table::open(self.to_bytes(&[]))
    }
}

/// Strings, each kept once, with its length in front.
struct Strings {
    bytes: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Strings {
    /// Offset of the empty string.
    const EMPTY: u32 = 0;

    fn new() -> Strings {
        Strings { bytes: vec![0, 0], known: HashMap::from([(String::new(), Strings::EMPTY)]) }
    }

    /// Offset of a string. One that is too long for its length field, or for the file, becomes the empty
    /// string: no file name or path is 64 KiB.
    fn add(&mut self, text: &str) -> u32 {
        if let Some(&at) = self.known.get(text) {
            return at;
        }
        let (Ok(length), Ok(at)) = (u16::try_from(text.len()), u32::try_from(self.bytes.len())) else {
            return Strings::EMPTY;
        };
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.known.insert(text.to_owned(), at);
        at
    }
}
