//! Imports a nix-index database and times what a supervisor does with the result.
//!
//! `cargo run --release -p sonde-resolve --example full_index -- FILE [INDEX]`: FILE is a nix-index `files`,
//! INDEX where the result is written if it is to be kept. Prints sizes and medians.

use sonde_resolve::choose::{Candidate, Context, near_misses, rank};
use sonde_resolve::import::import;
use sonde_resolve::index::nix_index;
use sonde_resolve::index::table::{About, Table};
use sonde_resolve::ldcache::{Change, patch};
use sonde_resolve::lists::Lists;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn median(mut run: impl FnMut(), times: usize) -> Duration {
    let mut taken: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    taken.sort();
    taken.get(times / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let database = arguments.next().ok_or("which database? (a nix-index `files`)")?;
    let start = Instant::now();
    black_box(Lists::built_in());
    println!("lists, parsed  {:>12.1?}", start.elapsed());
    let start = Instant::now();
    let stats = nix_index::read(std::fs::File::open(&database)?, |package| drop(black_box(package)))?;
    println!("read only      {:>12.1?}   {stats:?}", start.elapsed());

    let about = About { source: "bench".into(), imported_at: 0 };
    let start = Instant::now();
    let made = import(std::fs::File::open(&database)?, about, Lists::built_in())?;
    println!("import         {:>12.1?}", start.elapsed());
    let database_size = std::fs::metadata(&database)?.len();
    println!("database       {database_size:>12} bytes");
    println!(
        "index          {:>12} bytes, {:.1} % of it",
        made.bytes.len(),
        100.0 * made.bytes.len() as f64 / database_size as f64
    );

    println!("open           {:>12.1?}", median(|| drop(black_box(Table::open(&made.bytes))), 101));
    let table = Table::open(&made.bytes)?;
    println!("verify         {:>12.1?}", median(|| drop(black_box(table.verify())), 11));
    println!(
        "lookup         {:>12.1?}   libz.so.1, {} providers",
        median(|| drop(black_box(table.lookup("libz.so.1").collect::<Vec<_>>())), 1001),
        table.lookup("libz.so.1").count()
    );
    println!(
        "lookup, absent {:>12.1?}",
        median(
            || {
                black_box(table.lookup("libnone.so.1").next());
            },
            1001
        )
    );
    let lists = Lists::built_in();
    let context = Context::bare(lists);
    println!(
        "rank           {:>12.1?}   libz.so.1",
        median(|| drop(black_box(rank(table.lookup("libz.so.1").map(Candidate::new), &context))), 1001)
    );
    let cache = table.base_cache().unwrap_or_default();
    println!("base cache     {:>12} bytes", cache.len());
    let known = [("libz.so.1", Change::Provide("/nix/store/x/lib/libz.so.1"))];
    println!(
        "patch          {:>12.1?}   one name",
        median(|| drop(black_box(patch(cache, 0x303, &known))), 101)
    );
    let absent = "libsslx.so.3";
    println!(
        "near misses    {:>12.1?}   {absent}: {:?}",
        median(|| drop(black_box(near_misses(absent, &table, 3))), 11),
        near_misses(absent, &table, 3).iter().map(|near| near.soname.as_str()).collect::<Vec<_>>()
    );
    println!("{:#?}", table.metadata());
    if let Some(index) = arguments.next() {
        std::fs::write(index, &made.bytes)?;
    }
    Ok(())
}
