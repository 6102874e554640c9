//! What every bench stands on: samples of interleaved runs, their median and spread, ratios within one run, and tables.
//!
//! Times are no good for comparing two machines, or two days of one: what counts is a ratio against a reference that
//! was measured in between.
#![allow(dead_code)] // each bench uses a part

use std::fs;
use std::process::Command;
use std::thread;

use anyhow::Result;

/// Measurements of one thing, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn add(&mut self, nanoseconds: impl IntoIterator<Item = f64>) {
        self.0.extend(nanoseconds);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half the distance between the first and the third quartile: every second measurement lies about as near to the
    /// median as this.
    pub(crate) fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / 2.0
    }

    /// How many times the reference's median this median is.
    pub(crate) fn ratio(&self, reference: &Sample) -> f64 {
        self.median() / reference.median()
    }

    /// Between two measurements, interpolated; not a number if there are none.
    fn quantile(&self, share: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::NAN };
        let at = share * last as f64;
        let (below, above) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }
}

/// Measures several ways of doing one thing, a short batch of each in turn, so that whatever else the machine does
/// falls on all of them. Each round begins with another way. The samples are in the order of the ways.
pub(crate) fn interleave<W>(
    rounds: usize,
    ways: &[W],
    mut batch: impl FnMut(&W) -> Result<Vec<f64>>,
) -> Result<Vec<Sample>> {
    let mut samples = vec![Sample::default(); ways.len()];
    for round in 0..rounds {
        for position in 0..ways.len() {
            let way = (round + position) % ways.len();
            samples[way].add(batch(&ways[way])?);
        }
    }
    Ok(samples)
}

/// A time as people read it, three digits of it.
pub(crate) fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds.abs() {
        ..1e3 => (nanoseconds, "ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Median and spread.
pub(crate) fn with_spread(sample: &Sample) -> String {
    let spread = 100.0 * sample.spread() / sample.median();
    format!("{} ±{spread:.0} %", time(sample.median()))
}

/// A ratio as people read it.
pub(crate) fn times(ratio: f64) -> String {
    format!("×{}", three_digits(ratio))
}

/// Aligned columns: the first ones to the left, the figures to the right.
#[derive(Debug)]
pub(crate) struct Table {
    words: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `words` columns hold words.
    pub(crate) fn new<const N: usize>(words: usize, heading: [&str; N]) -> Self {
        Self { words, rows: vec![heading.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    pub(crate) fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> =
            (0..).map_while(|column| (width(column) > 0).then(|| width(column))).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let cell =
                    if column < self.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
                line += if column > 0 { "  " } else { "" };
                line += &cell;
            }
            println!("{}", line.trim_end());
        }
    }
}

/// The day, the machine and how busy it is: without them a figure means nothing.
pub(crate) fn circumstances() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let date = Command::new("date").args(["-u", "+%F %H:%M UTC"]).output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let kernel = read("/proc/sys/kernel/osrelease");
    let processor = read("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "{} · Linux {} · {} × {} · load {}",
        date.unwrap_or_default(),
        kernel.trim(),
        thread::available_parallelism().map_or(0, usize::from),
        processor.map_or("unknown processor", |(_, name)| name),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}
