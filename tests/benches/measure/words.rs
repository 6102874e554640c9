//! Figures as people read them: three digits, and a unit that fits.

use std::fs;
use std::process::Command;
use std::thread;

use super::Sample;

/// A time.
pub(crate) fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds.abs() {
        ..1e3 => (nanoseconds, "ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// An amount of memory, or of disk.
pub(crate) fn size(bytes: f64) -> String {
    let (value, unit) = match bytes.abs() {
        ..1e3 => (bytes, "B"),
        ..1e6 => (bytes / 1e3, "kB"),
        ..1e9 => (bytes / 1e6, "MB"),
        _ => (bytes / 1e9, "GB"),
    };
    format!("{} {unit}", three_digits(value))
}

pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Median and spread.
pub(crate) fn with_spread(sample: &Sample) -> String {
    format!("{} {}", time(sample.median()), spread(sample))
}

/// A spread.
pub(crate) fn spread(sample: &Sample) -> String {
    format!("±{:.0} %", 100.0 * sample.spread())
}

/// A ratio.
pub(crate) fn times(ratio: f64) -> String {
    format!("×{}", three_digits(ratio))
}

/// A whole number, its thousands apart.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
