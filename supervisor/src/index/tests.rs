//! Several databases asked as one, with indexes made on the spot.

mod fitting;

use std::fs;

use sonde_resolve::choose::base_cache;
use sonde_resolve::index::nix_index::{Library, LibraryKind, Package, Stats};
use sonde_resolve::index::table::{About, TableBuilder};
use sonde_resolve::ldcache;
use tempfile::TempDir;

use super::registry::Place;
use super::*;

/// A user with folders of their own.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn settings(&self) -> Settings {
        let folder = |name: &str| self.folder.path().join(name);
        Settings {
            cache: folder("cache"),
            index_folders: vec![folder("cache/index"), folder("system/index")],
            configuration: vec![folder("etc"), folder("config")],
            ..Settings::from_environment()
        }
    }

    /// Adds a database, asked last.
    fn import(&self, name: &str, packages: &[Package]) -> PathBuf {
        let mut builder = TableBuilder::new();
        packages.iter().cloned().for_each(|package| builder.add(package));
        let image = builder.build(About { source: name.into(), imported_at: 0 }, &Stats::default());
        let base = base_cache::build(&[&image.table().unwrap()], Lists::built_in()).unwrap();
        let registry = Registry::of(&self.settings());
        registry.install(name, &image.to_bytes(&base), None, &Place::Keep).unwrap()
    }

    fn lists(&self, text: &str) {
        fs::create_dir_all(self.folder.path().join("config")).unwrap();
        fs::write(self.folder.path().join("config/lists.toml"), text).unwrap();
    }

    fn open(&self) -> Index {
        Index::open(&self.settings(), Arc::default()).unwrap()
    }
}

/// A package of that attribute; a path may be a link, `lib/a.so -> b.so`.
fn package(attr: &str, paths: &[&str]) -> Package {
    // Letters that a store path's hash may have.
    let hash: String = attr.bytes().map(|byte| char::from(b'a' + (byte % 4))).collect();
    Package {
        store_dir: "/nix/store".into(),
        hash: format!("{hash:0>32}"),
        name: format!("{attr}-1.0"),
        attr: attr.into(),
        output: "out".into(),
        toplevel: true,
        system: None,
        libraries: paths
            .iter()
            .map(|path| match path.split_once(" -> ") {
                Some((path, target)) => {
                    Library { path: path.into(), kind: LibraryKind::Symlink { target: target.into() } }
                }
                None => Library { path: (*path).into(), kind: LibraryKind::Regular { size: 50_000 } },
            })
            .collect(),
        links_into: Vec::new(),
    }
}

fn named(package: Package, name: &str) -> Package {
    Package { name: name.into(), ..package }
}

fn chosen(index: &Index, soname: &str) -> Option<String> {
    index.choose(soname).map(|choice| choice.attribute)
}

#[test]
fn the_first_database_decides_and_the_next_fills_its_gaps() {
    let user = User::new();
    user.import("default", &[package("openssl", &["lib/libssl.so.3"])]);
    user.import("nixos-23.05", &[package("openssl_old", &["lib/libssl.so.3", "lib/libssl.so.1.1"])]);
    let index = user.open();
    assert_eq!(chosen(&index, "libssl.so.3"), Some("openssl".into()));
    assert_eq!(chosen(&index, "libssl.so.1.1"), Some("openssl_old".into()));
    assert_eq!(index.name_of(1), "nixos-23.05");
}

#[test]
fn a_public_library_of_a_later_database_beats_a_private_one_of_the_first() {
    let user = User::new();
    user.import("default", &[package("app", &["lib/app/libq.so.1"])]);
    user.import("older", &[package("q", &["lib/libq.so.1"])]);
    assert_eq!(chosen(&user.open(), "libq.so.1"), Some("q".into()));
}

#[test]
fn of_glibc_and_gccs_runtime_the_newest_is_taken_whichever_database_has_it() {
    let user = User::new();
    let libraries = ["lib/ld-linux-x86-64.so.2", "lib/libstdc++.so.6"];
    user.import("default", &[named(package("old", &libraries), "glibc-2.38-44")]);
    user.import("newer", &[named(package("new", &libraries), "glibc-2.40-66")]);
    let index = user.open();
    assert_eq!(index.loader().unwrap().attribute, "new");
    assert_eq!(chosen(&index, "libstdc++.so.6"), Some("new".into()));
}

#[test]
fn the_served_cache_has_what_would_be_chosen_from_all_databases() {
    let user = User::new();
    user.import("default", &[package("zlib", &["lib/libz.so.1", "lib/z/libprivate.so.3"])]);
    let one = user.open();
    let before = one.base_cache().unwrap().to_vec();
    user.import("older", &[package("older", &["lib/libz.so.1", "lib/libold.so.1", "lib/libc.so.6"])]);
    let both = user.open();
    let cache = ldcache::parse(both.base_cache().unwrap()).unwrap();
    let mut names: Vec<&str> = cache.iter().map(|entry| entry.soname.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["libold.so.1", "libprivate.so.3", "libz.so.1"]);
    for entry in &cache {
        assert_eq!(both.choose(&entry.soname).unwrap().file, Path::new(&entry.path));
    }
    assert_eq!(one.base_cache(), Some(before.as_slice()), "an open index stays as it is");
    assert_eq!(user.open().base_cache(), both.base_cache(), "kept for the next one");
    Registry::of(&user.settings()).remove("older").unwrap();
    assert_eq!(user.open().base_cache(), Some(before.as_slice()));
}

