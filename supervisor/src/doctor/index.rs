//! The databases: are there any, are they sound, are they of this kind of machine, and how old are they?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::finding::Finding;
use crate::index::Index;
use crate::index::registry::{Entry, Registry};
use crate::report::databases::Database;
use crate::report::style::number;
use crate::settings::Settings;

/// nixpkgs has moved on a good deal after so long, and caches begin to lose what nobody fetches.
const OLD: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// The system that packages for our programs are built for.
const SYSTEM: &str = "x86_64-linux";

const UPDATE: &str = "`sonde index update`";

/// Looks at every database, and at what all of them together have.
pub(super) fn examine(settings: &Settings, index: Option<&Index>) -> Vec<Finding> {
    let registry = Registry::of(settings);
    let entries = registry.entries();
    if entries.is_empty() {
        return vec![Finding::error(
            "index.databases",
            format!("there is no index in {}: no library is found", registry.folder().display()),
            "`sonde index update` fetches one; `sonde index import FILE` takes what nix-index has written",
        )];
    }
    let mut findings: Vec<Finding> =
        entries.into_iter().flat_map(|entry| database(entry, &registry)).collect();
    findings.extend(index.map(loader));
    let problems = index.into_iter().flat_map(Index::problems);
    let lists = problems.filter(|problem| matches!(problem, crate::index::IndexError::Lists(_)));
    findings.extend(lists.map(|problem| {
        Finding::warning(
            "index.lists",
            problem.to_string(),
            "correct lists.toml, or remove it; docs/index.md has its form",
        )
    }));
    findings
}

/// What is wrong with one; if nothing is, what there is.
fn database(entry: Entry, registry: &Registry) -> Vec<Finding> {
    const ID: &str = "index.databases";
    let looked = Database::look(0, entry, registry);
    let name = &looked.name;
    if let Some(problem) = looked.problem {
        let remedy =
            format!("fetch it again, `sonde index update --name {name}`, or `sonde index remove {name}`");
        return vec![Finding::error(ID, problem, remedy)];
    }
    let Some(contents) = looked.contents else { return Vec::new() };
    if contents.sonames == 0 {
        let remedy = "import a whole database; those that are called -small know programs only";
        return vec![Finding::error(ID, format!("the database {name} knows no libraries"), remedy)];
    }
    if !contents.systems.is_empty() && !contents.systems.iter().any(|system| system == SYSTEM) {
        let summary = format!("the database {name} is for {}, not for {SYSTEM}", contents.systems.join(", "));
        return vec![Finding::error(ID, summary, format!("import one for {SYSTEM}"))];
    }
    let days = age(contents.imported_at).as_secs() / (24 * 60 * 60);
    let sound = format!(
        "{name}: {} libraries in {} packages",
        number(contents.libraries),
        number(contents.providers)
    );
    vec![Finding::ok(ID, sound), aged(name, days)]
}

fn aged(name: &str, days: u64) -> Finding {
    const ID: &str = "index.age";
    let since = format!("{name} was imported {days} day{} ago", if days == 1 { "" } else { "s" });
    if days < OLD.as_secs() / (24 * 60 * 60) {
        Finding::ok(ID, since)
    } else {
        Finding::warning(ID, format!("{since}: newer packages are not in it"), UPDATE)
    }
}

fn loader(index: &Index) -> Finding {
    const ID: &str = "index.loader";
    let Some(choice) = index.loader() else {
        return Finding::error(
            ID,
            "no database has glibc, so there is no loader to run programs under",
            "import a whole database of nixpkgs: `sonde index update`",
        );
    };
    let state =
        if index.is_there(&choice.object) { "is in the store" } else { "is fetched at the first start" };
    Finding::ok(ID, format!("programs run under {}, which {state}", choice.file.display()))
}

fn age(imported_at: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(imported_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn an_index_of_two_months_is_old() {
        assert_eq!(
            [aged("x", 0).level, aged("x", 59).level, aged("x", 60).level],
            [Level::Ok, Level::Ok, Level::Warning]
        );
        assert!(aged("x", 1).summary.ends_with("1 day ago"));
        assert_eq!(age(u64::MAX), Duration::ZERO, "a file that says anything");
    }
}
