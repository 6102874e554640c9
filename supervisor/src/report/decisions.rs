//! What `sonde policy` prints: whether a policy is sound, and what it decides with every rule that took part.

use std::fmt::Write;
use std::sync::Arc;

use sonde_policy::{Decision, Explanation, Extent, Limits, Problem};

use super::find::{Found, rest};
use super::style::{Columns, bytes};

const INDENT: &str = "    ";

/// A question, and what the policy says of it before there is a package.
#[derive(Debug)]
pub(crate) struct Asked {
    /// A library or a package.
    pub(crate) what: String,
    /// The program it is asked for, if it was named.
    pub(crate) program: Option<String>,
    /// Why no package may provide it, whatever the policy says.
    pub(crate) excluded: Option<String>,
    /// The program does not name it, so it can only be asked for at run time.
    pub(crate) at_run_time: bool,
    /// Why everything is refused.
    pub(crate) fault: Option<String>,
    pub(crate) pin: Option<String>,
    pub(crate) host_only: Option<Arc<str>>,
    /// May the host's driver folders provide it?
    pub(crate) host: Decision,
    pub(crate) limits: Limits,
    /// How much of the limit in total is used up, in words.
    pub(crate) downloaded: Option<String>,
}

/// A candidate, and what is decided of it.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) soname: String,
    pub(crate) found: Found,
    pub(crate) explanation: Explanation,
}

impl Asked {
    pub(crate) fn host_may(&self) -> bool {
        self.host == Decision::Provide
    }
}

impl Judged {
    pub(crate) fn is_provided(&self) -> bool {
        self.explanation.decision == Decision::Provide
    }
}

/// There is no such file.
pub(crate) fn absent(path: &str) -> String {
    format!("{path}: there is none, which permits everything\n")
}

/// A sound file, and what has no effect in it.
pub(crate) fn checked(path: &str, extent: Extent, warnings: &[Problem]) -> String {
    let mut text: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let Extent { rules, sections } = extent;
    let faults =
        if warnings.is_empty() { String::new() } else { format!(", {}", count(warnings.len(), "warning")) };
    let _ = writeln!(text, "{path}: sound; {}, {}{faults}", count(rules, "rule"), count(sections, "section"));
    text
}

/// A file with mistakes.
pub(crate) fn mistaken(path: &str, problems: &[Problem]) -> String {
    let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    text + &format!("{path}: cannot be used, so with it nothing is provided\n")
}

/// The decisions, each with every rule that took part.
pub(crate) fn explanation(asked: &Asked, all: &[Judged], limit: usize) -> String {
    let program = match &asked.program {
        Some(program) if asked.at_run_time => format!("{program}, which does not name it"),
        Some(program) => program.clone(),
        None => "a program without a section of its own".to_owned(),
    };
    let mut text = format!("{} for {program}\n", asked.what);
    if let Some(fault) = &asked.fault {
        let _ = writeln!(text, "{INDENT}{fault}");
        return text;
    }
    if let Some(pin) = &asked.pin {
        let _ = writeln!(text, "{INDENT}pinned to {pin}");
    }
    if let Some(rule) = &asked.host_only {
        let _ = writeln!(text, "{INDENT}left to the host's driver folders: {rule}");
    }
    if all.is_empty() {
        let host = match &asked.host {
            Decision::Provide => "the host's driver folders may have it".to_owned(),
            Decision::Refuse { rule } => format!("and the host's driver folders may not provide it: {rule}"),
        };
        let nobody = "no package has a library or an attribute of this name";
        let _ = writeln!(text, "{INDENT}{}; {host}", asked.excluded.as_deref().unwrap_or(nobody));
    }
    for judged in all.iter().take(if limit == 0 { usize::MAX } else { limit }) {
        text += &one(asked, judged);
    }
    text += &rest(all.len(), if limit == 0 { usize::MAX } else { limit });
    limits(asked, &mut text);
    text
}

fn one(asked: &Asked, judged: &Judged) -> String {
    let (found, explanation) = (&judged.found, &judged.explanation);
    let library = if judged.soname == asked.what { String::new() } else { format!(" {}", judged.soname) };
    let verdict = match (&explanation.decision, &explanation.by) {
        (Decision::Provide, None) => "may be provided: there is no policy".to_owned(),
        (Decision::Provide, Some(rule)) => format!("may be provided: {rule}"),
        (Decision::Refuse { rule }, _) => format!("forbidden: {rule}"),
    };
    let mut text = format!(
        "  {}{library} ({}, index {})\n{INDENT}{verdict}\n",
        found.package(),
        found.name,
        found.database
    );
    // Of one rule everything is said already.
    if explanation.parts.len() > 1 {
        let mut columns = Columns::new(&["SAYS", "PLACE", "", "RULE"], &[]);
        for part in &explanation.parts {
            let cells = [part.says.to_string(), part.place.to_string(), part.weight.to_string()];
            columns.add(cells.into_iter().chain([part.rule.to_string()]));
        }
        for line in columns.lines() {
            let _ = writeln!(text, "{INDENT}{INDENT}{line}");
        }
    }
    text
}

fn limits(asked: &Asked, text: &mut String) {
    let limits = &asked.limits;
    let sizes = [("for one start", &limits.download_per_start), ("in total", &limits.download_total)];
    for (what, limit) in sizes {
        if let Some(limit) = limit {
            let _ = writeln!(
                text,
                "{INDENT}at most {} are downloaded {what}: {}",
                bytes(limit.value),
                limit.rule
            );
        }
    }
    if let Some(downloaded) = &asked.downloaded {
        let _ = writeln!(text, "{INDENT}{INDENT}{downloaded}");
    }
    if let Some(limit) = &limits.candidates {
        let _ = writeln!(text, "{INDENT}at most {} candidates are got: {}", limit.value, limit.rule);
    }
    if let Some(offline) = limits.offline.as_ref().filter(|offline| offline.value) {
        let _ = writeln!(text, "{INDENT}nothing is downloaded: {}", offline.rule);
    }
}
