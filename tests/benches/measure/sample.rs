//! Measurements of one thing, and measuring several things in turn.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Measurements of one thing, in nanoseconds unless somebody says otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn add(&mut self, figures: impl IntoIterator<Item = f64>) {
        self.0.extend(figures);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Half the distance between the first and the third quartile, as a share of the median: every second measurement
    /// lies about as near to the median as this.
    pub(crate) fn spread(&self) -> f64 {
        (self.quantile(0.75) - self.quantile(0.25)) / 2.0 / self.median()
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
/// falls on all of them. Each round begins with another way. What is slow has fewer rounds: from the second on, a way
/// that took longer than `patience` in all is left out. The samples are in the order of the ways.
pub(crate) fn interleave<W>(
    rounds: usize,
    patience: Duration,
    ways: &[W],
    mut batch: impl FnMut(&W) -> Result<Vec<f64>>,
) -> Result<Vec<Sample>> {
    let mut samples = vec![Sample::default(); ways.len()];
    let mut taken = vec![Duration::ZERO; ways.len()];
    for round in 0..rounds {
        for position in 0..ways.len() {
            let way = (round + position) % ways.len();
            if round >= 2 && taken[way] > patience {
                continue;
            }
            let start = Instant::now();
            samples[way].add(batch(&ways[way])?);
            taken[way] += start.elapsed();
        }
    }
    Ok(samples)
}
