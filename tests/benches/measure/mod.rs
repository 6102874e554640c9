//! What every bench stands on: samples of interleaved runs, ratios within one run, and the page that they end on.
//!
//! Times are no good for comparing two machines, or two days of one: what counts is a ratio against a reference that
//! was measured in between.

pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod sample;
pub(crate) mod words;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub(crate) use page::{Page, Table};
pub(crate) use sample::{Sample, interleave};
pub(crate) use words::{time, times, with_spread};

use crate::harness::{Outcome, run};

/// How thoroughly is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// To see that everything can be measured, rather than to measure it.
    pub(crate) quick: bool,
}

impl Effort {
    /// So many rounds, or the two that a spread needs.
    pub(crate) fn rounds(self, thorough: usize) -> usize {
        if self.quick { thorough.min(2) } else { thorough }
    }

    /// How long one way of doing one thing may take, once there are two rounds of it.
    pub(crate) fn patience(self, thorough: Duration) -> Duration {
        if self.quick { Duration::ZERO } else { thorough }
    }

    /// All of these sizes, or two.
    pub(crate) fn sizes(self, thorough: &[usize]) -> Vec<usize> {
        let few = if self.quick { 2 } else { thorough.len() };
        thorough.iter().copied().take(few).collect()
    }
}

/// Runs a command that is expected to succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<Outcome> {
    let outcome = run(command);
    ensure!(outcome.succeeded(), "{command:?}: {outcome}");
    Ok(outcome)
}

/// The nanoseconds that a guest printed, one figure a line.
pub(crate) fn figures(command: &mut Command) -> Result<Vec<f64>> {
    let outcome = succeed(command)?;
    let figure = |line: &str| line.parse().with_context(|| format!("{command:?}: {outcome}"));
    outcome.stdout.lines().map(figure).collect()
}

/// How long a command takes, from its start until it has been waited for, in nanoseconds.
pub(crate) fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("{command:?}"))?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took.as_nanos() as f64)
}

/// The built `sonde`, on this machine, with a cache folder of its own.
pub(crate) fn sonde(cache: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sonde"));
    command.args(arguments).env("XDG_CACHE_HOME", cache).env_remove("XDG_CONFIG_HOME");
    command
}
