//! Seeds: the libraries in folders that the user or the administrator has put together. The loader is given them after
//! what the program finds by itself, and before any package of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_resolve::index::is_shared_object_name;

use super::libraries::Libraries;
use crate::guest::remote::GuestRoot;
use crate::index::Index;
use crate::settings::Settings;
use crate::store::{STORE, StorePath};

/// The beginning of every 64-bit little-endian ELF file, and `EM_X86_64` at byte 18 (elf(5)).
const IDENT: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const MACHINE: [u8; 2] = [62, 0];

/// Folders of seeds as they were when they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seeds {
    folders: Vec<PathBuf>,
    /// Of each folder where it really lies, and when it was changed last, in seconds and nanoseconds.
    stamp: Stamp,
    /// By name.
    files: BTreeMap<String, PathBuf>,
}

/// What changes when a folder leads elsewhere or its content does.
pub(crate) type Stamp = Vec<(PathBuf, i64, i64)>;

/// The folders as they are now.
pub(crate) fn stamp(folders: &[PathBuf], root: &GuestRoot) -> Stamp {
    let stamp = |folder: &PathBuf| {
        let data = root.stat(folder).ok()?;
        let real = root.real_path(folder).unwrap_or_else(|_| folder.clone());
        Some((real, data.st_mtime, data.st_mtime_nsec))
    };
    folders.iter().filter_map(stamp).collect()
}

impl Seeds {
    /// Reads folders in a program's own root; those that do not exist have nothing. `is_wanted` says which names are
    /// taken. Of files with one name the first counts, and what is no library for this machine is passed over, as the
    /// loader does in a search.
    pub(crate) fn read(folders: Vec<PathBuf>, root: &GuestRoot, is_wanted: impl Fn(&str) -> bool) -> Self {
        let stamp = stamp(&folders, root);
        let mut files = BTreeMap::new();
        for folder in &folders {
            for name in root.names_in(folder).unwrap_or_default() {
                if !is_shared_object_name(name.as_bytes()) || files.contains_key(&name) || !is_wanted(&name) {
                    continue;
                }
                let path = folder.join(&name);
                if root.open(&path).is_ok_and(is_library) {
                    files.insert(name, place(&path, root));
                }
            }
        }
        Self { folders, stamp, files }
    }

    /// Those that a program would have if this process started it.
    ///
    /// # Errors
    /// The configuration has a mistake, or our root cannot be read.
    pub(crate) fn of_our_environment(settings: &Settings, index: &Index) -> anyhow::Result<Self> {
        let folders = Libraries::load(settings)?.folders(&fs::read("/proc/self/environ").unwrap_or_default());
        Ok(Self::read(folders, &GuestRoot::own()?, |name| !index.is_glibc(name)))
    }

    /// Were they read from these folders, in this state?
    pub(crate) fn are_of(&self, folders: &[PathBuf], stamp: &Stamp) -> bool {
        self.folders == folders && self.stamp == *stamp
    }

    /// Where they were read from.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The library of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The packages that they lie in, those of them that do.
    pub(crate) fn packages(&self) -> BTreeSet<StorePath> {
        self.files.values().filter_map(|path| StorePath::of_file(path)).collect()
    }

    /// Those whose names are not among these.
    pub(crate) fn without(&self, names: &[String]) -> Self {
        let mut rest = self.clone();
        rest.files.retain(|name, _| !names.contains(name));
        rest
    }
}

fn is_library(mut file: File) -> bool {
    let mut head = [0; 20];
    file.read_exact(&mut head).is_ok() && head.starts_with(&IDENT) && head.ends_with(&MACHINE)
}

/// Where a library lies among those that it came with: folders of seeds are mostly links to packages, and `$ORIGIN` is to
/// mean the package's. What lies in no store is left where it was found.
fn place(path: &Path, root: &GuestRoot) -> PathBuf {
    let found = || {
        let real = root.real_path(path).ok().filter(|real| real.starts_with(STORE))?;
        let sibling = real.with_file_name(path.file_name()?);
        let is_same = root.real_path(&sibling).is_ok_and(|other| other == real);
        Some(if is_same { sibling } else { real })
    };
    found().unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn library() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(&IDENT);
        bytes[18] = 62;
        bytes
    }

    #[test]
    fn the_first_library_of_a_name_counts_and_only_libraries_do() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["a", "b", "nix/store/x-zlib/lib"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        let mut narrow = library();
        narrow[4] = 1;
        fs::write(at("a/libold.so.1"), narrow).unwrap();
        fs::write(at("a/libc.so"), "GROUP ( /lib/libc.so.6 )").unwrap();
        fs::write(at("a/README"), library()).unwrap();
        fs::write(at("a/libglibc.so.6"), library()).unwrap();
        fs::write(at("b/libold.so.1"), library()).unwrap();
        fs::write(at("nix/store/x-zlib/lib/libz.so.1.3"), library()).unwrap();
        symlink("libz.so.1.3", at("nix/store/x-zlib/lib/libz.so.1")).unwrap();
        // Absolute links are the guest's.
        symlink("/nix/store/x-zlib/lib/libz.so.1", at("a/libz.so.1")).unwrap();
        symlink("/nix/store/x-zlib/lib/libz.so.1", at("a/libother.so.9")).unwrap();
        symlink("/nix/store/gone", at("a/libgone.so.1")).unwrap();

        let guest = GuestRoot::at(root.path()).unwrap();
        let folders = vec!["/a".into(), "/none".into(), "/b".into()];
        let seeds = Seeds::read(folders.clone(), &guest, |name| name != "libglibc.so.6");
        let all: Vec<_> = seeds.iter().map(|(name, path)| (name, path.to_str().unwrap())).collect();
        let real = "/nix/store/x-zlib/lib/libz.so.1";
        assert_eq!(
            all,
            [("libold.so.1", "/b/libold.so.1"), ("libother.so.9", &format!("{real}.3")), ("libz.so.1", real)]
        );
        assert!(seeds.are_of(&folders, &stamp(&folders, &guest)));
        assert_eq!(seeds.without(&["libz.so.1".into()]).get("libz.so.1"), None);

        fs::write(at("b/libnew.so"), library()).unwrap();
        assert!(!seeds.are_of(&folders, &stamp(&folders, &guest)), "what is new is noticed");
    }
}
