//! A user who has ever more plans.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::curve::{Curve, Unit, Wanted};
use super::{import_world, plan, root, warm};
use crate::harness::{Engine, fixture};
use crate::measure::memory::Resident;
use crate::measure::{Effort, interleave, sonde, timed};

const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
enum Way {
    Start(Engine),
    List,
}

const WAYS: [Way; 3] = [Way::Start(Engine::Inline), Way::Start(Engine::Seccomp), Way::List];

pub(super) fn measure(effort: Effort) -> Result<Vec<Curve>> {
    let mut inline = Curve::new("a start, inline", Unit::Nanoseconds, Wanted::Flat);
    let mut seccomp = Curve::new("a start, seccomp", Unit::Nanoseconds, Wanted::Flat);
    let mut list = Curve::new("`sonde plans list`", Unit::Nanoseconds, Wanted::Linear);
    let mut memory = Curve::new("its memory", Unit::Bytes, Wanted::Linear);
    let cache = tempfile::tempdir().context("a folder for plans")?;
    import_world(cache.path())?;
    let program = &fixture().world.program("hello")?.executable;
    plan(cache.path(), program)?;
    let folder = cache.path().join("sonde/plans");
    let mut there: Vec<PathBuf> = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
    there.sort();
    let kept = there.first().context("the program has no plan")?.clone();
    let listing = || sonde(cache.path(), &["plans", "list"]);
    for size in effort.sizes(&SIZES) {
        // Which program a plan is of is in it; by its name it is found. No start asks for these.
        for number in 1..size {
            let copy = folder.join(format!("{number:016x}.plan"));
            if !copy.exists() {
                fs::copy(&kept, copy)?;
            }
        }
        let samples = interleave(effort.rounds(ROUNDS), effort.patience(PATIENCE), &WAYS, |way| match way {
            Way::Start(engine) => warm(&root(cache.path(), *engine), program),
            Way::List => Ok(vec![timed(&mut listing())?]),
        })?;
        for (curve, sample) in [&mut inline, &mut seccomp, &mut list].into_iter().zip(samples) {
            curve.add(size, sample.median());
        }
        memory.add(size, Resident::at_its_end(&mut listing())?.peak);
    }
    Ok(vec![inline, seccomp, list, memory])
}
