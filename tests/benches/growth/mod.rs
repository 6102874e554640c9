//! How time and memory grow: with the libraries of a program, the processes of a tree, the packages of an index, the
//! plans of a user. Nothing may grow worse than linearly, and lookups not at all.
//!
//! The exponent of a growth is the slope of the line through its points on logarithmic axes, by least squares: 1 is
//! linear, 2 quadratic, 0 none. What costs something at size 1 already hides its growth there, so the slope of the last
//! points counts as well.

mod curve;
mod database;
mod libraries;
mod packages;
mod plans;
mod plot;
mod processes;

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use sonde_world::RootBuilder;

use crate::Bench;
use crate::harness::{Engine, SONDE, Who, fixture};
use crate::measure::{Effort, Sample, Table, figures, page, succeed};
use crate::ways::{let_plans_be_written, timer};
use curve::Curve;

/// Counted starts of one round.
const STARTS: usize = 9;

type Growth = fn(Effort) -> Result<Vec<Curve>>;

/// What grows, and by what name its plot goes.
const GROWTHS: [(&str, Growth); 4] = [
    ("libraries", libraries::measure),
    ("processes", processes::measure),
    ("packages", packages::measure),
    ("plans", plans::measure),
];

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("Growth");
    let mut table = Table::new(2, curve::HEADING);
    let (mut plots, mut failures) = (String::new(), Vec::new());
    for (name, growth) in GROWTHS {
        eprintln!("bench: growth of {name} …");
        let curves = match growth(bench.effort) {
            Ok(curves) => curves,
            Err(error) => {
                failures.push(format!("growth of {name}: {error:#}"));
                continue;
            }
        };
        curves.iter().for_each(|curve| curve.tell(name, &mut table));
        plot::draw(&page::folder()?.join(format!("{name}.svg")), name, &curves)?;
        plots += &format!("![time and memory over {name}](performance/{name}.svg)\n");
    }
    bench.page.table(&table);
    bench.page.say(
        "The exponent is the slope on logarithmic axes, by least squares: through all points, and through the last four. \
         Programs run as root.",
    );
    bench.page.say(plots.trim_end());
    ensure!(failures.is_empty(), "{}", failures.join("; "));
    Ok(())
}

/// Where a root has the cache that is measured with, a folder of this machine.
const CACHE: &str = "/cache";

/// A root with a cache folder of its own.
fn root(cache: &Path, engine: Engine) -> RootBuilder {
    let root = fixture().under(engine, fixture().root(Who::Root));
    root.bind(cache, CACHE).env("XDG_CACHE_HOME", CACHE).env("LANG", "C")
}

/// Imports a database, by its path inside the root.
fn import(cache: &Path, database: &str, name: &str) -> Result<()> {
    let root = root(cache, Engine::Seccomp);
    succeed(root.command(SONDE).args(["index", "import", database, "--name", name]))?;
    Ok(())
}

/// The world's own database: without it there is no glibc.
fn import_world(cache: &Path) -> Result<()> {
    import(cache, "/index/files", "world")
}

/// Starts a program once under each engine that is measured, so that it has the plans of both.
fn plan(cache: &Path, program: &str) -> Result<()> {
    for engine in [Engine::Inline, Engine::Seccomp] {
        succeed(root(cache, engine).command(timer()).args(["1", "0", program]))?;
    }
    let_plans_be_written();
    Ok(())
}

/// Starts of a program that has a plan.
fn warm(root: &RootBuilder, program: &str) -> Result<Vec<f64>> {
    let mut command: Command = root.command(timer());
    figures(command.args(["1", &STARTS.to_string(), program]))
}

/// Starts of a program that has none, each with a supervisor of its own.
fn first(root: &RootBuilder, cache: &Path, program: &str, starts: usize) -> Result<Sample> {
    let root = root.clone().env("XDG_RUNTIME_DIR", "");
    let mut sample = Sample::default();
    for _ in 0..starts {
        let plans = cache.join("sonde/plans");
        if plans.exists() {
            std::fs::remove_dir_all(plans)?;
        }
        sample.add(figures(root.command(timer()).args(["0", "1", program]))?);
    }
    Ok(sample)
}
