//! What happens to one load, the stages in order, on one screen.
//!
//! A path that the loader opens → what it is → is it there → who provides it → what to do. The function is total and
//! touches nothing; [`crate::serve`] carries out what it says. In doubt the call goes through: a program is never worse
//! off than without us.

use std::path::{Path, PathBuf};

use crate::guest::remote::Presence;
use crate::index::Choice;
use crate::plan::folders::paths_in_packages;

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
    /// Is this open one step of a search through folders, of which this is one? Otherwise the loader was given the whole
    /// path. In doubt it is a search.
    fn is_search(&self, folder: &Path) -> bool;
    /// The seed of this name, which the served cache has too.
    fn seed(&self, soname: &str) -> Option<PathBuf>;
    /// Does the served cache know this soname?
    fn is_served(&self, soname: &str) -> bool;
    /// What there is at this path.
    fn presence(&self, path: &Path) -> Presence;
    /// Which package has the file at this path in the store.
    fn at(&self, path: &Path) -> Option<Choice>;
    /// Which package is to provide this soname.
    fn choose(&self, soname: &str) -> Option<Choice>;
    /// Which package has the longest of these paths.
    fn choose_by_path(&self, paths: &[String]) -> Option<Choice>;
    /// Does the served cache have a driver of the host of this name?
    fn is_served_by_the_host(&self, soname: &str) -> bool;
    /// The host's file for the longest of these paths in its driver folder; a path that is a name alone counts only if it
    /// is a driver's, or the policy leaves it to the host.
    fn driver(&self, paths: &[String]) -> Option<PathBuf>;
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
    /// The program names a place where distributions have drivers: return the host's own file.
    Driver(PathBuf),
    /// The same with a seed, which is there.
    Seed(PathBuf),
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
    let Some(parent) = path.parent() else { return Step::LetThrough };
    let folder = knowledge.folder(parent);
    let in_store = path.starts_with("/nix/store");
    let modules = if folder == Folder::Other && !in_store { paths_in_packages(path) } else { Vec::new() };
    if folder == Folder::Other && !in_store && modules.is_empty() {
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
        Presence::Absent if folder != Folder::Other => library(path, parent, folder, knowledge),
        Presence::Absent if in_store => knowledge.at(path).map_or(Step::LetThrough, Step::Realise),
        Presence::Absent => module(&modules, parent, knowledge),
    }
}

/// Something in a folder where libraries are is not there: its name says what it is.
fn library(path: &Path, parent: &Path, folder: Folder, knowledge: &impl Knowledge) -> Step {
    let Some(soname) = path.file_name().and_then(|name| name.to_str()) else { return Step::LetThrough };
    // To return it in a search would take the cache's place, and that of every folder that is searched before it.
    let goes_on = || folder == Folder::Searched && knowledge.is_search(parent);
    if let Some(seed) = knowledge.seed(soname) {
        return if goes_on() { Step::LetThrough } else { Step::Seed(seed) };
    }
    match knowledge.choose(soname) {
        Some(_) if goes_on() && knowledge.is_served(soname) => Step::LetThrough,
        Some(choice) => Step::Redirect(choice),
        None => match knowledge.driver(&[soname.to_owned()]) {
            Some(file) if !goes_on() || !knowledge.is_served_by_the_host(soname) => Step::Driver(file),
            _ => Step::Missing(soname.to_owned()),
        },
    }
}

