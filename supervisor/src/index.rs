//! The indexes of this user, opened: which package provides a soname.
//!
//! The files are mapped and looked up in place; ranking is `sonde_resolve::choose`'s.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sonde_resolve::choose::{Candidate, Context, rank};
use sonde_resolve::import::{self, ImportError};
use sonde_resolve::index::nix_index::Stats;
use sonde_resolve::index::table::{About, OpenError, Provider, Table};
use sonde_resolve::lists::{GroupKind, Lists};
use thiserror::Error;

use crate::settings::Settings;
use crate::store::StorePath;
use crate::sys::mapped_file::MappedFile;

/// How index files are called.
const SUFFIX: &str = "index";

/// The soname under which every glibc has its loader, and where in its package.
const LOADER: &str = "ld-linux-x86-64.so.2";
const LIBRARY_FOLDER: &str = "lib";

/// Indexes in the order in which they are asked; the first that knows a soname decides.
pub(crate) struct Index {
    tables: Vec<Table<MappedFile>>,
    lists: &'static Lists,
}

/// The provider that was chosen for a soname.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Why there is no index to ask.
#[derive(Debug, Error)]
pub(crate) enum IndexError {
    /// None was imported.
    #[error(
        "there is no index in {}; import a nix-index database with `sonde index import FILE`",
        .0.display()
    )]
    None(PathBuf),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file is not an index.
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: OpenError },
}

impl Index {
    /// Opens the user's indexes, or else the system's. Files that are no index are passed over with a warning, as
    /// long as there is another.
    pub(crate) fn open(settings: &Settings) -> Result<Self, IndexError> {
        let mut failed = None;
        let mut tables = Vec::new();
        for path in files(settings) {
            match open_table(&path) {
                Ok(table) => tables.push(table),
                Err(error) => {
                    tracing::warn!(%error, "an index cannot be used");
                    failed.get_or_insert(error);
                }
            }
        }
        if tables.is_empty() {
            let folder = settings.index_folders.first().cloned().unwrap_or_default();
            return Err(failed.unwrap_or(IndexError::None(folder)));
        }
        Ok(Self { tables, lists: Lists::built_in() })
    }

    /// The best provider of a soname, unless it is one that no package may provide.
    pub(crate) fn choose(&self, soname: &str) -> Option<Choice> {
        if self.lists.kind_of(soname).is_some_and(|kind| kind != GroupKind::GccRuntime) {
            return None;
        }
        self.tables.iter().enumerate().find_map(|(database, table)| {
            let direct =
                table.lookup(soname).map(|provider| Candidate { database, ..Candidate::new(provider) });
            let aliases = self.lists.aliases_of(soname).flat_map(|(name, _)| {
                table.lookup(name).map(|provider| Candidate { database, alias: true, provider })
            });
            let ranked = rank(direct.chain(aliases), &Context::bare(self.lists));
            let best =
                ranked.into_iter().find(|one| one.candidate.is_public() && !one.candidate.is_stub())?;
            choice(&best.candidate.provider)
        })
    }

    /// The provider that a path in the store belongs to, if an index knows the file.
    pub(crate) fn at(&self, path: &Path) -> Option<Choice> {
        let path = path.to_str()?;
        self.tables.iter().find_map(|table| choice(&table.by_store_path(path)?))
    }

    /// The loader of the index's own glibc.
    pub(crate) fn loader(&self) -> Option<Choice> {
        self.tables.iter().find_map(|table| {
            let in_place = table.lookup(LOADER).filter(|provider| provider.dir == LIBRARY_FOLDER);
            let ranked = rank(in_place.map(Candidate::new), &Context::bare(self.lists));
            choice(&ranked.first()?.candidate.provider)
        })
    }

    /// The prebuilt served cache of the first index.
    pub(crate) fn base_cache(&self) -> Option<&[u8]> {
        self.tables.iter().find_map(Table::base_cache)
    }

    /// Does this soname belong to glibc itself?
    pub(crate) fn is_glibc(&self, soname: &str) -> bool {
        self.lists.kind_of(soname) == Some(GroupKind::Glibc)
    }
}

fn choice(provider: &Provider<'_>) -> Option<Choice> {
    Some(Choice {
        object: StorePath::new(&provider.package.store_path())?,
        file: provider.store_path().into(),
        attribute: provider.package.attr.to_owned(),
        output: provider.package.output.to_owned(),
    })
}

fn files(settings: &Settings) -> Vec<PathBuf> {
    settings
        .index_folders
        .iter()
        .map(|folder| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX))
                .collect();
            paths.sort();
            paths
        })
        .find(|paths| !paths.is_empty())
        .unwrap_or_default()
}

fn open_table(path: &Path) -> Result<Table<MappedFile>, IndexError> {
    let file = File::open(path).and_then(|file| MappedFile::open(&file));
    let file = file.map_err(|source| IndexError::Read { path: path.to_owned(), source })?;
    Table::open(file).map_err(|source| IndexError::Open { path: path.to_owned(), source })
}

/// Why an import left everything as it was.
#[derive(Debug, Error)]
pub(crate) enum ImportFailure {
    /// The database is no database, or not one to use.
    #[error("{}: {source}", path.display())]
    Database { path: PathBuf, source: ImportError },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Imports a nix-index database as the user's index `name`. The old index stays in use until the new one is whole,
/// and processes that have it mapped keep it.
pub(crate) fn import(
    settings: &Settings,
    database: &Path,
    name: &str,
    wrap: impl FnOnce(File) -> Box<dyn io::Read>,
) -> Result<(PathBuf, Stats), ImportFailure> {
    let failure = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportFailure::File { path, source }
    };
    let file = File::open(database).map_err(failure(database))?;
    if !file.metadata().map_err(failure(database))?.is_file() {
        return Err(failure(database)(io::Error::other("not a regular file; give a nix-index database")));
    }
    let imported_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let about = About { source: database.display().to_string(), imported_at };
    let imported = import::import(wrap(file), about, Lists::built_in())
        .map_err(|source| ImportFailure::Database { path: database.to_owned(), source })?;

    let folder = settings.cache.join("index");
    let target = folder.join(name).with_extension(SUFFIX);
    let write = || -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(&folder)?;
        temporary.write_all(&imported.bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&target)?;
        Ok(())
    };
    write().map_err(failure(&target))?;
    Ok((target, imported.stats))
}
