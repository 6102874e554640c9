//! What happens to one load, the stages in order, on one screen.
//!
//! A path that the loader opens → what it is → is it there → who provides it → what to do. The function is total and
//! touches nothing; [`crate::serve`] carries out what it says. In doubt the call goes through: a program is never worse
//! off than without us.

use std::path::Path;

use crate::guest::remote::Presence;
use crate::index::Choice;

/// What is known about the world at the moment of a load.
pub(crate) trait Knowledge {
    /// Is this the path of the cache of a loader in the tree?
    fn is_cache(&self, path: &Path) -> bool;
    /// Is this a folder that a loader in the tree searches last: its own, or one of the usual places for libraries?
    fn is_last_folder(&self, folder: &Path) -> bool;
    /// What there is at this path, in the program's root.
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
    let last = path.parent().is_some_and(|folder| knowledge.is_last_folder(folder));
    let in_store = path.starts_with("/nix/store");
    if !last && !in_store {
        return Step::LetThrough;
    }
    match knowledge.presence(path) {
        Presence::Complete => Step::LetThrough,
        // Outside of the store nobody sets time stamps.
        Presence::Unfinished if !in_store => Step::LetThrough,
        Presence::Unfinished => knowledge.at(path).map_or(Step::LetThrough, Step::Realise),
        Presence::Absent if last => {
            let Some(soname) = path.file_name().and_then(|name| name.to_str()) else {
                return Step::LetThrough;
            };
            match knowledge.choose(soname) {
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
        fn is_last_folder(&self, folder: &Path) -> bool {
            folder == Path::new("/usr/lib")
        }
        fn presence(&self, _: &Path) -> Presence {
            self.0
        }
        fn at(&self, path: &Path) -> Option<Choice> {
            (path == Path::new(FILE)).then(zlib)
        }
        fn choose(&self, soname: &str) -> Option<Choice> {
            (soname == "libz.so.1").then(zlib)
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
    }

    #[test]
    fn the_last_place_is_redirected() {
        assert_eq!(step("/usr/lib/libz.so.1", Presence::Absent), Step::Redirect(zlib()));
        assert_eq!(step("/usr/lib/libz.so.1", Presence::Unfinished), Step::LetThrough);
        assert_eq!(step("/usr/lib/libq.so.1", Presence::Absent), Step::Missing("libq.so.1".into()));
        assert_eq!(step("/usr/lib/glibc-hwcaps/x86-64-v3/libz.so.1", Presence::Absent), Step::LetThrough);
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
