//! The real writer's databases, where they are at hand: `SONDE_NIX_INDEX_DATA` names the folder that has
//! `full/files`, `small/files` and `debian-to-attr.tsv.gz`. Without it these tests pass without having
//! looked.
//!
//! In `--release` they take a few seconds.

mod ground_truth;

use sonde_resolve::choose::Rule;
use sonde_resolve::choose::rules::RULES;
use sonde_resolve::import::{Import, import};
use sonde_resolve::index::table::{About, Table};
use sonde_resolve::ldcache;
use sonde_resolve::lists::{GroupKind, Lists};
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

fn data() -> Option<PathBuf> {
    std::env::var_os("SONDE_NIX_INDEX_DATA").map(PathBuf::from)
}

fn import_file(path: PathBuf) -> Result<Import, Box<dyn Error>> {
    let about = About { source: "test".into(), imported_at: 0 };
    Ok(import(File::open(path)?, about, Lists::built_in())?)
}

#[test]
fn every_package_and_entry_is_read() -> Result<(), Box<dyn Error>> {
    let Some(data) = data() else { return Ok(()) };
    let small = import_file(data.join("small/files"))?;
    assert_eq!((small.stats.packages, small.stats.entries), (2_000, 109_974));
    let full = import_file(data.join("full/files"))?;
    assert_eq!((full.stats.packages, full.stats.entries), (62_053, 8_470_257));
    Ok(())
}

#[test]
fn the_index_is_a_fraction_of_the_database_and_sound() -> Result<(), Box<dyn Error>> {
    let Some(data) = data() else { return Ok(()) };
    let path = data.join("full/files");
    let database = path.metadata().unwrap().len() as usize;
    let made = import_file(path)?;
    assert!(made.bytes.len() * 2 <= database, "{} of {database} bytes", made.bytes.len());
    let table = Table::open(made.bytes).unwrap();
    table.verify().unwrap();
    assert!(table.sonames().is_sorted());
    assert!(table.lookup("libz.so.1").any(|provider| provider.package.attr == "zlib"));
    let cache = ldcache::parse(table.base_cache().unwrap()).unwrap();
    assert!(cache.len() > 20_000);
    let lists = Lists::built_in();
    for entry in &cache {
        assert!(entry.path.starts_with("/nix/store/") && entry.path.ends_with(&format!("/{}", entry.soname)));
        assert!(
            matches!(lists.kind_of(&entry.soname), None | Some(GroupKind::GccRuntime)),
            "{}",
            entry.soname
        );
        let provider = table.by_store_path(&entry.path).unwrap();
        assert!(!provider.dir.contains("stubs"));
    }
    Ok(())
}

#[test]
fn debians_own_choice_comes_first_for_99_of_100_sonames() -> Result<(), Box<dyn Error>> {
    let Some(data) = data() else { return Ok(()) };
    let table = Table::open(import_file(data.join("full/files"))?.bytes).unwrap();
    let map = ground_truth::DebianMap::read(&data.join("debian-to-attr.tsv.gz")).unwrap();
    let rules: Vec<&'static Rule> = RULES.iter().collect();
    let mut truths = vec![ground_truth::from_contents(&table, &map)];
    if let Ok(shlibs) = ground_truth::from_shlibs("/var/lib/dpkg/info".as_ref(), &table, &map) {
        truths.push(shlibs);
    }
    for truth in &truths {
        for lists in [Lists::built_in(), &Lists::built_in().without_preferences()] {
            let score = ground_truth::measure(&table, truth, lists, &rules);
            assert!(score.top_1() >= 0.99, "{:.4}: {:?}", score.top_1(), score.misses);
            assert!(score.top_3() >= score.top_1());
            assert!(
                score.contested * 4 > score.asked && score.several_right * 10 < score.asked,
                "a weak truth"
            );
            assert!(score.excluded + score.absent < score.asked);
        }
    }
    Ok(())
}
