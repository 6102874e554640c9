//! A kept symbol set, damaged behind a checksum that is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_resolve::choose::SymbolSet;

/// Magic, version and checksum; see `choose/symbol_set.rs`.
const HEAD: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if let Some(body) = bytes.get(HEAD..) {
        let checksum = crc32fast::hash(body);
        bytes[HEAD - 4..HEAD].copy_from_slice(&checksum.to_le_bytes());
    }
    let Ok(set) = SymbolSet::from_bytes(&bytes) else { return };
    let _ = (set.soname(), set.defines("deflate"), set.defines_version("deflate", "ZLIB_1.2.9"));
    assert_eq!(SymbolSet::from_bytes(&set.to_bytes()).unwrap(), set);
});
