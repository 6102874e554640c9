//! One quantity over the size of something, and how fast it grows.

use crate::measure::page::mark;
use crate::measure::words::{count, size, three_digits};
use crate::measure::{Table, time};

/// Noise that a slope may have.
const NOISE: f64 = 0.12;
/// How many of the last points tell what comes of the growth.
const LAST: usize = 4;

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
}

/// How a quantity may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// As the size itself, at most.
    Linear,
    /// Not at all.
    Flat,
    /// It is somebody else's, to compare with.
    Whatever,
}

impl Wanted {
    fn exponent(self) -> Option<f64> {
        match self {
            Self::Linear => Some(1.0),
            Self::Flat => Some(0.0),
            Self::Whatever => None,
        }
    }
}

/// A quantity over the size of something.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    wanted: Wanted,
    /// Size and figure, from the smallest size on.
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) const HEADING: [&str; 7] =
    ["number of", "", "at the least", "at the most", "exponent", "of the last", "wanted"];

impl Curve {
    pub(super) fn new(name: &'static str, unit: Unit, wanted: Wanted) -> Self {
        Self { name, unit, wanted, points: Vec::new() }
    }

    pub(super) fn add(&mut self, size: usize, figure: f64) {
        self.points.push((size as f64, figure));
    }

    /// A row of the table.
    pub(super) fn tell(&self, of: &str, table: &mut Table) {
        let (Some(least), Some(most)) = (self.points.first(), self.points.last()) else { return };
        let shown = |figure: f64| if self.unit == Unit::Bytes { size(figure) } else { time(figure) };
        let number = |point: &(f64, f64)| count(point.0 as usize);
        let all = exponent(&self.points);
        let last = exponent(&self.points[self.points.len().saturating_sub(LAST)..]);
        let wanted = self.wanted.exponent().map_or(String::new(), |at_most| {
            let met = all.max(last) <= at_most + NOISE;
            format!("at most {at_most:.0}: {}", mark(met))
        });
        table.row([
            format!("{of}, {} to {}", number(least), number(most)),
            self.name.to_owned(),
            shown(least.1),
            shown(most.1),
            three_digits(all),
            three_digits(last),
            wanted,
        ]);
    }
}

/// The slope of the line through these points on logarithmic axes, by least squares. Not a number for fewer than two.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let points = points.iter().filter(|(size, figure)| *size > 0.0 && *figure > 0.0);
    let logarithms: Vec<(f64, f64)> = points.map(|(size, figure)| (size.ln(), figure.ln())).collect();
    let number = logarithms.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logarithms.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = logarithms.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let along: f64 = logarithms.iter().map(|point| (point.0 - x).powi(2)).sum();
    across / along
}
