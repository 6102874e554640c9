//! What a binary cache says of a store path: only what was signed is trusted.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

const SIGNED: &str = include_str!("../seeds/narinfo/signed");

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    sonde::fuzzing::narinfo(text, SIGNED);
    Corpus::Keep
});
