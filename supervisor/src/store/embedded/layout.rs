//! Where things lie in the embedded store, and which of its objects are valid.
//!
//! ```text
//! nix/store/BASE            an object; valid only if it is registered
//! nix/store/.partial-BASE   one that is being unpacked by whoever holds its lock, or was when they died
//! valid/BASE.narinfo        the register: written last, so that what is there is whole
//! lock/BASE                 held (flock(2)) while the object is made; a process that dies lets go of it
//! lock/.gc                  shared while paths are realised, exclusive while garbage is collected
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::EmbeddedError;
use super::narinfo::Narinfo;
use super::remove::remove;
use crate::store::StorePath;
use crate::sys::lock::{self, How};

const REGISTERED: &str = ".narinfo";
const PARTIAL: &str = ".partial-";

/// The folders of a store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

/// Held as long as it lives.
pub(super) struct Lock {
    _file: lock::Lock,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes what is missing.
    pub(super) fn create(&self) -> Result<(), EmbeddedError> {
        for folder in [self.objects(), self.register_folder(), self.locks()] {
            fs::create_dir_all(&folder).map_err(EmbeddedError::disk("creating", &folder))?;
        }
        Ok(())
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.root.join("nix/store")
    }

    pub(super) fn object(&self, path: &StorePath) -> PathBuf {
        self.objects().join(path.base_name())
    }

    pub(super) fn partial_name(path: &StorePath) -> String {
        format!("{PARTIAL}{}", path.base_name())
    }

    pub(super) fn partial(&self, path: &StorePath) -> PathBuf {
        self.objects().join(Self::partial_name(path))
    }

    fn register_folder(&self) -> PathBuf {
        self.root.join("valid")
    }

    fn entry(&self, path: &StorePath) -> PathBuf {
        self.register_folder().join(format!("{}{REGISTERED}", path.base_name()))
    }

    fn locks(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Waits until nobody else makes this object.
    pub(super) fn lock(&self, path: &StorePath) -> Result<Lock, EmbeddedError> {
        self.lock_file(path.base_name(), How::Alone)
    }

    /// Keeps garbage collection away.
    pub(super) fn lock_out_collection(&self) -> Result<Lock, EmbeddedError> {
        self.lock_file(".gc", How::Shared)
    }

    /// Keeps everybody else away.
    pub(super) fn lock_for_collection(&self) -> Result<Lock, EmbeddedError> {
        self.lock_file(".gc", How::Alone)
    }

    fn lock_file(&self, name: &str, how: How) -> Result<Lock, EmbeddedError> {
        let path = self.locks().join(name);
        self.lock_path(&path, how).map_err(EmbeddedError::disk("locking", &path))
    }

    fn lock_path(&self, path: &Path, how: How) -> io::Result<Lock> {
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        loop {
            let held = lock::Lock::take(file, how).map_err(|(_, error)| error)?;
            // Garbage collection removes lock files: then this is the lock of nothing.
            let current = fs::metadata(path).is_ok_and(|there| {
                held.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
            });
            if current {
                return Ok(Lock { _file: held });
            }
            file = File::options().create(true).truncate(false).write(true).open(path)?;
        }
    }

    /// Is it whole?
    pub(super) fn is_valid(&self, path: &StorePath) -> bool {
        self.entry(path).exists() && self.object(path).symlink_metadata().is_ok()
    }

    /// What is known of a valid object.
    pub(super) fn registered(&self, path: &StorePath) -> Option<Narinfo> {
        let info = Narinfo::parse(&fs::read_to_string(self.entry(path)).ok()?).ok()?;
        (info.path == *path && self.object(path).symlink_metadata().is_ok()).then_some(info)
    }

    /// All registered objects, in order.
    pub(super) fn all(&self) -> Vec<StorePath> {
        let names = names(&self.register_folder());
        let bases = names.iter().filter_map(|name| name.strip_suffix(REGISTERED));
        let mut all: Vec<_> =
            bases.filter_map(|base| StorePath::new(&format!("/nix/store/{base}"))).collect();
        all.sort_unstable();
        all
    }

    /// What lies among the objects and is none: half unpacked, or not registered any more.
    pub(super) fn leftovers(&self) -> Vec<PathBuf> {
        let is_left = |name: &String| {
            !StorePath::new(&format!("/nix/store/{name}")).is_some_and(|path| self.entry(&path).exists())
        };
        names(&self.objects()).into_iter().filter(is_left).map(|name| self.objects().join(name)).collect()
    }

    /// The last step: from here on the object, which has reached the disk before, is valid.
    pub(super) fn register(&self, info: &Narinfo) -> Result<(), EmbeddedError> {
        let entry = self.entry(&info.path);
        let unfinished = self.register_folder().join(format!(".{}", info.path.base_name()));
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(info.to_text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &entry)?;
            File::open(self.register_folder())?.sync_all()
        };
        write().map_err(EmbeddedError::disk("writing", &entry))
    }

    /// The first step of removing or replacing it.
    pub(super) fn unregister(&self, path: &StorePath) -> Result<(), EmbeddedError> {
        let entry = self.entry(path);
        remove(&entry).map(drop).map_err(EmbeddedError::disk("removing", &entry))
    }

    /// Removes what nobody holds or waits for while garbage is collected.
    pub(super) fn tidy(&self) {
        for name in names(&self.locks()).into_iter().filter(|name| !name.starts_with('.')) {
            // One that stays is found by the next collection.
            let _ = fs::remove_file(self.locks().join(name));
        }
        for name in names(&self.register_folder()).into_iter().filter(|name| name.starts_with('.')) {
            let _ = fs::remove_file(self.register_folder().join(name));
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
