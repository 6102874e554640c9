//! An index of ever more packages.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::curve::{Curve, Unit, Wanted};
use super::database::{Made, soname, write};
use super::{first, import_world, plan, root, warm};
use crate::harness::{Conversation, Engine, fixture};
use crate::measure::memory::Resident;
use crate::measure::{Effort, Sample, interleave, sonde, timed};

const SIZES: [usize; 6] = [1_000, 3_000, 10_000, 30_000, 100_000, 200_000];
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(4);
/// Lookups of one process.
const LOOKUPS: usize = 1000;

pub(super) fn measure(effort: Effort) -> Result<Vec<Curve>> {
    let mut import = Curve::new("`sonde index import`", Unit::Nanoseconds, Wanted::Linear);
    let mut lookup = Curve::new("a lookup", Unit::Nanoseconds, Wanted::Flat);
    let mut with = Curve::new("a start, inline", Unit::Nanoseconds, Wanted::Flat);
    let mut trapped = Curve::new("a start, seccomp", Unit::Nanoseconds, Wanted::Flat);
    let mut without = Curve::new("a first start, seccomp", Unit::Nanoseconds, Wanted::Linear);
    let mut peak = Curve::new("the import's memory", Unit::Bytes, Wanted::Linear);
    let mut index = Curve::new("the index", Unit::Bytes, Wanted::Linear);
    let mut memory = Curve::new("the supervisor's own memory", Unit::Bytes, Wanted::Flat);
    let program = &fixture().world.program("hello")?.executable;
    let waiting = fixture().guest("wait");
    for size in effort.sizes(&SIZES) {
        let cache = tempfile::tempdir().context("a folder for the index")?;
        let database = cache.path().join("files");
        write(&database, (0..size).map(Made::nowhere))?;
        let text = database.to_str().context("a path that is text")?;
        let importing = || sonde(cache.path(), &["index", "import", text, "--name", "made"]);
        peak.add(size, Resident::at_its_end(&mut importing())?.peak);

        let wanted: Vec<String> = (0..LOOKUPS).map(|at| soname(at * (size / LOOKUPS))).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let find = |sonames: &[&str]| timed(sonde(cache.path(), &["find"]).args(sonames));
        let ways = ["import", "one", "many"];
        let samples =
            interleave(effort.rounds(ROUNDS), effort.patience(PATIENCE), &ways, |way| match *way {
                "import" => Ok(vec![timed(&mut importing())?]),
                "one" => (0..5).map(|_| find(&wanted[..1])).collect(),
                _ => (0..5).map(|_| find(&wanted)).collect(),
            })?;
        import.add(size, samples[0].median());
        lookup.add(size, (samples[2].median() - samples[1].median()) / (LOOKUPS - 1) as f64);
        index.add(size, fs::metadata(cache.path().join("sonde/index/made.index"))?.len() as f64);

        import_world(cache.path())?;
        let supervised = root(cache.path(), Engine::Seccomp);
        without.add(size, first(&supervised, cache.path(), program, effort.rounds(ROUNDS))?.median());
        plan(cache.path(), program)?;
        with.add(size, median(warm(&root(cache.path(), Engine::Inline), program)?));
        trapped.add(size, median(warm(&supervised, program)?));
        let mut running = Conversation::with(&mut supervised.command(&waiting));
        running.hear();
        memory.add(size, Resident::own_of_supervisors(running.pid())?);
    }
    Ok(vec![import, lookup, with, trapped, without, peak, index, memory])
}

fn median(figures: Vec<f64>) -> f64 {
    let mut sample = Sample::default();
    sample.add(figures);
    sample.median()
}
