//! A tree with ever more processes, all of which are there at once.

use std::time::Duration;

use anyhow::{Context, Result};

use super::curve::{Curve, Unit, Wanted};
use super::{libraries, plan, root};
use crate::harness::{Conversation, Engine, Who, fixture};
use crate::measure::memory::Resident;
use crate::measure::{Effort, Sample, interleave};

const SIZES: [usize; 7] = [1, 3, 10, 30, 100, 300, 1000];
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(4);
/// Libraries of each.
const LIBRARIES: usize = 5;

const WAYS: [Option<Engine>; 3] = [None, Some(Engine::Inline), Some(Engine::Seccomp)];

pub(super) fn measure(effort: Effort) -> Result<Vec<Curve>> {
    let cache = tempfile::tempdir().context("a folder for the index")?;
    libraries::prepare(cache.path(), LIBRARIES)?;
    let (crew, program) = (fixture().guest("crew"), libraries::program(LIBRARIES));
    plan(cache.path(), &program)?;
    let mut native = Curve::new("starting them, native", Unit::Nanoseconds, Wanted::Whatever);
    let mut inline = Curve::new("starting them, inline", Unit::Nanoseconds, Wanted::Linear);
    let mut seccomp = Curve::new("starting them, seccomp", Unit::Nanoseconds, Wanted::Linear);
    let mut memory = Curve::new("the supervisor's own memory", Unit::Bytes, Wanted::Linear);
    for size in effort.sizes(&SIZES) {
        let mut owned = Sample::default();
        let samples = interleave(effort.rounds(ROUNDS), effort.patience(PATIENCE), &WAYS, |way| {
            let root = match way {
                None => fixture().native(Who::Root).env("LD_LIBRARY_PATH", "/guests/grown"),
                Some(engine) => root(cache.path(), *engine),
            };
            let mut running = Conversation::with(root.command(&crew).args([&size.to_string(), &program]));
            let took = running.hear();
            if *way == Some(Engine::Seccomp) {
                owned.add([Resident::own_of_supervisors(running.pid())?]);
            }
            Ok(vec![took.trim().parse().with_context(|| format!("it says {took:?}"))?])
        })?;
        for (curve, sample) in [&mut native, &mut inline, &mut seccomp].into_iter().zip(samples) {
            curve.add(size, sample.median());
        }
        memory.add(size, owned.median());
    }
    Ok(vec![native, inline, seccomp, memory])
}
