//! What doctor finds, as data. How it is printed is `show`'s business.

use serde::Serialize;

/// How bad it is; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Something works less well than it could, or some programs will not.
    Warning,
    /// Programs, or the one that was asked about, will not run.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// A name that stays the same between releases: `index.age`.
    pub(crate) id: &'static str,
    pub(crate) level: Level,
    /// What there is, in one line.
    pub(crate) summary: String,
    /// What to do about it, in one line. Everything that is not as it should be has one.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(id: &'static str, summary: impl Into<String>) -> Self {
        Self { id, level: Level::Ok, summary: one_line(summary), remedy: None }
    }

    pub(super) fn warning(id: &'static str, summary: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, level: Level::Warning, summary: one_line(summary), remedy: Some(one_line(remedy)) }
    }

    pub(super) fn error(id: &'static str, summary: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, level: Level::Error, summary: one_line(summary), remedy: Some(one_line(remedy)) }
    }
}

/// Findings that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) findings: Vec<Finding>,
}

/// The worst of all; nothing found is nothing wrong.
pub(crate) fn worst(sections: &[Section]) -> Level {
    let levels = sections.iter().flat_map(|section| &section.findings).map(|finding| finding.level);
    levels.max().unwrap_or(Level::Ok)
}

/// Errors of others may have several lines, and names of files whatever their makers liked.
fn one_line(text: impl Into<String>) -> String {
    let text: String = text.into();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").chars().map(|one| if one.is_control() { '?' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_whole_s() {
        let section = |findings| Section { title: "x", findings };
        assert_eq!(worst(&[]), Level::Ok);
        let (ok, warning) = (Finding::ok("a", "a"), Finding::warning("b", "b", "c"));
        assert_eq!(worst(&[section(vec![ok.clone(), warning.clone()]), section(vec![ok])]), Level::Warning);
        assert_eq!(worst(&[section(vec![Finding::error("d", "e", "f"), warning])]), Level::Error);
    }

    #[test]
    fn what_others_say_becomes_one_line_that_no_terminal_obeys() {
        let finding = Finding::error("a", "TOML\n  |\n1 | \u{1b}[31mx\n", "b");
        assert_eq!(finding.summary, "TOML | 1 | ?[31mx");
    }
}
