//! An `ld.so.cache`: what can be read can be written again, in the same order, and patched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_resolve::ldcache::{self, Change, Entry};

fuzz_target!(|bytes: &[u8]| {
    let Ok(entries) = ldcache::parse(bytes) else { return };
    let written = ldcache::write(&entries).unwrap();
    let again = ldcache::parse(&written).unwrap();
    assert_eq!(ldcache::write(&again).unwrap(), written);
    let changes =
        [("libz.so.1", Change::Provide("/nix/store/x/lib/libz.so.1")), ("libc.so.6", Change::Withdraw)];
    // A cache of somebody else's may have its entries in another order, and strings among them.
    let _ = ldcache::patch(bytes, 0x0303, &changes);
    let patched = ldcache::parse(&ldcache::patch(&written, 0x0303, &changes).unwrap()).unwrap();
    // As the loader compares: numbers by their value, so that `libz.so.01` is `libz.so.1`.
    let same = |entry: &Entry, name: &str| ldcache::compare(&entry.soname, name).is_eq();
    let is =
        |name| patched.iter().any(|entry| same(entry, name) && (entry.flags, entry.hwcap) == (0x0303, 0));
    assert!(is("libz.so.1") && !is("libc.so.6"));
});
