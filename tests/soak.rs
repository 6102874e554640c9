//! `make soak`: 24 hours of use in eight minutes, thousands of starts, and a table of what keeper and worker hold meanwhile.
//! Fails if a start does, or if something grows. `SONDE_SOAK_SECONDS` sets how long.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what panics has failed

mod harness;
mod soaking;
mod supervisors;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use soaking::{Holdings, STARTS, Soak};

/// The table's rows, the first after the warming up.
const PARTS: u32 = 6;

/// What memory may come to before it counts as growth: allocators keep some of what was freed.
const SLACK: usize = 1024; // KiB

fn main() -> ExitCode {
    let seconds = std::env::var("SONDE_SOAK_SECONDS")
        .ok()
        .map_or(480, |text| text.parse().expect("a number of seconds"));
    let (mut soak, mut failed, begun) = (Soak::begin(), 0, Instant::now());
    println!("              {:^36} | {:^36}", "keeper", "worker");
    let head = format!("{:>11} {:>7} {:>8} {:>7}", "descriptors", "threads", "KiB", "zombies");
    println!("{:>6} {:>6} {head} | {head}", "starts", "failed");
    let mut rows: Vec<[Holdings; 2]> = Vec::new();
    for part in 1..=PARTS {
        let end = Duration::from_secs(seconds) * part / PARTS;
        while begun.elapsed() < end || soak.rounds < 10 {
            failed += soak.round();
        }
        std::thread::sleep(Duration::from_millis(500)); // what has ended is put away
        let row = soak.holdings().map(|(_, holdings)| holdings);
        println!("{:>6} {failed:>6} {} | {}", soak.rounds * STARTS, row[0], row[1]);
        rows.push(row);
    }
    let mut sound = failed == 0;
    for (number, who) in ["keeper", "worker"].into_iter().enumerate() {
        let (first, middle, last) =
            (rows[0][number], rows[rows.len() / 2][number], rows[rows.len() - 1][number]);
        // What is only filled once grows early on, if at all.
        let grown = [
            ("descriptors", last.descriptors > first.descriptors),
            ("threads", last.threads > first.threads),
            ("memory", last.resident > middle.resident + SLACK + middle.resident / 20),
            ("zombies", last.zombies > 0),
        ];
        for (what, _) in grown.into_iter().filter(|(_, grows)| *grows) {
            println!("{who}: {what} grow");
            sound = false;
        }
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
