//! A table against a linear scan of the packages it was made from, and refusal of what is not one.

use super::super::nix_index::{Library, LibraryKind, Package, Stats};
use super::*;
use proptest::prelude::*;

fn package(seed: u8, toplevel: bool, paths: &[&str]) -> Package {
    Package {
        store_dir: "/nix/store".into(),
        hash: format!("{seed:032}"),
        name: format!("name{seed}-1.{seed}"),
        attr: format!("attr{seed}"),
        output: "out".into(),
        toplevel,
        system: Some("x86_64-linux".into()),
        libraries: paths
            .iter()
            .enumerate()
            .map(|(at, path)| Library {
                path: (*path).into(),
                kind: match at % 2 {
                    0 => LibraryKind::Regular { size: at as u64 + 7 },
                    _ => LibraryKind::Symlink { target: "elsewhere.so".into() },
                },
            })
            .collect(),
        links_into: Vec::new(),
    }
}

fn table_of(packages: &[Package], base_cache: &[u8]) -> Vec<u8> {
    let mut builder = TableBuilder::new();
    packages.iter().cloned().for_each(|package| builder.add(package));
    let about = About { source: "test".into(), imported_at: 1_700_000_000 };
    builder.build(about, &Stats::default()).to_bytes(base_cache)
}

fn sample() -> Vec<u8> {
    table_of(
        &[
            package(1, true, &["lib/libz.so.1", "lib/libz.so", "lib/zlib/libz.so.1"]),
            package(2, false, &["lib/libz.so.1", "lib/dri/swrast_dri.so"]),
        ],
        b"cache bytes",
    )
}

fn names() -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec("lib(/[ab]{1,2})?/lib[a-d]\\.so(\\.[12])?", 0..8), 0..8)
}

proptest! {
    #[test]
    fn lookup_equals_a_linear_scan(contents in names(), probe in "lib[a-e]\\.so(\\.[12])?") {
        let packages: Vec<_> = contents.iter().enumerate().map(|(seed, paths)| {
            let mut paths: Vec<_> = paths.iter().map(String::as_str).collect();
            paths.sort_unstable();
            paths.dedup();
            package(seed as u8, seed % 2 == 0, &paths)
        }).collect();
        let table = Table::open(table_of(&packages, b"")).unwrap();
        table.verify().unwrap();
        let mut expected: Vec<String> = packages.iter().flat_map(|package| {
            package.libraries.iter()
                .filter(|library| library.path.ends_with(&format!("/{probe}")))
                .map(|library| format!("/nix/store/{}-{}/{}", package.hash, package.name, library.path))
        }).collect();
        let mut found: Vec<String> = table.lookup(&probe).map(|provider| provider.store_path()).collect();
        found.sort();
        expected.sort();
        prop_assert_eq!(&found, &expected);
        for path in &expected {
            prop_assert_eq!(&table.by_store_path(path).unwrap().store_path(), path);
        }
        let total: usize = packages.iter().map(|package| package.libraries.len()).sum();
        prop_assert_eq!(table.providers().count(), total);
        prop_assert!(table.sonames().is_sorted());
        let prefix = "libb";
        let by_scan: Vec<_> = table.sonames().filter(|name| name.starts_with(prefix)).collect();
        prop_assert_eq!(table.sonames_with_prefix(prefix).collect::<Vec<_>>(), by_scan);
    }

    #[test]
    fn damage_is_refused_or_survived(at in any::<prop::sample::Index>(), value: u8, cut: bool) {
        let mut bytes = table_of(&[package(1, true, &["lib/libz.so.1", "lib/dri/swrast_dri.so"])], b"");
        let at = at.index(bytes.len());
        let same = bytes[at] == value;
        bytes[at] = value;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(table) = Table::open(&bytes) {
            prop_assert!(same || table.verify().is_err(), "a change that no checksum saw at {}", at);
            let _ = table.lookup("libz.so.1").count();
            table.providers().for_each(|provider| drop(provider.store_path()));
            let _ = table.by_suffix("dri/swrast_dri.so").count();
        }
    }
}

