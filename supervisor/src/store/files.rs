//! The files of the store, as this process can read them: at `/nix/store`, or, where the embedded store is in use and
//! not mounted there, below a folder of its own. Knows nothing of validity; what is there has been checked before.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;

use super::StorePath;
use crate::guest::remote::{GuestRoot, Presence, is_finished, names};

/// Where every store path says that it lies.
pub(crate) const STORE: &str = "/nix/store";

/// The files of the store in use.
#[derive(Debug, Default)]
pub(crate) struct StoreFiles {
    /// A folder that has a `nix/store` of its own, in which the absolute links of packages are followed. It is asked first.
    elsewhere: Option<GuestRoot>,
}

impl StoreFiles {
    /// Those at `/nix/store` and no others.
    pub(crate) fn in_place() -> Self {
        Self::default()
    }

    /// Those of the store below `root`. If it has been mounted at `/nix/store`, they are simply in place.
    pub(crate) fn below(root: &Path) -> io::Result<Self> {
        let objects = fs::metadata(root.join(STORE.trim_start_matches('/')))?;
        let mounted = fs::metadata(STORE)
            .is_ok_and(|there| (there.dev(), there.ino()) == (objects.dev(), objects.ino()));
        Ok(Self { elsewhere: if mounted { None } else { Some(GuestRoot::at(root)?) } })
    }

    /// Must the loader be given files that it cannot open by itself?
    pub(crate) fn are_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Opens a file that lies elsewhere, for the loader.
    pub(crate) fn open_elsewhere(&self, path: &Path) -> Option<File> {
        self.root_of(path)?.open(path).ok()
    }

    /// What stat(2) would say if the path lay where it says.
    pub(crate) fn stat_elsewhere(&self, path: &Path) -> Option<FileStat> {
        self.root_of(path)?.stat(path).ok()
    }

    /// Opens a regular file of the store.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        self.open_elsewhere(path).map_or_else(|| File::open(path), Ok)
    }

    /// All of a regular file of the store; nothing if it cannot be read.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path).and_then(|mut file| file.read_to_end(&mut bytes)).ok()?;
        Some(bytes)
    }

    /// What there is at a path in the store.
    pub(crate) fn presence(&self, path: &Path) -> Presence {
        match self.stat_elsewhere(path) {
            Some(_) => Presence::Complete, // objects are put in their place when they are whole
            None => Presence::of(fs::metadata(path)),
        }
    }

    /// An object is there and has been written to its end. Whether its references are there too is not looked at.
    pub(crate) fn is_complete(&self, object: &StorePath) -> bool {
        let path = Path::new(object.as_str());
        self.stat_elsewhere(path).is_some() || fs::symlink_metadata(path).is_ok_and(|data| is_finished(&data))
    }

    /// The path in the store at which a file really lies; a link's folder is not where its neighbours are.
    pub(crate) fn real_path(&self, path: &Path) -> PathBuf {
        let elsewhere = self.root_of(path).and_then(|root| root.real_path(path).ok());
        elsewhere.or_else(|| path.canonicalize().ok()).unwrap_or_else(|| path.to_owned())
    }

    /// The names in a folder of the store, in no order; none if it cannot be read.
    pub(crate) fn names_in(&self, folder: &Path) -> Vec<String> {
        let elsewhere = self.root_of(folder).and_then(|root| root.names_in(folder).ok());
        elsewhere.or_else(|| names(folder).ok()).unwrap_or_default()
    }

    fn root_of(&self, path: &Path) -> Option<&GuestRoot> {
        self.elsewhere.as_ref().filter(|_| path.starts_with(STORE))
    }
}
