//! A trace for people: one line for each library as it is loaded, what went wrong below it, and a summary.
//!
//! Lines come as things happen, as strace's do, so that the last one says where a program hangs or dies. Columns have
//! their widths from the beginning: those of the terminal, or plenty where there is none.

use std::path::Path;
use std::time::Duration;

use console::{Alignment, measure_text_width, pad_str};

use super::entry::{Entry, How, Load, Outcome, Provider, Totals, What, Why};
use crate::report::find::Finding;
use crate::report::style::{Paint, bytes};

/// How narrow a terminal may be before lines are left to it to break.
const NARROWEST: usize = 80;
/// Room for what was fetched and how long it took as well.
const FOR_NUMBERS: usize = 130;
/// Room for the path of the file as well.
const FOR_PATHS: usize = 220;
/// Time and process, with what is between columns.
const FIXED: usize = 11 + 9 + 3 * 2;
/// What was fetched, and how long it took.
const NUMBERS: usize = 2 + 9 + 2 + 9;

/// Lays entries out.
pub(crate) struct Human {
    paint: Paint,
    /// Of the terminal; none where lines may be of any length.
    width: Option<usize>,
    columns: [usize; 4],
    has_headings: bool,
}

impl Human {
    /// `width` is the terminal's, in characters.
    pub(crate) fn new(paint: Paint, width: Option<usize>) -> Self {
        let columns = match width.map(|width| width.max(NARROWEST)) {
            Some(width) if width < FOR_PATHS => {
                let room = width - FIXED - if width < FOR_NUMBERS { 0 } else { NUMBERS };
                [room * 30 / 100, room * 22 / 100, room * 25 / 100, room * 23 / 100]
            }
            _ => [30, 26, 34, 30],
        };
        Self { paint, width, columns, has_headings: false }
    }

    /// What each column is.
    fn headings(&self) -> String {
        let path = if self.has_paths() { "FILE" } else { "" };
        let line =
            self.line("AT", "PROCESS", ["LIBRARY", "NEEDED BY", "HOW", "PACKAGE"], "FETCHED", "TOOK", path);
        self.paint.dim(&line) + "\n"
    }

    /// The lines for one entry; none for what people are not told.
    pub(crate) fn entry(&mut self, entry: &Entry) -> String {
        let is_row = matches!(entry.what, What::Process(_) | What::Load(_));
        let headings = if is_row && !self.has_headings { self.headings() } else { String::new() };
        self.has_headings |= is_row;
        headings + &self.line_of(entry)
    }

    fn line_of(&self, entry: &Entry) -> String {
        match &entry.what {
            What::Engine(engine) => self.paint.dim(&format!("engine {}", engine.engine)) + "\n",
            What::Process(process) => {
                let words = process.program.display();
                let line = format!("{:>9}  {:>7}  {words}", at(entry.at), process.process);
                self.paint.bold(&line) + "\n"
            }
            What::Load(load) => self.load(entry.at, load),
            What::Lost(lost) => self.paint.bad(&format!("{} events were lost here", lost.events)) + "\n",
            What::End(end) => summary(&end.totals),
            What::Begin(_) | What::Fetch(_) => String::new(),
        }
    }

    fn load(&self, when: Duration, load: &Load) -> String {
        let path = load.path.as_deref().map(|path| path.display().to_string());
        let package = match (&load.package, load.provider) {
            (Some(package), _) => match &package.version {
                Some(version) => format!("{} {version}", package.short()),
                None => package.short(),
            },
            (None, Some(Provider::Bundled)) => "bundled".to_owned(),
            (None, Some(Provider::Host)) => "host".to_owned(),
            (None, _) => "-".to_owned(),
        };
        let fetched = match (load.fetched_bytes, load.realised) {
            (Some(size), _) => bytes(size),
            (None, true) => "yes".to_owned(),
            (None, false) => "-".to_owned(),
        };
        let line = self.line(
            &at(when),
            &load.process.to_string(),
            [&load.soname, &needed_by(load), &how(load), &package],
            &fetched,
            &at(load.took),
            path.as_deref().filter(|_| self.has_paths()).unwrap_or_default(),
        );
        let mut text = if load.is_failure() { self.paint.bad(&line) } else { line } + "\n";
        // A refused file is worth its path.
        if let Some(path) = path.filter(|_| load.is_failure() && !self.has_paths()) {
            text += &self.below(&path);
        }
        if let Some(reason) = &load.reason {
            text += &self.below(reason);
        }
        text
    }

