//! Which databases there are, what they are called, and in which order they are asked.
//!
//! A folder of indexes holds `NAME.index`, beside it `NAME.origin` (where it was fetched from), and one file `order`
//! with a name a line, first asked first. Names that it does not have come last, so that a folder without one works
//! too. The user's folder is looked at first; of the system's, what the user has no database of the same name for.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::settings::Settings;
use crate::sys::lock::{How, Lock};
use crate::sys::whole_file::write;

/// The name of the database that nobody named.
pub(crate) const DEFAULT_NAME: &str = "default";

const SUFFIX: &str = ".index";
const ORIGIN_SUFFIX: &str = ".origin";
const ORDER: &str = "order";
const LOCK: &str = ".lock";

/// Everybody may read an index: root's is the whole system's.
pub(super) const FILE_MODE: u32 = 0o644;

/// One database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The administrator's, not the user's own.
    pub(crate) system: bool,
}

/// Where a database is to stand among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it stands; a new one behind all others.
    Keep,
    First,
    Before(String),
}

/// Why the databases were left as they are.
#[derive(Debug, Error)]
pub(crate) enum RegistryError {
    /// Nobody has this name.
    #[error("there is no database `{name}`; there {}", listed(there))]
    Unknown { name: String, there: Vec<String> },
    /// It is not the user's to change.
    #[error("the database `{0}` is the system's; as root, `sonde index … --system` changes it")]
    Systems(String),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// The folders of one user.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    /// The one that is written to.
    own: PathBuf,
    system: Option<PathBuf>,
}

impl Registry {
    /// The user's databases and the system's.
    pub(crate) fn of(settings: &Settings) -> Self {
        let mut folders = settings.index_folders.iter().cloned();
        let own = folders.next().unwrap_or_default();
        Self { system: folders.next().filter(|system| *system != own), own }
    }

    /// The system's alone, to change them.
    pub(crate) fn of_system(settings: &Settings) -> Self {
        Self { own: settings.index_folders.last().cloned().unwrap_or_default(), system: None }
    }

    /// The folder that databases are imported to.
    pub(crate) fn folder(&self) -> &Path {
        &self.own
    }

    /// All databases, first asked first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let own = entries(&self.own, false);
        let system = self.system.iter().flat_map(|folder| entries(folder, true));
        let mut all = own.clone();
        all.extend(system.filter(|entry| !own.iter().any(|one| one.name == entry.name)));
        let order = read_order(&self.own);
        // What the order does not name keeps its place behind what it does: the sort is stable.
        all.sort_by_key(|entry| order.iter().position(|name| *name == entry.name).unwrap_or(usize::MAX));
        all
    }

    /// The database of this name, which must be there.
    pub(crate) fn find(&self, name: &str) -> Result<Entry, RegistryError> {
        let mut entries = self.entries();
        match entries.iter().position(|entry| entry.name == name) {
            Some(at) => Ok(entries.swap_remove(at)),
            None => Err(RegistryError::Unknown {
                name: name.to_owned(),
                there: entries.into_iter().map(|entry| entry.name).collect(),
            }),
        }
    }

    /// Can a database be placed so?
    pub(crate) fn check(&self, place: &Place) -> Result<(), RegistryError> {
        if let Place::Before(other) = place { self.find(other).map(drop) } else { Ok(()) }
    }

    /// Puts an index and its origin in place, at once and whole: what was there before stays until then, and processes
    /// that have it mapped keep it.
    pub(crate) fn install(
        &self,
        name: &str,
        index: &[u8],
        origin: Option<&[u8]>,
        place: &Place,
    ) -> Result<PathBuf, RegistryError> {
        self.check(place)?;
        let path = self.own.join(format!("{name}{SUFFIX}"));
        let failure = |source| RegistryError::File { path: path.clone(), source };
        self.create_folder().map_err(failure)?;
        let _lock = self.lock().map_err(failure)?;
        let order = placed(self.entries(), name, place);
        write(&path, index, FILE_MODE).map_err(failure)?;
        let origin_path = self.origin_path(name);
        let written = match origin {
            Some(origin) => write(&origin_path, origin, FILE_MODE),
            None => remove(&origin_path),
        };
        written.map_err(|source| RegistryError::File { path: origin_path, source })?;
        self.write_order(&order)?;
        Ok(path)
    }

    /// Removes a database.
    pub(crate) fn remove(&self, name: &str) -> Result<(), RegistryError> {
        let entry = self.find(name)?;
        if entry.system {
            return Err(RegistryError::Systems(entry.name));
        }
        let failure = |source| RegistryError::File { path: entry.path.clone(), source };
        let _lock = self.lock().map_err(failure)?;
        let order = self.entries().into_iter().map(|entry| entry.name);
        let order: Vec<String> = order.filter(|other| other != name).collect();
        fs::remove_file(&entry.path).map_err(failure)?;
        remove(&self.origin_path(name)).map_err(failure)?;
        self.write_order(&order)
    }

    /// Where a database's origin is kept.
    pub(crate) fn origin_path(&self, name: &str) -> PathBuf {
        self.own.join(format!("{name}{ORIGIN_SUFFIX}"))
    }

    fn write_order(&self, names: &[String]) -> Result<(), RegistryError> {
        let path = self.own.join(ORDER);
        let text = names.iter().fold(String::new(), |text, name| text + name + "\n");
        write(&path, text.as_bytes(), FILE_MODE).map_err(|source| RegistryError::File { path, source })
    }

    fn create_folder(&self) -> io::Result<()> {
        let missing: Vec<&Path> = self.own.ancestors().take_while(|folder| !folder.exists()).collect();
        fs::create_dir_all(&self.own)?;
        // A umask that keeps files private must not keep the system's index from its users.
        let shared = if self.system.is_none() { missing } else { Vec::new() };
        shared.iter().try_for_each(|folder| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
    }

    /// Two imports at once must not both write the order that they read before.
    fn lock(&self) -> io::Result<Lock> {
        let file = File::options().create(true).truncate(false).write(true).open(self.own.join(LOCK))?;
        Lock::take(file, How::Alone).map_err(|(_, error)| error)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The databases in a folder: `default` first, then by name.
fn entries(folder: &Path, system: bool) -> Vec<Entry> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<Entry> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let name = name.strip_suffix(SUFFIX).filter(|name| !name.is_empty() && !name.starts_with('.'))?;
            Some(Entry { name: name.to_owned(), path: file.path(), system })
        })
        .collect();
    found.sort_by(|a, b| (a.name != DEFAULT_NAME, &a.name).cmp(&(b.name != DEFAULT_NAME, &b.name)));
    let order = read_order(folder);
    found.sort_by_key(|entry| order.iter().position(|name| *name == entry.name).unwrap_or(usize::MAX));
    found
}