/// Something in a folder of its own below one where libraries are is not there: its path says what it is. A search of
/// such a folder is for a name alone, which the cache is asked for afterwards.
fn module(paths: &[String], parent: &Path, knowledge: &impl Knowledge) -> Step {
    if knowledge.is_search(parent) {
        return Step::LetThrough;
    }
    if let Some(file) = knowledge.driver(paths) {
        return Step::Driver(file);
    }
    knowledge.choose_by_path(paths).map_or(Step::LetThrough, Step::Redirect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StorePath;

    const OBJECT: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1";
    const FILE: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1/lib/libz.so.1";

    /// A world with one package, zlib, that has a module as well, and one loader, Debian's. The program gives whole paths, or
    /// searches.
    struct World {
        presence: Presence,
        searches: bool,
    }

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
        fn seed(&self, soname: &str) -> Option<PathBuf> {
            (soname == "libseed.so.1").then(|| "/seeds/libseed.so.1".into())
        }
        fn is_served(&self, soname: &str) -> bool {
            soname == "libz.so.1"
        }
        fn is_search(&self, _: &Path) -> bool {
            self.searches
        }
        fn presence(&self, _: &Path) -> Presence {
            self.presence
        }
        fn at(&self, path: &Path) -> Option<Choice> {
            (path == Path::new(FILE)).then(zlib)
        }
        fn choose(&self, soname: &str) -> Option<Choice> {
            ["libz.so.1", "libz-alias.so"].contains(&soname).then(zlib)
        }
        fn choose_by_path(&self, paths: &[String]) -> Option<Choice> {
            paths.iter().any(|path| path == "z/modules/deflate.so").then(zlib)
        }
        fn is_served_by_the_host(&self, soname: &str) -> bool {
            soname == "libcuda.so.1"
        }
        fn driver(&self, paths: &[String]) -> Option<PathBuf> {
            let known = ["libhost-only.so.1", "lib/dri/iris_dri.so", "libcuda.so.1"];
            let path = paths.iter().find(|path| known.contains(&path.as_str()))?;
            Some(Path::new("/host").join(path))
        }
    }

    /// In a search.
    fn step(path: &str, presence: Presence) -> Step {
        decide(Path::new(path), &World { presence, searches: true })
    }

    /// By its whole path, where there is nothing.
    fn step_named(path: &str) -> Step {
        decide(Path::new(path), &World { presence: Presence::Absent, searches: false })
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
    fn a_seed_is_returned_where_no_search_goes_on_that_would_find_it() {
        assert_eq!(step("/lib64/libseed.so.1", Presence::Absent), Step::LetThrough);
        assert_eq!(step_named("/usr/lib/libseed.so.1"), Step::Seed("/seeds/libseed.so.1".into()));
    }

    #[test]
    fn a_whole_path_is_redirected_even_in_a_folder_that_is_searched() {
        assert_eq!(step_named("/lib64/libz.so.1"), Step::Redirect(zlib()));
        assert_eq!(step_named("/usr/lib/libz.so.1"), Step::Redirect(zlib()));
        assert_eq!(step_named("/lib64/libq.so.1"), Step::Missing("libq.so.1".into()));
    }

    #[test]
    fn a_module_is_known_by_its_path_and_never_in_a_search() {
        let module = "/usr/lib/x86_64-linux-gnu/z/modules/deflate.so";
        assert_eq!(step_named(module), Step::Redirect(zlib()));
        assert_eq!(step(module, Presence::Absent), Step::LetThrough);
        assert_eq!(step(module, Presence::Unfinished), Step::LetThrough);
        assert_eq!(step_named("/usr/lib/app/libz.so.1"), Step::LetThrough);
        assert_eq!(step_named("/opt/z/modules/deflate.so"), Step::LetThrough);
        assert_eq!(step_named("/usr/lib/z/modules/glibc-hwcaps/x86-64-v3/deflate.so"), Step::LetThrough);
    }

    #[test]
    fn a_driver_is_the_hosts_wherever_it_is_asked_for() {
        assert_eq!(
            step_named("/usr/lib64/dri/iris_dri.so"),
            Step::Driver("/host/lib/dri/iris_dri.so".into())
        );
        assert_eq!(step_named("/usr/lib/libcuda.so.1"), Step::Driver("/host/libcuda.so.1".into()));
        assert_eq!(step_named("/lib64/libcuda.so.1"), Step::Driver("/host/libcuda.so.1".into()));
        assert_eq!(step("/lib64/libcuda.so.1", Presence::Absent), Step::Missing("libcuda.so.1".into()));
        assert_eq!(
            step("/lib64/libhost-only.so.1", Presence::Absent),
            Step::Driver("/host/libhost-only.so.1".into())
        );
        assert_eq!(step_named("/opt/app/dri/iris_dri.so"), Step::LetThrough);
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
