//! What happens to one load, the stages in order, on one screen.
//!
//! A path that the loader opens → what it is → is it there → who provides it → what to do. The function is total and
//! touches nothing; [`crate::serve`] carries out what it says. In doubt the call goes through: a program is never worse
//! off than without us.

use std::path::Path;

use crate::guest::remote::Presence;
use crate::index::Choice;

/// What a folder is to a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folder {
    /// Where libraries usually are, and in nobody's search path as far as we know: a file in it is asked for by its
    /// whole path, or because the search has come to its end.
    Usual,
    /// The loader's own, or a usual one that is in a search path: the served cache may not have been asked yet.
    Searched,
    /// Any other.
    Other,
}

/// What is known about the world at the moment of a load.
pub(crate) trait Knowledge {
    /// Is this the path of the cache of a loader in the tree?
    fn is_cache(&self, path: &Path) -> bool;
    /// What kind of folder is this to a loader of the tree?
    fn folder(&self, folder: &Path) -> Folder;
    /// Does the served cache know this soname?
    fn is_served(&self, soname: &str) -> bool;
    /// What there is at this path.
    fn presence(&self, path: &Path) -> Presence;
    /// Which package has the file at this path in the store.
    fn at(&self, path: &Path) -> Option<Choice>;
    /// Which package is to provide this soname.
    fn choose(&self, soname: &str) -> Option<Choice>;
}

/// What is to be done about one load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is there, or none of our business.
    LetThrough,
    /// Give the served cache.
    ServeCache,
    /// It is a library in a package that is not there yet, or not whole: realise it, then let the call through.
    Realise(Choice),
    /// The loader found it nowhere and this is the last place: realise what provides it, and return that file.
    Redirect(Choice),
    /// The loader found it nowhere, and nobody provides it.
    Missing(String),
}

/// Decides about an open of `path`.
pub(crate) fn decide(path: &Path, knowledge: &impl Knowledge) -> Step {
    if !path.is_absolute() {
        return Step::LetThrough;
    }
    if knowledge.is_cache(path) {
        return Step::ServeCache;
    }
    let folder = path.parent().map_or(Folder::Other, |folder| knowledge.folder(folder));
    let in_store = path.starts_with("/nix/store");
    if folder == Folder::Other && !in_store {
        return Step::LetThrough;
    }
    // Variants for newer processors are never provided: what is not there, is not there. Most opens of a start are these.
    if path.ancestors().any(|folder| folder.ends_with("glibc-hwcaps")) {
        return Step::LetThrough;
    }
    match knowledge.presence(path) {
        Presence::Complete => Step::LetThrough,
        // Outside of the store nobody sets time stamps.
        Presence::Unfinished if !in_store => Step::LetThrough,
        Presence::Unfinished => knowledge.at(path).map_or(Step::LetThrough, Step::Realise),
        Presence::Absent if folder != Folder::Other => {
            let Some(soname) = path.file_name().and_then(|name| name.to_str()) else {
                return Step::LetThrough;
            };
            match knowledge.choose(soname) {
                // To return it here would take the cache's place, and that of every folder that is searched before it.
                Some(_) if folder == Folder::Searched && knowledge.is_served(soname) => Step::LetThrough,
                Some(choice) => Step::Redirect(choice),
                None => Step::Missing(soname.to_owned()),
            }
        }
        Presence::Absent => knowledge.at(path).map_or(Step::LetThrough, Step::Realise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StorePath;

    const OBJECT: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1";
    const FILE: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1/lib/libz.so.1";

    /// A world with one package, zlib, and one loader, Debian's.
    struct World(Presence);

    fn zlib() -> Choice {
        Choice {
            object: StorePath::new(OBJECT).unwrap(),
            file: FILE.into(),
            attribute: "zlib".into(),
            output: "out".into(),
        }
    }

    impl Knowledge for World {
        fn is_cache(&self, path: &Path) -> bool {
            path == Path::new("/etc/ld.so.cache")
        }
        fn folder(&self, folder: &Path) -> Folder {
            match folder.to_str() {
                Some("/usr/lib") => Folder::Usual,
                Some("/lib64") => Folder::Searched,
                _ => Folder::Other,
            }
        }
        fn is_served(&self, soname: &str) -> bool {
            soname == "libz.so.1"
        }
        fn presence(&self, _: &Path) -> Presence {
            self.0
        }
        fn at(&self, path: &Path) -> Option<Choice> {
            (path == Path::new(FILE)).then(zlib)
        }
        fn choose(&self, soname: &str) -> Option<Choice> {
            ["libz.so.1", "libz-alias.so"].contains(&soname).then(zlib)
        }
    }

    fn step(path: &str, presence: Presence) -> Step {
        decide(Path::new(path), &World(presence))
    }

    #[test]
    fn the_cache_is_served() {
        assert_eq!(step("/etc/ld.so.cache", Presence::Absent), Step::ServeCache);
    }

    #[test]
    fn a_library_of_a_package_is_realised_before_it_is_opened() {
        assert_eq!(step(FILE, Presence::Absent), Step::Realise(zlib()));
        assert_eq!(step(FILE, Presence::Unfinished), Step::Realise(zlib()));
        assert_eq!(step(FILE, Presence::Complete), Step::LetThrough);
        let variant = FILE.replace("lib/libz", "lib/glibc-hwcaps/x86-64-v3/libz");
        assert_eq!(step(&variant, Presence::Absent), Step::LetThrough);
    }

    #[test]
    fn the_last_place_is_redirected() {
        assert_eq!(step("/usr/lib/libz.so.1", Presence::Absent), Step::Redirect(zlib()));
        assert_eq!(step("/usr/lib/libz.so.1", Presence::Unfinished), Step::LetThrough);
        assert_eq!(step("/usr/lib/libq.so.1", Presence::Absent), Step::Missing("libq.so.1".into()));
        assert_eq!(step("/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1", Presence::Absent), Step::LetThrough);
    }

    #[test]
    fn a_folder_that_is_searched_does_not_take_the_caches_place() {
        assert_eq!(step("/lib64/libz.so.1", Presence::Absent), Step::LetThrough);
        assert_eq!(step("/lib64/libz-alias.so", Presence::Absent), Step::Redirect(zlib()));
        assert_eq!(step("/lib64/libq.so.1", Presence::Absent), Step::Missing("libq.so.1".into()));
    }

    #[test]
    fn everything_else_is_none_of_our_business() {
        for path in ["libz.so.1", "./libz.so.1", "", "/opt/app/libz.so.1", "/nix/store", "/", "/etc/passwd"] {
            assert_eq!(step(path, Presence::Absent), Step::LetThrough, "{path}");
        }
        let other_file = format!("{OBJECT}/lib/libother.so.1");
        assert_eq!(step(&other_file, Presence::Absent), Step::LetThrough);
    }
}
