//! What a start costs that finds everything in the store: by Sonde under each engine, and by everybody else.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::harness::Engine;
use crate::peers::Peer;
use crate::ways::{Runs, Subject, Way, compare};

/// What is started: the world's name for it, and arguments that make it end at once.
pub(crate) const PROGRAMS: [(&str, &[&str]); 5] = [
    ("hello", &[]),
    ("curl", &["--version"]),
    ("python3", &["-c", "pass"]),
    ("node", &["-e", "0"]),
    ("ffmpeg", &["-version"]),
];

const WAYS: [Way; 14] = [
    Way::Native,
    Way::Sonde(Engine::Auto),
    Way::Sonde(Engine::Inline),
    Way::Sonde(Engine::Seccomp),
    Way::Sonde(Engine::Ptrace),
    Way::Sonde(Engine::PtraceAll),
    Way::Run(Engine::Auto),
    Way::Run(Engine::Seccomp),
    Way::Trace,
    Way::Links,
    Way::Folders,
    Way::Strace,
    Way::Peer(Peer::Proot),
    Way::Peer(Peer::Bwrap),
];

const RUNS: Runs = Runs { rounds: 13, batch: 4, patience: Duration::from_secs(3) };

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("Starts");
    let ways = bench.possible(&WAYS);
    let subjects: Vec<Subject> =
        PROGRAMS.iter().map(|(name, arguments)| Subject::of_world(name, arguments)).collect::<Result<_>>()?;
    let table = compare("start of", bench.who, bench.effort, RUNS, &ways, &subjects)?;
    bench.page.table(&table);
    bench.page.say(
        "From `posix_spawn` until the program has been waited for; everything is in the store, and Sonde has a plan. Medians \
         ± half the distance of the quartiles; × is to native.",
    );
    Ok(())
}
