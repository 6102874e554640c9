//! The indexes of this user, opened: which package provides a soname.
//!
//! The files are mapped and looked up in place; ranking and coverage are `sonde_resolve::choose`'s. Here is what these
//! need of a file system: the databases by name and in order ([`registry`]), their coming and going ([`import`],
//! [`update`]), the lists, the symbol sets of libraries that were looked at, and how far a program's own demand is put
//! to the candidates ([`fitting`]).

mod base;
pub(crate) mod fitting;
pub(crate) mod import;
pub(crate) mod late;
mod lists;
pub(crate) mod origin;
mod packages;
pub(crate) mod registry;
pub(crate) mod symbols;
pub(crate) mod update;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use sonde_resolve::choose::{
    Candidate, Context, NearMiss, Resemblance, candidates, near_misses, newest_package, serve, serve_path,
};
use sonde_resolve::index::table::{LinkTarget, OpenError, Provider, Table};
use sonde_resolve::lists::{Group, GroupKind, Lists};
use thiserror::Error;

use crate::settings::Settings;
use crate::store::{StoreFiles, StorePath};
use crate::sys::mapped_file::MappedFile;
use base::Base;
use lists::ListsProblem;
use packages::Packages;
use registry::{Entry, Registry};
use symbols::Symbols;

/// The soname under which every glibc has its loader, and where in its package.
const LOADER: &str = "ld-linux-x86-64.so.2";
const LIBRARY_FOLDER: &str = "lib";

/// The databases in the order in which they are asked.
pub(crate) struct Index {
    entries: Vec<Entry>,
    tables: Vec<Table<MappedFile>>,
    lists: Cow<'static, Lists>,
    added_lists: Vec<String>,
    base: Base,
    symbols: Symbols,
    packages: OnceLock<Packages>,
    problems: Vec<IndexError>,
    folder: PathBuf,
}

/// The provider that was chosen for a soname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    /// The store object that must be valid.
    pub(crate) object: StorePath,
    /// The library in it.
    pub(crate) file: PathBuf,
    /// Its attribute in nixpkgs.
    pub(crate) attribute: String,
    /// Its output.
    pub(crate) output: String,
}

impl Choice {
    /// Attribute and output of the package, as people are told of it.
    pub(crate) fn package(&self) -> String {
        format!("{}.{}", self.attribute, self.output)
    }
}

/// What is wrong with an index, or with all of them.
#[derive(Debug, Error)]
pub(crate) enum IndexError {
    /// None was imported.
    #[error(
        "there is no index in {}; fetch one with `sonde index update`, or import a nix-index database with `sonde \
         index import FILE`",
        .0.display()
    )]
    None(PathBuf),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file is not an index.
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: OpenError },
    /// Lists that were added by hand.
    #[error(transparent)]
    Lists(#[from] ListsProblem),
}

impl Index {
    /// Opens the user's databases and the system's. What is no index is left out, as long as there is another:
    /// [`Index::problems`] has it.
    /// `store` has the packages that are there to be compared.
    pub(crate) fn open(settings: &Settings, store: Arc<StoreFiles>) -> Result<Self, IndexError> {
        let index = Self::open_if_any(settings, store)?;
        if index.is_empty() { Err(IndexError::None(index.folder)) } else { Ok(index) }
    }

    /// The same, and an index that knows nothing where there is no database.
    ///
    /// # Errors
    /// There are databases, and all of them are damaged.
    pub(crate) fn open_if_any(settings: &Settings, store: Arc<StoreFiles>) -> Result<Self, IndexError> {
        let registry = Registry::of(settings);
        let mut index = Self::with_lists(settings, store);
        for entry in registry.entries() {
            match open_table(&entry.path) {
                Ok(table) => {
                    index.entries.push(entry);
                    index.tables.push(table);
                }
                Err(error) => {
                    tracing::warn!(%error, "an index cannot be used");
                    index.problems.push(error);
                }
            }
        }
        if index.tables.is_empty() {
            let is_damage = |problem: &IndexError| !matches!(problem, IndexError::Lists(_));
            if let Some(damaged) = index.problems.iter().position(is_damage) {
                return Err(index.problems.swap_remove(damaged));
            }
        }
        Ok(index)
    }

    /// Where this user's databases are put.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Is there no database?
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    fn with_lists(settings: &Settings, store: Arc<StoreFiles>) -> Self {
        let loaded = lists::load(settings);
        for problem in &loaded.problems {
            tracing::warn!(%problem, "lists are left out");
        }
        Self {
            entries: Vec::new(),
            tables: Vec::new(),
            lists: loaded.lists,
            added_lists: loaded.added,
            base: Base::in_cache(&settings.cache),
            symbols: Symbols::of(settings, store),
            packages: OnceLock::new(),
            problems: loaded.problems.into_iter().map(IndexError::Lists).collect(),
            folder: Registry::of(settings).folder().to_owned(),
        }
    }

    /// Is the package in the store, and whole?
    pub(crate) fn is_there(&self, object: &StorePath) -> bool {
        self.symbols.is_complete(object)
    }

    /// What was left out, and why.
    pub(crate) fn problems(&self) -> &[IndexError] {
        &self.problems
    }

    /// The database's name.
    pub(crate) fn name_of(&self, database: usize) -> &str {
        self.entries.get(database).map_or("", |entry| &entry.name)
    }

    /// The best provider of a soname, unless it is one that no package may provide. What the program needs of it is
    /// not looked at: [`Index::choose_all`] does.
    pub(crate) fn choose(&self, soname: &str) -> Option<Choice> {
        let served = serve(soname, &self.databases(), true, &Context::bare(&self.lists))?;
        choice(&served.provider)
    }