    /// What the library that was chosen lacks of what the program needs, if anything.
    pub(crate) fn complaint(&self, entry: &Entry) -> String {
        let What::Load(load) = &entry.what else { return String::new() };
        let complaint = load.choice.as_ref().and_then(Finding::complaint);
        let words = complaint.map(|complaint| format!("{}: {complaint}", load.soname));
        words.map_or_else(String::new, |words| self.below(&words))
    }

    fn has_paths(&self) -> bool {
        self.width.is_none_or(|width| width >= FOR_PATHS)
    }

    fn line(
        &self,
        at: &str,
        process: &str,
        names: [&str; 4],
        fetched: &str,
        took: &str,
        path: &str,
    ) -> String {
        let mut line = format!("{at:>9}  {process:>7}  ");
        for (column, (name, width)) in names.iter().zip(self.columns).enumerate() {
            // The name of the library is what one looks for.
            let name =
                if column == 0 || self.width.is_none() { (*name).to_owned() } else { shorten(name, width) };
            line += &pad_str(&name, width, Alignment::Left, None);
            line += "  ";
        }
        if self.width.is_none_or(|width| width >= FOR_NUMBERS) {
            line += &format!("{fetched:>9}  {took:>9}  {path}");
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// Words below a line, broken where the terminal ends.
    fn below(&self, words: &str) -> String {
        const INDENT: &str = "                      ";
        let room = self.width.map_or(usize::MAX, |width| width.max(NARROWEST) - INDENT.len());
        let mut text = String::new();
        let mut used = 0;
        for word in words.split_whitespace() {
            let length = measure_text_width(word);
            if used > 0 && used + 1 + length <= room {
                text.push(' ');
                used += 1 + length;
            } else {
                text += if text.is_empty() { "" } else { "\n" };
                text += INDENT;
                used = length;
            }
            text += word;
        }
        text + "\n"
    }
}

/// What it came to.
fn summary(totals: &Totals) -> String {
    let several =
        |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let mut parts = Vec::new();
    let mut add = |count: usize, words: &str| {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    };
    add(totals.provided, "from packages");
    add(totals.bundled, "bundled");
    add(totals.host, "from the host");
    add(totals.absent, "absent");
    add(totals.failed, "not to be had");
    add(totals.forbidden, "forbidden");
    add(totals.refused, "refused by the loader");
    let mut text = several(totals.loaded, "library", "libraries");
    if totals.processes > 1 {
        text += &format!(" in {} processes", totals.processes);
    }
    if !parts.is_empty() {
        text += &format!(": {}", parts.join(", "));
    }
    if totals.realised > 0 {
        let size = if totals.fetched_bytes > 0 {
            format!(", {}", bytes(totals.fetched_bytes))
        } else {
            String::new()
        };
        text += &format!("; {} fetched now{size}", totals.realised);
    }
    text + "\n"
}

/// Who wanted it.
pub(super) fn needed_by(load: &Load) -> String {
    let name = load.needed_by.as_deref().map(file_name);
    match (load.why, name) {
        (Why::Needed, Some(name)) => name,
        (Why::Dlopen, Some(name)) => format!("dlopen by {name}"),
        (Why::Preload, _) => "(LD_PRELOAD)".to_owned(),
        (Why::Dlopen, None) | (Why::Needed, None) => "(dlopen)".to_owned(),
    }
}

/// How it was found, or why not.
pub(super) fn how(load: &Load) -> String {
    let of = || load.of.as_deref().map(file_name).unwrap_or_default();
    match (load.outcome, load.how) {
        (Outcome::Absent, _) => "absent".to_owned(),
        (Outcome::Failed, _) => "failed".to_owned(),
        (Outcome::Forbidden, _) => "forbidden".to_owned(),
        (Outcome::Refused, _) => "refused by the loader".to_owned(),
        (Outcome::Loaded, Some(How::Rpath)) => format!("RPATH of {}", of()),
        (Outcome::Loaded, Some(How::Runpath)) => format!("RUNPATH of {}", of()),
        (Outcome::Loaded, Some(How::LibraryPath)) => "LD_LIBRARY_PATH".to_owned(),
        (Outcome::Loaded, Some(How::ServedCache)) => "served cache".to_owned(),
        (Outcome::Loaded, Some(How::DefaultFolder)) => "default folder".to_owned(),
        (Outcome::Loaded, Some(How::Path)) => "by its path".to_owned(),
        (Outcome::Loaded, Some(How::Redirected)) => "redirected".to_owned(),
        (Outcome::Loaded, Some(How::Before)) => "before".to_owned(),
        (Outcome::Loaded, None) => "-".to_owned(),
    }
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Milliseconds, or seconds where there are many.
fn at(time: Duration) -> String {
    match time.as_millis() {
        ..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// Takes out of the middle what is too much.
fn shorten(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width || width < 3 {
        return text.to_owned();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - tail).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests;