fn read_order(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join(ORDER)).unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The order with a database at its new place.
fn placed(entries: Vec<Entry>, name: &str, place: &Place) -> Vec<String> {
    let mut order: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    let at = order.iter().position(|other| other == name);
    if let (Some(_), Place::Keep) = (at, place) {
        return order;
    }
    order.retain(|other| other != name);
    let at = match place {
        Place::Keep => order.len(),
        Place::First => 0,
        // In front of itself is where it stood.
        Place::Before(other) if other == name => at.unwrap_or(order.len()),
        Place::Before(other) => order.iter().position(|one| one == other).unwrap_or(order.len()),
    };
    order.insert(at.min(order.len()), name.to_owned());
    order
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "is none; import one with `sonde index import FILE`".to_owned(),
        [one] => format!("is only `{one}`"),
        _ => {
            format!("are {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry =
            Registry { own: folder.path().join("own"), system: Some(folder.path().join("system")) };
        (folder, registry)
    }

    fn names(registry: &Registry) -> Vec<String> {
        registry.entries().into_iter().map(|entry| entry.name).collect()
    }

    fn install(registry: &Registry, name: &str, place: &Place) {
        registry.install(name, b"index", None, place).unwrap();
    }

    #[test]
    fn databases_are_asked_in_the_order_of_their_import() {
        let (_keep, registry) = registry();
        for name in ["zz", "default", "nixos-23.05", "nixos-23.11"] {
            install(&registry, name, &Place::Keep);
        }
        assert_eq!(names(&registry), ["zz", "default", "nixos-23.05", "nixos-23.11"], "dots are no suffix");
        install(&registry, "default", &Place::Keep);
        assert_eq!(names(&registry)[1], "default", "imported again it stays where it is");
        install(&registry, "new", &Place::First);
        install(&registry, "zz", &Place::Before("nixos-23.11".into()));
        assert_eq!(names(&registry), ["new", "default", "nixos-23.05", "zz", "nixos-23.11"]);
        install(&registry, "zz", &Place::Before("zz".into()));
        assert_eq!(names(&registry)[3], "zz");
    }

    #[test]
    fn a_folder_without_an_order_has_the_default_first() {
        let (_keep, registry) = registry();
        for name in ["a", "default", "b"] {
            install(&registry, name, &Place::Keep);
        }
        fs::remove_file(registry.own.join(ORDER)).unwrap();
        assert_eq!(names(&registry), ["default", "a", "b"]);
    }

    #[test]
    fn the_systems_databases_keep_their_place_and_the_users_own_hide_those_of_their_name() {
        let (_keep, registry) = registry();
        let system = Registry { own: registry.system.clone().unwrap(), system: None };
        install(&system, "default", &Place::Keep);
        install(&system, "old", &Place::Keep);
        install(&registry, "nixos-23.05", &Place::Keep);
        assert_eq!(names(&registry), ["default", "old", "nixos-23.05"], "a new one is asked last");
        install(&registry, "old", &Place::Keep);
        let old = registry.find("old").unwrap();
        assert!(!old.system && old.path.starts_with(&registry.own));
        assert!(matches!(registry.remove("default"), Err(RegistryError::Systems(_))));
    }

    #[test]
    fn what_is_removed_is_gone_with_its_origin() {
        let (_keep, registry) = registry();
        registry.install("a", b"index", Some(b"{}"), &Place::Keep).unwrap();
        install(&registry, "b", &Place::Keep);
        registry.remove("a").unwrap();
        assert_eq!(names(&registry), ["b"]);
        assert!(!registry.origin_path("a").exists());
        let error = registry.remove("a").unwrap_err().to_string();
        assert_eq!(error, "there is no database `a`; there is only `b`");
    }

    #[test]
    fn everybody_may_read_an_index() {
        let (_keep, registry) = registry();
        let path = registry.install("a", b"index", None, &Place::Keep).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_place_before_nobody_is_refused_before_anything_is_written() {
        let (_keep, registry) = registry();
        let error =
            registry.install("a", b"index", None, &Place::Before("b".into())).unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no database `b`; there is none; import one with `sonde index import FILE`"
        );
        assert!(!registry.own.exists());
    }
}