    /// The best provider of the longest of these paths inside packages that anybody has, unless its name is one that no
    /// package may provide.
    pub(crate) fn choose_by_path(&self, paths: &[String]) -> Option<Choice> {
        choice(&serve_path(paths, &self.databases(), &Context::bare(&self.lists))?.provider)
    }

    /// Everybody who has a soname, in no particular order.
    pub(crate) fn candidates(&self, soname: &str) -> Vec<Candidate<'_>> {
        candidates(soname, &self.databases(), &self.lists)
    }

    /// Why no package may provide a soname, if none may.
    pub(crate) fn exclusion_of(&self, soname: &str) -> Option<&Group> {
        self.lists.exclusion_of(soname)
    }

    /// Names that resemble one that nobody has, of all databases.
    pub(crate) fn near_misses(&self, soname: &str, limit: usize) -> Vec<NearMiss> {
        let mut all: Vec<NearMiss> =
            self.tables.iter().flat_map(|table| near_misses(soname, table, limit)).collect();
        // Each database has them in order; the sort keeps that among those of one kind.
        all.sort_by_key(|near| near.kind);
        let mut seen = HashSet::new();
        all.retain(|near| seen.insert(near.soname.clone()));
        // Who has another version of the very library meant no other one.
        if all.first().is_some_and(|near| near.kind == Resemblance::OtherVersion) {
            all.retain(|near| near.kind == Resemblance::OtherVersion);
        }
        all.truncate(limit);
        all
    }

    /// Every library whose path ends with these components or matches the pattern, with its database.
    pub(crate) fn files(&self, pattern: &str) -> Vec<(usize, Provider<'_>)> {
        let mut found = Vec::new();
        for (database, table) in self.tables.iter().enumerate() {
            let exact = table.by_store_path(pattern);
            let several: Box<dyn Iterator<Item = Provider<'_>>> = match pattern.contains('*') {
                _ if exact.is_some() => Box::new(exact.into_iter()),
                true => Box::new(table.matching(pattern)),
                false => Box::new(table.by_suffix(pattern)),
            };
            found.extend(several.map(|provider| (database, provider)));
        }
        found
    }

    /// The size of a library in bytes, through links as far as the database knows where they lead.
    pub(crate) fn size_of(&self, database: usize, provider: &Provider<'_>) -> Option<u64> {
        let table = self.tables.get(database)?;
        let mut path = provider.store_path();
        // As many links as the kernel follows (MAXSYMLINKS, include/linux/namei.h).
        for _ in 0..40 {
            let found = table.by_store_path(&path)?;
            match found.kind {
                LinkTarget::Regular => return Some(found.size),
                LinkTarget::Symlink(target) => path = lead(&path, target)?,
            }
        }
        None
    }

    /// The provider that a path in the store belongs to, if an index knows the file.
    pub(crate) fn at(&self, path: &Path) -> Option<Choice> {
        let path = path.to_str()?;
        self.tables.iter().find_map(|table| choice(&table.by_store_path(path)?))
    }

    /// The loader of the newest glibc of all databases: older programs run with a newer one, and libraries of the newer
    /// database do not with an older one.
    pub(crate) fn loader(&self) -> Option<Choice> {
        let all = candidates(LOADER, &self.databases(), &self.lists);
        let in_place = all.into_iter().filter(|candidate| candidate.provider.dir == LIBRARY_FOLDER).collect();
        choice(&newest_package(in_place, &Context::bare(&self.lists))?.provider)
    }

    /// The prebuilt served cache of all databases.
    pub(crate) fn base_cache(&self) -> Option<&[u8]> {
        self.base.get(&self.databases(), &self.lists, &self.added_lists)
    }

    /// Gives back the memory of what a start has read: a tree may run for weeks and ask for a few names more.
    pub(crate) fn release(&self) {
        self.tables.iter().for_each(|table| table.source().release());
        self.base.release();
    }

    /// Does this soname belong to a driver of the kernel?
    pub(crate) fn is_driver(&self, soname: &str) -> bool {
        self.lists.kind_of(soname) == Some(GroupKind::Driver)
    }

    /// Does this soname belong to glibc itself?
    pub(crate) fn is_glibc(&self, soname: &str) -> bool {
        self.lists.kind_of(soname) == Some(GroupKind::Glibc)
    }

    /// Does this soname belong to gcc's runtime, of which a process has one?
    pub(crate) fn is_gcc_runtime(&self, soname: &str) -> bool {
        self.lists.kind_of(soname) == Some(GroupKind::GccRuntime)
    }

    fn databases(&self) -> Vec<&Table<MappedFile>> {
        self.tables.iter().collect()
    }
}

/// Where a link at a path leads, without looking at the file system.
fn lead(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { path.split('/').collect() };
    parts.pop();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(format!("/{}", parts.join("/")))
}

/// A provider as others speak of it; nothing for one whose store path is none that Nix could make.
pub(crate) fn choice(provider: &Provider<'_>) -> Option<Choice> {
    Some(Choice {
        object: StorePath::new(&provider.package.store_path())?,
        file: provider.store_path().into(),
        attribute: provider.package.attr.to_owned(),
        output: provider.package.output.to_owned(),
    })
}

/// Opens one database's file.
pub(crate) fn open_table(path: &Path) -> Result<Table<MappedFile>, IndexError> {
    let file = File::open(path).and_then(|file| MappedFile::open(&file));
    let file = file.map_err(|source| IndexError::Read { path: path.to_owned(), source })?;
    Table::open(file).map_err(|source| IndexError::Open { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
