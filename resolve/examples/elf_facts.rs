//! Prints what is read of ELF files, and how long it takes.
//!
//! `cargo run --release -p sonde-resolve --example elf_facts -- FILE…`

use sonde_resolve::choose::SymbolSet;
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::elf::symbols::SymbolFacts;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args_os().skip(1) {
        let bytes = std::fs::read(&path)?;
        let start = Instant::now();
        let facts = ElfFacts::parse(&bytes);
        let facts_took = start.elapsed();
        println!("{} ({} bytes): facts in {facts_took:.1?}", path.display(), bytes.len());
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                println!("    {error}");
                continue;
            }
        };
        let start = Instant::now();
        let symbols = SymbolFacts::parse(&bytes)?;
        let symbols_took = start.elapsed();
        let start = Instant::now();
        SymbolFacts::parse_undefined(&bytes)?;
        let undefined_took = start.elapsed();
        let start = Instant::now();
        let kept = SymbolSet::of(&facts, &symbols).to_bytes();
        println!(
            "    {} undefined and {} defined symbols in {symbols_took:.1?} (undefined only {undefined_took:.1?}); kept in {} bytes, made in {:.1?}",
            symbols.undefined.len(),
            symbols.defined.len(),
            kept.len(),
            start.elapsed()
        );
        println!("    {facts:?}");
    }
    Ok(())
}
