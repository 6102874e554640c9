//! What the real `ld.so` of this machine does is what we say that it does: where it searches, and what it finds in a cache
//! of ours. `LD_DEBUG=libs` is the truth.
//!
//! The files are made up by proptest from a fixed seed, the same in each run; a failure prints the smallest that fails.
//! `PROPTEST_RNG_SEED` and `PROPTEST_CASES` try others.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that panics has failed, which is what is wanted

#[path = "real_loader/cache.rs"]
mod cache;
#[path = "real_loader/elf_writer.rs"]
mod elf_writer;
#[path = "real_loader/search.rs"]
mod search;
#[path = "real_loader/told.rs"]
mod told;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use sonde_resolve::elf::ElfFacts;
use std::path::PathBuf;

/// The loader that started this test. A machine without glibc has none, and nothing to compare with.
fn loader() -> Option<PathBuf> {
    let own = std::fs::read("/proc/self/exe").unwrap();
    let loader = ElfFacts::parse(&own).unwrap().interp.filter(|path| path.contains("ld-linux"));
    if loader.is_none() {
        eprintln!("skipped: this machine's loader is not glibc's");
    }
    loader.map(PathBuf::from)
}

fn config(cases: u32) -> ProptestConfig {
    let chosen = ProptestConfig::default();
    let asked = |name| std::env::var_os(name).is_some();
    ProptestConfig {
        cases: if asked("PROPTEST_CASES") { chosen.cases } else { cases },
        rng_seed: if asked("PROPTEST_RNG_SEED") { chosen.rng_seed } else { RngSeed::Fixed(11) },
        failure_persistence: None,
        ..chosen
    }
}