#[test]
fn a_provider_says_all_that_the_database_said() {
    let bytes = sample();
    let table = Table::open(bytes.as_slice()).unwrap();
    let found: Vec<_> = table.lookup("libz.so.1").collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].package.store_path(), format!("/nix/store/{:032}-name1-1.1", 1));
    assert_eq!((found[0].package.attr, found[0].package.output), ("attr1", "out"));
    assert_eq!(found[0].package.name(), "name1-1.1");
    assert_eq!((found[0].dir, found[0].size, found[0].kind), ("lib", 7, LinkTarget::Regular));
    assert_eq!(found[1].dir, "lib/zlib");
    assert!(!found[2].package.toplevel);
    let link = table.lookup("libz.so").next().unwrap();
    assert_eq!(link.kind, LinkTarget::Symlink("elsewhere.so"));
    assert_eq!(table.lookup("libz.so.2").count(), 0);
    assert_eq!(table.metadata().libraries, 5);
    assert_eq!(table.metadata().systems, ["x86_64-linux"]);
    assert_eq!(table.base_cache(), Some(b"cache bytes".as_slice()));
}

#[test]
fn a_suffix_matches_whole_components() {
    let table = Table::open(sample()).unwrap();
    assert_eq!(table.by_suffix("dri/swrast_dri.so").count(), 1);
    assert_eq!(table.by_suffix("lib/dri/swrast_dri.so").count(), 1);
    assert_eq!(table.by_suffix("ri/swrast_dri.so").count(), 0);
    assert_eq!(table.by_suffix("/lib/libz.so.1").count(), 2);
}

#[test]
fn a_pattern_matches_a_whole_path_or_its_end_behind_a_slash() {
    let table = Table::open(sample()).unwrap();
    assert_eq!(table.matching("swrast_*.so").count(), 1);
    assert_eq!(table.matching("dri/*").count(), 1);
    assert_eq!(table.matching("/lib/libz.so*").count(), 3);
    assert_eq!(table.matching("ast_dri.so").count(), 0);
    assert_eq!(table.matching("*").count(), table.providers().count());
}

#[test]
fn tables_of_other_contents_have_other_identities() {
    let one = Table::open(sample()).unwrap();
    assert_eq!(one.identity(), Table::open(sample()).unwrap().identity());
    let other = Table::open(table_of(&[package(9, true, &["lib/liba.so"])], b"")).unwrap();
    assert_ne!(one.identity(), other.identity());
}

#[test]
fn popularity_counts_environments_and_builds_seen_as_references() {
    let (zlib, mut copy, mut env) =
        (package(1, true, &["lib/liba.so"]), package(2, false, &["lib/liba.so"]), package(3, true, &[]));
    copy.name = zlib.name.clone();
    env.links_into = vec![format!("{}-{}", zlib.hash, zlib.name)];
    let bytes = table_of(&[zlib, copy, env], b"");
    let table = Table::open(&bytes).unwrap();
    let popularity: Vec<_> = table.lookup("liba.so").map(|provider| provider.package.popularity).collect();
    assert_eq!(popularity, [2, 0], "an environment and a copy; the copy does not lean on itself");
}

#[test]
fn a_store_path_is_split_at_its_hash() {
    let hash = "1".repeat(32);
    let path = format!("/home/me/store/{hash}-zlib-1.3/lib/libz.so.1");
    let base = format!("{hash}-zlib-1.3");
    assert_eq!(split_store_path(&path), Some(("/home/me/store", base.as_str(), "lib/libz.so.1")));
    assert_eq!(split_store_path("/usr/lib/libz.so.1"), None);
    assert_eq!(split_store_path(&format!("{hash}-x/lib")), None);
    assert_eq!(split_store_path(&format!("/nix/store/{hash}-x")), None);
}

#[test]
fn what_is_not_this_formats_table_is_refused_with_what_to_do() {
    let good = sample();
    let refused = |bytes: &[u8]| Table::open(bytes).unwrap_err();
    assert_eq!(refused(b"NIXI\x01"), OpenError::NotATable);
    assert_eq!(refused(b""), OpenError::NotATable);
    let mut newer = good.clone();
    newer[12] = 2;
    assert_eq!(refused(&newer), OpenError::Version { found: 2 });
    let mut foreign = good.clone();
    foreign[8..12].reverse();
    assert_eq!(refused(&foreign), OpenError::ForeignEndian);
    assert!(matches!(refused(&good[..good.len() - 1]), OpenError::Length { .. }));
    let mut damaged = good.clone();
    damaged[40] ^= 1;
    assert_eq!(refused(&damaged), OpenError::Damaged("its header"));
    for error in [refused(&newer), refused(&foreign), refused(&damaged), OpenError::NotATable] {
        assert!(error.to_string().contains("sonde index import"), "{error}");
    }
    let mut later = good.clone();
    let last = later.len() - 1;
    later[last] ^= 1;
    assert_eq!(Table::open(&later).unwrap().verify(), Err(OpenError::Damaged("its prebuilt cache")));
}