#[test]
fn a_common_cache_that_is_cut_short_is_made_anew() {
    let user = User::new();
    user.import("a", &[package("zlib", &["lib/libz.so.1"])]);
    user.import("b", &[package("q", &["lib/libq.so.1"])]);
    let whole = user.open().base_cache().unwrap().to_vec();
    let kept = fs::read_dir(user.settings().cache.join("base")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&kept).unwrap();
    fs::write(&kept, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(user.open().base_cache(), Some(whole.as_slice()));
    assert_eq!(fs::read(&kept).unwrap(), bytes);
}

#[test]
fn the_users_lists_count_everywhere() {
    let user = User::new();
    user.import("default", &[package("q", &["lib/libq.so.1", "lib/libz.so.1"])]);
    user.lists(
        "[[group]]\nkind = 'never'\nreason = 'not here'\nsonames = ['libq.so.1']\n\
                [[alias]]\nasked = 'libother.so.1'\nprovided = ['libz.so.1']\nreason = 'ours'\n",
    );
    let index = user.open();
    assert_eq!(chosen(&index, "libq.so.1"), None);
    assert_eq!(index.exclusion_of("libq.so.1").unwrap().reason, "not here");
    assert_eq!(chosen(&index, "libother.so.1"), Some("q".into()));
    assert_eq!(ldcache::parse(index.base_cache().unwrap()).unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_index_is_left_out_and_told() {
    let user = User::new();
    let damaged = user.import("damaged", &[package("q", &["lib/libq.so.1"])]);
    user.import("default", &[package("zlib", &["lib/libz.so.1"])]);
    let mut newer = fs::read(&damaged).unwrap();
    newer[12] = 9;
    for bytes in [&b"hello"[..], &newer, &newer[..100]] {
        fs::write(&damaged, bytes).unwrap();
        let index = user.open();
        assert_eq!(chosen(&index, "libz.so.1"), Some("zlib".into()));
        assert_eq!(index.name_of(0), "default");
        let problem = index.problems()[0].to_string();
        assert!(problem.contains("damaged.index") && problem.contains("import"), "{problem}");
    }
    Registry::of(&user.settings()).remove("default").unwrap();
    assert!(matches!(Index::open(&user.settings(), Arc::default()), Err(IndexError::Open { .. })));
}

#[test]
fn without_a_database_it_is_said_how_to_get_one() {
    let user = User::new();
    user.lists("[[grop]]");
    let Err(error) = Index::open(&user.settings(), Arc::default()) else { panic!("nothing was imported") };
    assert!(error.to_string().contains("sonde index update"), "{error}");
}

#[test]
fn files_are_found_by_path_by_its_end_and_by_pattern() {
    let user = User::new();
    user.import("default", &[package("mesa", &["lib/dri/swrast_dri.so", "lib/libgbm.so.1"])]);
    let index = user.open();
    let found = |pattern: &str| -> Vec<String> {
        index.files(pattern).into_iter().map(|(_, provider)| provider.path()).collect()
    };
    let exact = index.choose("libgbm.so.1").unwrap().file;
    for pattern in ["libgbm.so.1", "lib/libgbm.so.1", "libgbm.so.*", "lib/libg*", exact.to_str().unwrap()] {
        assert_eq!(found(pattern), ["lib/libgbm.so.1"], "{pattern}");
    }
    assert_eq!(found("dri/*"), ["lib/dri/swrast_dri.so"]);
    assert_eq!(found("gbm.so.1"), [""; 0]);
}

#[test]
fn a_links_size_is_that_of_what_it_leads_to() {
    let user = User::new();
    let links = [
        "lib/libz.so.1 -> libz.so.1.3",
        "lib/libz.so.1.3",
        "lib/x/libz.so -> ../libz.so.1",
        "lib/loop.so -> loop.so",
        "lib/gone.so -> ../../nowhere.so",
    ];
    user.import("default", &[package("zlib", &links)]);
    let index = user.open();
    let size = |name: &str| {
        let candidates = index.candidates(name);
        index.size_of(0, &candidates[0].provider)
    };
    assert_eq!([size("libz.so.1"), size("libz.so"), size("libz.so.1.3")], [Some(50_000); 3]);
    assert_eq!([size("loop.so"), size("gone.so")], [None, None]);
}

#[test]
fn near_misses_of_all_databases_are_told_once() {
    let user = User::new();
    user.import("a", &[package("foo", &["lib/libfoo.so.1"])]);
    user.import("b", &[package("foo_old", &["lib/libfoo.so.1", "lib/libfoo.so.0", "lib/libfob.so.2"])]);
    let near = user.open().near_misses("libfoo.so.2", 9);
    let names: Vec<&str> = near.iter().map(|near| near.soname.as_str()).collect();
    assert_eq!(names, ["libfoo.so.1", "libfoo.so.0"]);
    let typo = user.open().near_misses("libfop.so.2", 9);
    assert!(typo.iter().any(|near| near.soname == "libfob.so.2"), "{typo:?}");
}
