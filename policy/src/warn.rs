//! Rules that mean something and can never have an effect. Only what is certain is told: a glob is taken to cover
//! another if it is the same, or `*`.

use crate::check::Problems;
use crate::pattern::{Names, Patterns, is_glob};
use crate::problem::Severity;
use crate::rule::{Conditions, Draft, Effect, Rule};

/// More denies than this are not compared with more allows than this.
const MOST_COMPARED: usize = 200;

/// Adds a warning for each rule without an effect.
pub(crate) fn warnings(draft: &Draft, problems: &mut Problems<'_, '_>) {
    let mut warn = |line: usize, message: String| {
        let start = line_start(problems.source.text, line);
        let end =
            problems.source.text.get(start..).and_then(|rest| rest.find('\n')).map(|length| start + length);
        let span = start..end.unwrap_or(problems.source.text.len());
        problems.add(Severity::Warning, span, message, None);
    };
    let denies: Vec<Deny<'_>> = draft.rules.iter().filter_map(Deny::of).take(MOST_COMPARED).collect();
    for rule in draft.rules.iter().take(MOST_COMPARED * MOST_COMPARED / denies.len().max(1)) {
        let same_place = |other: &&Deny<'_>| {
            // Of sections only the rule's own is certain to hold whenever the rule does.
            !std::ptr::eq(other.rule, rule) && other.rule.section == rule.section
        };
        let Some(deny) = denies.iter().filter(same_place).find(|deny| deny.covers(&rule.conditions)) else {
            continue;
        };
        match rule.effect {
            Effect::Allow | Effect::Pin(_) => warn(
                rule.line,
                format!(
                    "the rule can never permit anything: line {} forbids all that it names",
                    deny.rule.line
                ),
            ),
            Effect::Deny if deny.rule.effect == Effect::Deny && deny.rule.line < rule.line => {
                warn(rule.line, format!("line {} forbids all that this rule does", deny.rule.line));
            }
            Effect::Deny | Effect::HostOnly => {}
        }
    }
    pins(draft, &mut warn);
    for (at, section) in draft.sections.iter().enumerate().take(MOST_COMPARED) {
        let same = draft
            .sections
            .iter()
            .take(at)
            .find(|other| (&other.path, &other.build_id) == (&section.path, &section.build_id));
        if let Some(same) = same {
            warn(
                section.line,
                format!("line {} has a section for the same programs: both count as one", same.line),
            );
        }
        let silent = section.default.is_none()
            && section.settings.dlopen.is_none()
            && section.settings.limits == crate::Limits::default()
            && !draft.rules.iter().any(|rule| rule.section == Some(at));
        if silent {
            warn(section.line, "the section says nothing".to_owned());
        }
    }
}

/// Two pins of one name leave nothing that may provide it.
fn pins(draft: &Draft, warn: &mut impl FnMut(usize, String)) {
    let pins: Vec<&Rule> =
        draft.rules.iter().filter(|rule| matches!(rule.effect, Effect::Pin(_))).take(MOST_COMPARED).collect();
    for (at, rule) in pins.iter().enumerate() {
        let clash = pins.iter().take(at).find(|other| {
            other.section == rule.section
                && other.effect != rule.effect
                && other
                    .conditions
                    .soname
                    .iter()
                    .flatten()
                    .any(|name| rule.conditions.soname.iter().flatten().any(|other| other == name))
        });
        if let Some(clash) = clash {
            let message =
                format!("line {} pins the same name to another package: nothing may provide it", clash.line);
            warn(rule.line, message);
        }
    }
}

/// A rule that forbids whatever meets its conditions, with the patterns of each compiled.
struct Deny<'r> {
    rule: &'r Rule,
    patterns: [Option<Patterns>; 5],
}

fn patterns(conditions: &Conditions) -> [(&Option<Vec<String>>, Names); 5] {
    let Conditions { attribute, name, store_path, index, soname, .. } = conditions;
    [
        (attribute, Names::Words),
        (name, Names::Words),
        (store_path, Names::Paths),
        (index, Names::Words),
        (soname, Names::Words),
    ]
}

impl<'r> Deny<'r> {
    fn of(rule: &'r Rule) -> Option<Self> {
        let unconditional = rule.conditions.version.is_none() && rule.conditions.except.is_none();
        let denies = matches!(rule.effect, Effect::Deny | Effect::HostOnly);
        (denies && unconditional).then(|| Self {
            rule,
            patterns: patterns(&rule.conditions)
                .map(|(some, names)| Patterns::of(names, some.as_ref()?.iter().map(String::as_str)).ok()),
        })
    }

    /// Is everything forbidden that meets these conditions?
    fn covers(&self, conditions: &Conditions) -> bool {
        let own = patterns(&self.rule.conditions);
        let theirs = patterns(conditions);
        own.iter().zip(&self.patterns).zip(&theirs).all(|(((own, names), compiled), (theirs, _))| {
            let all = if *names == Names::Words { "*" } else { "**" };
            match (own, compiled, theirs) {
                (None, _, _) => true,
                (Some(own), Some(compiled), Some(theirs)) => theirs.iter().all(|pattern| {
                    let literal = !is_glob(pattern) && compiled.matches(pattern.as_bytes());
                    literal || own.iter().any(|one| one == pattern || one == all)
                }),
                (Some(own), _, None) => own.iter().any(|one| one == all),
                (Some(_), None, Some(_)) => false,
            }
        })
    }
}

fn line_start(text: &str, line: usize) -> usize {
    let mut ends = text.match_indices('\n').map(|(at, _)| at + 1);
    line.checked_sub(2).map_or(0, |skipped| ends.nth(skipped).unwrap_or(text.len()))
}
