//! How lists are laid out for people: columns, numbers, and colours where a terminal shows them.

use std::fmt;
use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

/// Rows of equal width.
#[derive(Debug)]
pub(crate) struct Columns {
    rows: Vec<Vec<String>>,
    /// Columns that hold numbers: they are aligned to the right.
    right: Vec<&'static str>,
}

impl Columns {
    /// `right` are the headings of columns that hold numbers.
    pub(crate) fn new(headings: &[&'static str], right: &[&'static str]) -> Self {
        Self {
            rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()],
            right: right.to_vec(),
        }
    }

    pub(crate) fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// The lines, headings first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Some(headings) = self.rows.first() else { return Vec::new() };
        let mut widths = vec![0; headings.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let right: Vec<bool> =
            headings.iter().map(|heading| self.right.contains(&heading.as_str())).collect();
        self.rows.iter().map(|row| line(row, &widths, &right)).collect()
    }
}

fn line(row: &[String], widths: &[usize], right: &[bool]) -> String {
    let mut line = String::new();
    for ((cell, width), right) in row.iter().zip(widths).zip(right) {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        line.push_str(&if *right { padding + cell } else { cell.clone() + &padding });
        line.push_str("  ");
    }
    line.truncate(line.trim_end().len());
    line
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A size as people say it.
pub(crate) fn bytes(size: u64) -> String {
    match size {
        ..1_000 => format!("{size} B"),
        1_000..1_000_000 => format!("{:.1} kB", size as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", size as f64 / 1e6),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

/// How long ago something was; `then` is in seconds since 1970.
pub(crate) fn age(then: u64) -> String {
    // A file may say any number: there are times that no clock can show.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seconds = now.saturating_sub(then);
    let (count, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Whether to colour what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// A terminal that shows colours, and nobody who forbids them (no-color.org).
    pub(crate) fn for_stdout() -> Self {
        Self::for_terminal(std::io::stdout().is_terminal())
    }

    /// The same for what goes elsewhere; is that a terminal?
    pub(crate) fn for_terminal(is_terminal: bool) -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self(is_terminal && !forbidden && !dumb)
    }

    /// For what is not written to standard output.
    pub(crate) fn none() -> Self {
        Self(false)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(age(now - 90), "1 minute ago");
        assert_eq!(age(now - 3 * 86400), "3 days ago");
        assert_eq!(age(now + 100), "0 seconds ago", "a clock that was wrong");
        assert_eq!(age(u64::MAX), "0 seconds ago", "a file that says anything");
    }

    #[test]
    fn numbers_stand_right_and_words_left() {
        let mut columns = Columns::new(&["A", "SIZE"], &["SIZE"]);
        columns.add(["long name".into(), "9".into()]);
        columns.add(["x".into(), "12345".into()]);
        assert_eq!(columns.to_string(), "A           SIZE\nlong name      9\nx          12345\n");
    }

    #[test]
    fn sizes_and_counts_are_readable() {
        assert_eq!(
            [bytes(0), bytes(999), bytes(121_280), bytes(8_328_069)],
            ["0 B", "999 B", "121.3 kB", "8.3 MB"]
        );
        assert_eq!([number(7), number(1_000), number(8_470_257)], ["7", "1,000", "8,470,257"]);
    }

    #[test]
    fn only_what_is_painted_has_codes() {
        assert_eq!(Paint::none().bold("x"), "x");
        assert_eq!(Paint(true).good("x"), "\x1b[32mx\x1b[0m");
    }
}
