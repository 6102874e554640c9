//! Our own index, damaged behind a header whose checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_resolve::choose::near_misses;
use sonde_resolve::index::table::Table;
use sonde_resolve::ldcache;

/// Where the header has the file's length and its own checksum, and where it ends; see `index/table/layout.rs`.
const LENGTH: std::ops::Range<usize> = 16..24;
const CHECKSUM: std::ops::Range<usize> = 24..28;
const HEADER: usize = 176;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEADER {
        let length = bytes.len() as u64;
        bytes[LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes[CHECKSUM].fill(0);
        let checksum = crc32fast::hash(&bytes[..HEADER]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
    let Ok(table) = Table::open(bytes) else { return };
    let _ = table.verify();
    let _ = table.identity();
    for provider in table.providers().take(1000) {
        let _ = table.by_store_path(&provider.store_path());
    }
    for soname in table.sonames().take(1000) {
        let _ = table.lookup(soname).count();
    }
    let _ = (table.by_suffix("lib/libz.so").count(), table.matching("*z*").take(1000).count());
    let _ = (table.sonames_with_prefix("lib").take(1000).count(), near_misses("libz.so.2", &table, 5));
    let _ = table.base_cache().map(ldcache::parse);
});
