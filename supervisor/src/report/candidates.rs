//! The candidates for one soname as `sonde find` shows them to people.

use std::fmt::Write;

use super::find::{Covered, Finding, Found, OTHER_VERSION, Placed, coverage, rest, some};
use super::style::{Columns, Paint, bytes};

const INDENT: &str = "      ";

/// One soname's part of the answer.
pub(super) fn text(finding: &Finding, limit: usize, paint: Paint) -> String {
    let soname = paint.bold(&finding.soname);
    if let Some(found) = finding.wanted.as_ref().and_then(|wanted| wanted.found.as_deref()) {
        return format!("{soname}: the program brings it along: {found}\n");
    }
    if let Some(excluded) = &finding.excluded {
        let from = match (&excluded.comes_from, excluded.kind) {
            (Some(path), _) => format!("it comes with the loader, from {path}"),
            (None, "glibc") => "it comes with the loader, which no database has".to_owned(),
            (None, "driver") => {
                "no package provides it; the host's driver folder does, /run/opengl-driver/lib if no other is configured".to_owned()
            }
            (None, _) => "no package provides it".to_owned(),
        };
        return format!("{soname}: {}\n{INDENT}{from}\n", excluded.reason);
    }
    match finding.candidates.as_slice() {
        [] => absent(finding, &soname, paint),
        [one] if finding.provided && !has_story(one) => compact(one, &soname, paint),
        several => story(finding, several, limit, &soname, paint),
    }
}

fn absent(finding: &Finding, soname: &str, paint: Paint) -> String {
    let mut text = format!("{soname}: {}{}\n", paint.bad("no package has it"), wanted_by(finding));
    for near in &finding.near_misses {
        let owner = near.attribute.as_ref().map_or_else(String::new, |attribute| format!(" in {attribute}"));
        let _ = writeln!(text, "{INDENT}{}{owner} ({})", near.soname, near.kind);
    }
    let hint = match finding.near_misses.first().map(|near| near.kind) {
        None => "nothing resembles it; an older database may have it",
        Some(OTHER_VERSION) => "an older database may have the version that was asked for",
        Some(_) => return text,
    };
    let _ = writeln!(text, "{INDENT}{hint} (`sonde index import FILE --name OLDER`)");
    text
}

/// There is more to say than where it is.
fn has_story(one: &Found) -> bool {
    one.forbidden.is_some()
        || one.place.as_ref().is_some_and(|place| {
            place.alias || place.coverage.as_ref().is_some_and(|covered| complaint(covered).is_some())
        })
}

fn compact(one: &Found, soname: &str, paint: Paint) -> String {
    let covered = one.place.as_ref().map(coverage).filter(|covered| covered != "-");
    let parts = [
        paint.good(&one.package()),
        one.size.map_or_else(|| "size unknown".to_owned(), bytes),
        (if one.realised { "in the store" } else { "not realised" }).to_owned(),
        covered.map_or_else(String::new, |covered| match covered.as_str() {
            "unknown" => "symbols unknown".to_owned(),
            _ => format!("{covered} symbols"),
        }),
        paint.dim(&one.file),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{soname}: {}\n", parts.join(", "))
}

fn story(finding: &Finding, several: &[Found], limit: usize, soname: &str, paint: Paint) -> String {
    let count = match several.len() {
        1 => "1 candidate".to_owned(),
        count => format!("{count} candidates"),
    };
    let verdict = if finding.provided { String::new() } else { paint.bad(", none of which will do") };
    let mut text = format!("{soname}: {count}{verdict}{}\n", wanted_by(finding));
    let compared = several.iter().filter_map(|one| one.place.as_ref()).any(|place| coverage(place) != "-");
    let mut headings = vec!["", "PACKAGE", "NAME", "SIZE", "IN STORE", "DATABASE"];
    headings.extend(compared.then_some("COVERAGE"));
    let mut columns = Columns::new(&headings, &["", "SIZE"]);
    for (at, one) in several.iter().enumerate().take(limit) {
        let mut row = vec![
            (at + 1).to_string(),
            one.package(),
            one.name.clone(),
            one.size.map_or_else(|| "-".to_owned(), bytes),
            (if one.realised { "yes" } else { "no" }).to_owned(),
            one.database.clone(),
        ];
        row.extend(one.place.as_ref().filter(|_| compared).map(coverage));
        columns.add(row);
    }
    let lines = columns.lines();
    let mut lines = lines.iter();
    let _ = writeln!(text, "  {}", paint.dim(lines.next().map_or("", String::as_str)));
    for (line, one) in lines.zip(several) {
        let Some(place) = &one.place else { continue };
        let line = if place.chosen { paint.good(line) } else { line.clone() };
        let _ = writeln!(text, "  {line}\n{INDENT}{}", paint.dim(&one.file));
        if let Some(rule) = &one.forbidden {
            let _ = writeln!(text, "{INDENT}{}", paint.bad(&format!("forbidden by {rule}")));
        }
        for reason in reasons(place) {
            let _ = writeln!(text, "{INDENT}{reason}");
        }
    }
    text + &rest(several.len(), limit)
}

fn wanted_by(finding: &Finding) -> String {
    match finding.wanted.as_ref().map(|wanted| (wanted.why, &wanted.by)) {
        Some((Some("needed"), by)) => format!(", needed by {by}"),
        Some((Some(priority), by)) => format!(", {priority} by {by}"),
        Some((None, program)) => format!(", which {program} does not name: only rank counts"),
        None => String::new(),
    }
}

/// Why a candidate stands where it does.
fn reasons(place: &Placed) -> Vec<String> {
    let mut reasons = Vec::new();
    if place.alias {
        reasons.push("another spelling of the name: taken only if nobody has the very one".to_owned());
    }
    reasons.extend(place.coverage.as_ref().and_then(complaint));
    if place.coverage.is_none() && coverage(place) == "unknown" {
        reasons.push("not realised, symbols unknown".to_owned());
    }
    if place.standing == "unfit" && place.coverage.as_ref().is_none_or(|covered| complaint(covered).is_none())
    {
        reasons.push("not taken: no library for programs to run with, or not for this program".to_owned());
    }
    match (&place.behind, &place.beaten_by) {
        (Some(better), Some(rule)) => {
            reasons.push(format!("ranks behind {better} by {}: {}", rule.rule, rule.reason));
        }
        (Some(better), None) => reasons.push(format!("ranks like {better}; ordered by store path")),
        (None, _) if place.merits.is_empty() => {}
        (None, _) => {
            let merits: Vec<&str> = place.merits.iter().map(|merit| merit.rule).collect();
            reasons.push(format!("ranks first, being better than some in {}", merits.join(", ")));
        }
    }
    reasons
}

/// What a candidate lacks.
pub(super) fn complaint(covered: &Covered) -> Option<String> {
    let versions = some(&covered.missing_versions);
    let symbols = some(&covered.missing_symbols);
    if !covered.missing_versions.is_empty() && !covered.unversioned {
        Some(format!("the loader would refuse it: it lacks the version {versions}"))
    } else if covered.unversioned {
        let lacks = if symbols.is_empty() { String::new() } else { format!(", and lacks {symbols}") };
        Some(format!(
            "its symbols have no versions, of which {versions} is needed: the loader would warn{lacks}"
        ))
    } else if !covered.missing_symbols.is_empty() {
        Some(format!("lacks {} of {} symbols: {symbols}", covered.missing_symbols.len(), covered.needed))
    } else {
        None
    }
}
