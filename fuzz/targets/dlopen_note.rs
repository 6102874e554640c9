//! The JSON in `.note.dlopen`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_resolve::dlopen_note;

fuzz_target!(|payload: &[u8]| {
    for note in dlopen_note::parse(payload).unwrap_or_default() {
        assert!(!note.sonames.is_empty());
    }
});
