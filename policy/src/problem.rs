//! What is wrong with a policy file: where, what, and what to write instead, as people are shown it.

use std::fmt;
use std::ops::Range;

/// No more of a line than this is shown, in characters: a line may be as long as the file.
const WIDEST_EXCERPT: usize = 100;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file means something, though hardly what was meant.
    Warning,
    /// The file means nothing: everything is refused.
    Error,
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file's name, as it was handed in.
    pub file: String,
    /// The line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    excerpt: Option<Excerpt>,
}

/// The part of a line that a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    before: usize,
    marked: usize,
}

impl Problem {
    /// A problem with a file that has no place in its text.
    #[must_use]
    pub fn with_file(file: &str, message: String) -> Self {
        let severity = Severity::Error;
        Self { severity, file: file.to_owned(), line: 0, column: 0, message, help: None, excerpt: None }
    }

    /// The problem in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let place = match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        };
        let severity = if self.severity == Severity::Warning { "warning: " } else { "" };
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("{place}: {severity}{}{help}", self.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())?;
        let Some(excerpt) = &self.excerpt else { return Ok(()) };
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let caret = "^".repeat(excerpt.marked);
        write!(f, "\n{margin} |\n{number} | {}\n{margin} | ", excerpt.text)?;
        write!(f, "{}{caret}", " ".repeat(excerpt.before))
    }
}

impl std::error::Error for Problem {}

/// A file's name and text: everything that a place in it can be told from.
#[derive(Debug)]
pub(crate) struct Source<'t> {
    pub(crate) name: &'t str,
    pub(crate) text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(name: &'t str, text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self { name, text, starts }
    }

    /// The line of a place in the text, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at).max(1)
    }

    pub(crate) fn problem(
        &self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        help: Option<String>,
    ) -> Problem {
        let line = self.line(span.start);
        let start = line.checked_sub(1).and_then(|line| self.starts.get(line)).copied().unwrap_or_default();
        let text = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let before = self.text.get(start..span.start).map_or(0, |before| before.chars().count());
        let marked = self
            .text
            .get(span)
            .map_or(1, |marked| marked.lines().next().map_or(1, |first| first.trim_end().chars().count()));
        let excerpt = Some(excerpt(text, before, marked.max(1)));
        Problem { severity, file: self.name.to_owned(), line, column: before + 1, message, help, excerpt }
    }
}

/// Cuts a window out of a line that shows the marked part, with nothing in it that a terminal would obey.
fn excerpt(text: &str, before: usize, marked: usize) -> Excerpt {
    let skipped =
        if before + marked > WIDEST_EXCERPT { before.saturating_sub(WIDEST_EXCERPT / 4) } else { 0 };
    let plain = |letter: char| match letter {
        '\t' => ' ',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    };
    let shown: String = text.chars().skip(skipped).take(WIDEST_EXCERPT).map(plain).collect();
    let before = before - skipped;
    let marked = marked.min(shown.chars().count().saturating_sub(before)).max(1);
    Excerpt { text: shown.trim_end().to_owned(), before, marked }
}

/// What somebody meant who wrote a word that nobody knows.
pub(crate) fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // Whoever sends a word of a megabyte meant nothing.
    if word.len() > 64 {
        return None;
    }
    let near = known.into_iter().map(|one| (strsim::damerau_levenshtein(word, one), one));
    let close = near.filter(|(distance, one)| *distance <= one.len().div_ceil(3));
    close.min_by_key(|(distance, _)| *distance).map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_place() {
        let source = Source::new("p.toml", "a = 1\nbc = 22\n");
        let problem = source.problem(Severity::Error, 11..13, "too many".into(), Some("use 2".into()));
        assert_eq!(problem.to_string(), "p.toml:2:6: too many; use 2\n  |\n2 | bc = 22\n  |      ^^");
    }

    #[test]
    fn a_line_as_long_as_the_file_is_shown_in_part() {
        let text = "x".repeat(1 << 20);
        let source = Source::new("p", &text);
        for span in [0..1, 500_000..500_010, 0..text.len(), text.len()..text.len()] {
            let problem = source.problem(Severity::Error, span, String::new(), None).to_string();
            assert!(problem.len() < 500, "{}", problem.len());
        }
    }

    #[test]
    fn a_terminal_is_shown_nothing_that_it_would_obey() {
        let source = Source::new("p", "a = \"\u{1b}[2J\"\n");
        let problem = source.problem(Severity::Error, 4..5, String::new(), None).to_string();
        assert!(!problem.contains('\u{1b}'), "{problem:?}");
    }

    #[test]
    fn a_word_is_taken_for_what_it_resembles() {
        assert_eq!(nearest("defualt", ["version", "default"]), Some("default"));
        assert_eq!(nearest("colour", ["version", "default"]), None);
    }
}
