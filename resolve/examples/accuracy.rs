//! How often ranking puts the provider first that Debian names, over a whole database.
//!
//! `cargo run --release -p sonde-resolve --example accuracy -- NIX_INDEX_FILES DEBIAN_TO_ATTR
//! [SHLIBS_FOLDER]`. Prints top-1 and top-3, with and without curated preferences, and the misses.

#[path = "../tests/ground_truth/mod.rs"]
mod ground_truth;

use sonde_resolve::choose::Rule;
use sonde_resolve::choose::rules::RULES;
use sonde_resolve::import::import;
use sonde_resolve::index::table::{About, Table};
use sonde_resolve::lists::Lists;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let files = arguments.next().ok_or("which database? (a nix-index `files`)")?;
    let map = arguments.next().ok_or("which map? (debian-to-attr.tsv.gz)")?;
    let shlibs = arguments.next().unwrap_or_else(|| "/var/lib/dpkg/info".into());

    let about = About { source: "accuracy".into(), imported_at: 0 };
    let made = import(std::fs::File::open(files)?, about, Lists::built_in())?;
    let table = Table::open(made.bytes)?;
    let map = ground_truth::DebianMap::read(&map)?;
    let contents = ground_truth::from_contents(&table, &map);
    let shlibs = ground_truth::from_shlibs(&shlibs, &table, &map)?;
    let all: Vec<&'static Rule> = RULES.iter().collect();
    let general = Lists::built_in().without_preferences();
    for (name, truth) in [("contents", &contents), ("shlibs", &shlibs)] {
        for (which, lists) in [("with curated preferences", Lists::built_in()), ("without", &general)] {
            let score = ground_truth::measure(&table, truth, lists, &all);
            println!(
                "{name}: top-1 {:.2} %, top-3 {:.2} % of {} sonames ({} contested, {} with several right answers; {} left to others, {} not in the database) {which}",
                100.0 * score.top_1(),
                100.0 * score.top_3(),
                score.asked,
                score.contested,
                score.several_right,
                score.excluded,
                score.absent,
            );
            for miss in &score.misses {
                println!("    {miss}");
            }
        }
    }
    println!("\nwithout one rule, contents top-1 (curated preferences off):");
    for missing in RULES {
        let rules: Vec<_> = all.iter().copied().filter(|rule| *rule != missing).collect();
        let score = ground_truth::measure(&table, &contents, &general, &rules);
        let example = score.misses.first().map(String::as_str).unwrap_or_default();
        println!(
            "    {:20} top-1 {:6.2} %, top-3 {:6.2} %  {example}",
            missing.name,
            100.0 * score.top_1(),
            100.0 * score.top_3()
        );
    }
    Ok(())
}
