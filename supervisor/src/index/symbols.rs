//! What libraries in the store define, read once and kept.
//!
//! A store path never changes, so a set is good for ever; it lies under the store path's name in
//! `$XDG_CACHE_HOME/sonde/symbols/`. A damaged or unreadable set is made anew, and one that cannot be kept is only
//! slower.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_resolve::choose::SymbolSet;
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::elf::symbols::SymbolFacts;

use super::Choice;
use super::registry::FILE_MODE;
use crate::settings::Settings;
use crate::store::{StoreFiles, StorePath};
use crate::sys::mapped_file::MappedFile;
use crate::sys::whole_file::write;

/// The kept symbol sets of this user.
#[derive(Debug, Clone)]
pub(crate) struct Symbols {
    folder: PathBuf,
    store: Arc<StoreFiles>,
}

impl Symbols {
    pub(crate) fn of(settings: &Settings, store: Arc<StoreFiles>) -> Self {
        Self { folder: settings.cache.join("symbols"), store }
    }

    /// Is the package there, and whole?
    pub(super) fn is_complete(&self, object: &StorePath) -> bool {
        self.store.is_complete(object)
    }

    /// What a library defines, if it was read before or its package is there and whole.
    pub(crate) fn look(&self, choice: &Choice) -> Option<SymbolSet> {
        let place = self.place(&choice.object, &choice.file);
        if let Some(kept) = fs::read(&place).ok().and_then(|bytes| SymbolSet::from_bytes(&bytes).ok()) {
            return Some(kept);
        }
        if !self.is_complete(&choice.object) {
            return None;
        }
        let set = self.read(&choice.file)?;
        let kept = place
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| write(&place, &set.to_bytes(), FILE_MODE));
        if let Err(error) = kept {
            tracing::debug!(%error, path = %place.display(), "a symbol set cannot be kept");
        }
        Some(set)
    }

    /// Forgets libraries whose packages are gone.
    pub(crate) fn prune(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let object =
                entry.file_name().to_str().and_then(|base| StorePath::new(&format!("/nix/store/{base}")));
            if object.is_none_or(|object| !self.is_complete(&object)) {
                // Whoever reads it at this moment reads the library instead.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// What any library of the store defines, without keeping it.
    pub(super) fn read(&self, file: &Path) -> Option<SymbolSet> {
        let bytes = self.store.open(file).and_then(|file| MappedFile::open(&file)).ok()?;
        let facts = ElfFacts::parse(bytes.as_ref()).ok()?;
        Some(SymbolSet::of(&facts, &SymbolFacts::parse(bytes.as_ref()).ok()?))
    }

    pub(super) fn place(&self, object: &StorePath, file: &Path) -> PathBuf {
        let inside = file.strip_prefix(object.as_str()).unwrap_or(file);
        // No file name has a NUL or a slash, so the parts stay apart.
        let name = inside.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        self.folder.join(object.base_name()).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1";

    fn choice(inside: &str) -> Choice {
        Choice {
            object: StorePath::new(OBJECT).unwrap(),
            file: Path::new(OBJECT).join(inside),
            attribute: "zlib".into(),
            output: "out".into(),
        }
    }

    #[test]
    fn a_kept_set_is_used_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let symbols = Symbols { folder: folder.path().to_owned(), store: Arc::default() };
        let choice = choice("lib/libz.so.1");
        assert_eq!(symbols.look(&choice), None, "neither kept nor there");
        let place = symbols.place(&choice.object, &choice.file);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let set = symbols.read(&std::env::current_exe().unwrap()).unwrap();
        fs::write(&place, set.to_bytes()).unwrap();
        assert_eq!(symbols.look(&choice), Some(set));
        fs::write(&place, b"SONDESYM").unwrap();
        assert_eq!(symbols.look(&choice), None);
        symbols.prune();
        assert!(!place.exists());
    }

    #[test]
    fn libraries_of_one_package_do_not_share_a_place() {
        let symbols = Symbols { folder: "/s".into(), store: Arc::default() };
        let place = |inside: &str| symbols.place(&choice(inside).object, &choice(inside).file);
        assert_ne!(place("lib/a/liba.so"), place("lib/liba.so"));
        assert_ne!(place("lib/a%2Fliba.so"), place("lib/a/liba.so"));
        assert_eq!(
            place("lib/liba.so").parent(),
            Path::new(OBJECT).file_name().map(|base| Path::new("/s").join(base)).as_deref()
        );
    }
}
