//! A nix-index database, given as what is inside of its compressed stream, and all that is made of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_resolve::import::import;
use sonde_resolve::index::table::{About, Table};
use sonde_resolve::ldcache;
use sonde_resolve::lists::Lists;

fuzz_target!(|entries: &[u8]| {
    let mut database = b"NIXI\x01\0\0\0\0\0\0\0".to_vec();
    database.extend(zstd::encode_all(entries, 1).unwrap());
    let about = About { source: "fuzz".into(), imported_at: 0 };
    let Ok(import) = import(database.as_slice(), about, Lists::built_in()) else { return };
    let table = Table::open(import.bytes).unwrap();
    table.verify().unwrap();
    assert_eq!(table.providers().count() as u64, table.metadata().libraries);
    // Another store folder may have in it what looks like a store path.
    for provider in table.providers().filter(|provider| provider.package.store_dir == "/nix/store") {
        assert!(table.by_store_path(&provider.store_path()).is_some());
    }
    assert!(table.sonames().is_sorted());
    ldcache::parse(table.base_cache().unwrap_or_default()).unwrap();
});
