//! Drawing curves: time on the left, memory on the right, on logarithmic axes.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::curve::{Curve, Unit};
use crate::measure::time;
use crate::measure::words::{count, size};

/// Of a panel without its heading, in pixels.
const PANEL: (u32, u32) = (460, 260);
/// The height of one line of the heading.
const LINE: u32 = 20;
const MARGIN: u32 = 12;
const LABEL: (&str, u32) = ("sans-serif", 15);
/// Told apart by whoever does not see colours as most do, too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the curves over the number of something.
pub(super) fn draw(file: &Path, of: &str, curves: &[Curve]) -> Result<()> {
    let with = |unit: Unit| curves.iter().filter(|curve| curve.unit == unit).collect::<Vec<_>>();
    let panels = [("time", with(Unit::Nanoseconds)), ("memory", with(Unit::Bytes))];
    // A title, and a line for each curve.
    let lines = 1 + panels.iter().map(|(_, curves)| curves.len() as u32).max().unwrap_or_default();
    let heading = MARGIN + LINE * lines;
    let canvas = SVGBackend::new(file, (PANEL.0 * 2, PANEL.1 + heading)).into_drawing_area();
    canvas.fill(&WHITE)?;
    for (area, (title, curves)) in canvas.split_evenly((1, panels.len())).iter().zip(&panels) {
        let (above, below) = area.split_vertically(heading);
        let drawn =
            legend(&above, &format!("{title} over {of}"), curves).and_then(|()| chart(&below, curves));
        drawn.map_err(|error| anyhow!("drawing {}: {error}", file.display()))?;
    }
    canvas.present()?;
    Ok(())
}

fn legend(area: &Area<'_>, title: &str, curves: &[&Curve]) -> Result<()> {
    let left = MARGIN as i32;
    area.draw(&Text::new(title.to_owned(), (left, left), ("sans-serif", 18)))?;
    for (at, (curve, colour)) in curves.iter().zip(COLOURS).enumerate() {
        let top = left + (LINE * (at as u32 + 1)) as i32;
        let middle = top + LABEL.1 as i32 / 2;
        area.draw(&PathElement::new([(left, middle), (left + 20, middle)], colour.stroke_width(3)))?;
        area.draw(&Text::new(curve.name.replace('`', ""), (left + 28, top), LABEL))?;
    }
    Ok(())
}

fn chart(area: &Area<'_>, curves: &[&Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points).filter(|(_, figure)| *figure > 0.0);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let fold = |start, pick: fn(f64, f64) -> f64| points().map(of).fold(start, pick);
        (fold(f64::INFINITY, f64::min), fold(0.0, f64::max))
    };
    let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
    // Powers of ten are what has labels.
    let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
    let unit = curves.first().map_or(Unit::Nanoseconds, |curve| curve.unit);
    let shown = |figure: &f64| if unit == Unit::Bytes { size(*figure) } else { time(*figure) };
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_right(36)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(LABEL)
        .x_label_formatter(&|number| count(number.round() as usize))
        .y_label_formatter(&shown)
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let line = curve.points.iter().copied().filter(|(_, figure)| *figure > 0.0);
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))?;
    }
    Ok(())
}
