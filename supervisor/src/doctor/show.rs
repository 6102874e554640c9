//! How findings are printed: for people, and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::finding::{Finding, Level, Section, worst};
use crate::report::style::Paint;

/// Raised whenever a field changes its meaning or goes; new fields and new findings do not raise it.
const VERSION: u32 = 1;

/// The document that `--json` prints; docs/doctor.md describes it.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    sonde: &'static str,
    program: Option<&'a str>,
    worst: Level,
    findings: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    section: String,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// All of it, for programs. `program` is what was typed.
pub(crate) fn json(sections: &[Section], program: Option<&str>) -> String {
    let of_section = |section: &'_ Section| section.title.to_lowercase();
    let findings = sections
        .iter()
        .flat_map(|section| {
            section.findings.iter().map(|finding| Item { section: of_section(section), finding })
        })
        .collect();
    let document = Document {
        version: VERSION,
        sonde: env!("CARGO_PKG_VERSION"),
        program,
        worst: worst(sections),
        findings,
    };
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// A line for each finding, another for what to do about it, and how many there are at the end.
pub(crate) fn text(sections: &[Section], paint: Paint) -> String {
    let mut text = String::new();
    for section in sections.iter().filter(|section| !section.findings.is_empty()) {
        let _ = writeln!(text, "{}", paint.bold(section.title));
        for finding in &section.findings {
            let word = match finding.level {
                Level::Ok => paint.good("ok     "),
                Level::Warning => paint.bold("warning"),
                Level::Error => paint.bad("error  "),
            };
            let _ = writeln!(text, "  {word}  {}", finding.summary);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "           → {remedy}");
            }
        }
    }
    text + &summary(sections) + "\n"
}

fn summary(sections: &[Section]) -> String {
    let count = |level| {
        sections.iter().flat_map(|section| &section.findings).filter(|finding| finding.level == level).count()
    };
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    match (count(Level::Error), count(Level::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<Section> {
        vec![
            Section {
                title: "Index",
                findings: vec![Finding::ok("a.a", "fine"), Finding::warning("a.b", "old", "renew it")],
            },
            Section { title: "Nothing", findings: vec![] },
        ]
    }

    #[test]
    fn each_finding_is_a_line_and_each_remedy_another() {
        let shown = text(&sections(), Paint::none());
        let expected = "Index\n  ok       fine\n  warning  old\n           → renew it\n0 errors, 1 warning\n";
        assert_eq!(shown, expected);
        assert!(text(&[], Paint::none()).contains("all is well"));
    }

    #[test]
    fn json_says_its_version_and_the_worst() {
        let value: serde_json::Value = serde_json::from_str(&json(&sections(), Some("./p"))).unwrap();
        assert_eq!((&value["version"], &value["worst"]), (&1.into(), &"warning".into()));
        assert_eq!(value["program"], "./p");
        let finding = &value["findings"][1];
        assert_eq!((&finding["id"], &finding["section"]), (&"a.b".into(), &"index".into()));
        assert_eq!(finding["remedy"], "renew it");
        assert!(value["findings"][0]["remedy"].is_null());
    }
}
