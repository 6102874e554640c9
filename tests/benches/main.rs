//! `make bench`: what Sonde costs, beside what others cost, all in one run; and how the costs grow.
//!
//! Each topic ends in tables of one page, which is printed and kept as `target/bench/results.md`. Arguments are names of
//! topics, and restrict the page to these: `cargo bench -- starts loads`. `--quick` measures next to nothing, to see that
//! everything can be measured; `--root` runs programs as root instead of as alice, an ordinary user.
//!
//! Everything inside the test world is timed there, by guests: entering the root is in no figure.

mod calls;
mod cold;
mod counts;
mod growth;
#[path = "../harness/mod.rs"]
mod harness;
mod loads;
mod lookup;
mod measure;
mod peers;
mod policy;
mod starts;
mod ways;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use harness::Who;
use measure::words::circumstances;
use measure::{Effort, Page, time};
use ways::Way;

/// What all topics are given.
#[derive(Debug)]
struct Bench {
    page: Page,
    effort: Effort,
    /// Whose programs are run.
    who: Who,
}

impl Bench {
    /// Those of these ways that this machine has. What is left out is told.
    fn possible(&mut self, ways: &[Way]) -> Vec<Way> {
        let mut possible = Vec::new();
        for &way in ways {
            let ready = if let Way::Peer(peer) = way { peer.install(self.who) } else { Ok(()) };
            match ready {
                Ok(()) => possible.push(way),
                Err(error) => self.page.say(&format!("{} is left out: {error:#}.", way.title())),
            }
        }
        possible
    }
}

type Topic = (&'static str, fn(&mut Bench) -> Result<()>);

const TOPICS: [Topic; 8] = [
    ("starts", starts::measure),
    ("cold", cold::measure),
    ("loads", loads::measure),
    ("calls", calls::measure),
    ("counts", counts::measure),
    ("lookup", lookup::measure),
    ("policy", policy::measure),
    ("growth", growth::measure),
];

fn main() -> Result<ExitCode> {
    // Cargo says `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (options, wanted): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|word| word.starts_with('-'));
    let is_topic = |word: &String| TOPICS.iter().any(|(name, _)| name == word);
    if let Some(word) = wanted.iter().find(|word| !is_topic(word)) {
        let names: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
        bail!("{word} is no topic: there are {}", names.join(", "));
    }
    if let Some(word) = options.iter().find(|word| !["--quick", "--root"].contains(&word.as_str())) {
        bail!("{word} is no option: there are --quick and --root");
    }
    let has = |name: &str| options.iter().any(|word| *word == name);
    // Without privileges nobody can become alice.
    let is_root = has("--root") || !nix::unistd::geteuid().is_root();
    let who = if is_root { Who::Root } else { Who::Alice };
    let mut bench = Bench { page: Page::default(), effort: Effort { quick: has("--quick") }, who };

    let began = Instant::now();
    let command = if arguments.is_empty() {
        "make bench".into()
    } else {
        format!("cargo bench -- {}", arguments.join(" "))
    };
    let user = format!("{who:?}").to_lowercase();
    bench.page.say(&format!("`{command}` · {} · programs run as {user}", circumstances()));
    let mut failed = false;
    for (name, topic) in TOPICS {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            eprintln!("bench: {name} …");
            if let Err(error) = topic(&mut bench) {
                failed = true;
                bench.page.say(&format!("**{name} was not measured**: {error:#}"));
            }
        }
    }
    bench.page.say(&format!("All of it took {}.", time(began.elapsed().as_nanos() as f64)));
    eprintln!("bench: this page is {}", bench.page.keep()?.display());
    Ok(ExitCode::from(u8::from(failed)))
}
