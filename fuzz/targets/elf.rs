//! ELF files as the supervisor reads them, and their heads as the shim maps them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sonde_interp::elf::{HEAD, Image};
use sonde_resolve::choose::SymbolSet;
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::elf::symbols::SymbolFacts;

fuzz_target!(|bytes: &[u8]| {
    let (facts, symbols) = (ElfFacts::parse(bytes), SymbolFacts::parse(bytes));
    if let Ok(undefined) = SymbolFacts::parse_undefined(bytes)
        && let Ok(symbols) = &symbols
    {
        assert_eq!(undefined, symbols.undefined);
    }
    if let (Ok(facts), Ok(symbols)) = (facts, symbols) {
        let set = SymbolSet::of(&facts, &symbols);
        assert_eq!(SymbolSet::from_bytes(&set.to_bytes()).ok().as_ref(), Some(&set));
        assert!(symbols.defined.iter().all(|symbol| set.defines(&symbol.name)));
    }
    let Ok(image) = Image::parse(&bytes[..bytes.len().min(HEAD)]) else { return };
    assert!(image.start < image.end && image.data_end() <= image.end);
    let mut end = 0;
    for segment in image.segments() {
        assert!(segment.address >= end && segment.file_size <= segment.memory_size);
        end = segment.address + segment.memory_size;
    }
});
