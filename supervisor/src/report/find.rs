//! What `sonde find` prints: candidates in their order, each with the reason for its place.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use sonde_resolve::bundle::{Want, Why};
use sonde_resolve::choose::coverage::Coverage;
use sonde_resolve::choose::settle::{Assessed, Settled, Standing};
use sonde_resolve::choose::{NearMiss, Resemblance, Rule};
use sonde_resolve::dlopen_note::Priority;
use sonde_resolve::index::table::{LinkTarget, Provider};
use sonde_resolve::lists::{Group, GroupKind};

use super::style::{Columns, Paint, bytes};
use crate::index::{Choice, Index};
use crate::store::StorePath;

/// How many names are told of what a candidate lacks; `--json` has all.
const MOST_MISSING: usize = 6;

/// What a near miss is called that differs in its version.
pub(super) const OTHER_VERSION: &str = "another version";

/// The answer for one soname.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) soname: String,
    /// There is a provider, or the program needs none.
    pub(crate) provided: bool,
    pub(crate) wanted: Option<Wanted>,
    pub(crate) excluded: Option<Excluded>,
    /// In their final order; the first is the chosen one, if `provided`.
    pub(crate) candidates: Vec<Found>,
    pub(crate) near_misses: Vec<Near>,
}

/// Who wants a library.
#[derive(Debug, Serialize)]
pub(crate) struct Wanted {
    /// The program, or a library that came with it.
    pub(crate) by: String,
    /// `needed`, `required`, `recommended`, `suggested`; nothing if it does not want it.
    pub(crate) why: Option<&'static str>,
    /// Where the program finds it by its own means.
    pub(crate) found: Option<String>,
}

/// Why no package may provide it.
#[derive(Debug, Serialize)]
pub(crate) struct Excluded {
    pub(crate) kind: &'static str,
    pub(crate) reason: String,
    /// Of glibc's own: where it comes from.
    pub(crate) comes_from: Option<String>,
}

/// A library in a package.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) attribute: String,
    pub(crate) output: String,
    /// Name and version, from the store path.
    pub(crate) name: String,
    pub(crate) store_path: String,
    pub(crate) file: String,
    /// In bytes, if the database knows it.
    pub(crate) size: Option<u64>,
    /// Valid on this machine.
    pub(crate) realised: bool,
    pub(crate) database: String,
    /// The policy's rule that forbids it.
    pub(crate) forbidden: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub(crate) place: Option<Placed>,
}

/// Where a candidate stands, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Placed {
    pub(crate) chosen: bool,
    /// By rank alone; 1 is the best.
    pub(crate) rank: usize,
    pub(crate) standing: &'static str,
    /// It is another spelling of the name.
    pub(crate) alias: bool,
    /// What it does better than some other.
    pub(crate) merits: Vec<Reason>,
    /// The next better one by rank, and the rule that put that first; no rule: a tie.
    pub(crate) behind: Option<String>,
    pub(crate) beaten_by: Option<Reason>,
    pub(crate) tie: bool,
    /// Nothing: not compared, or not realised.
    pub(crate) coverage: Option<Covered>,
    /// A program was given to compare with.
    #[serde(skip)]
    compared: bool,
}

/// A ranking rule.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Reason {
    pub(crate) rule: &'static str,
    pub(crate) reason: &'static str,
}

/// How much of a program's needs a candidate defines.
#[derive(Debug, Serialize)]
pub(crate) struct Covered {
    pub(crate) share: f64,
    pub(crate) needed: usize,
    pub(crate) defined: usize,
    pub(crate) missing_versions: Vec<String>,
    pub(crate) missing_symbols: Vec<String>,
    /// It has no versions at all: the loader only warns.
    pub(crate) unversioned: bool,
    /// Its `DT_SONAME` is another.
    pub(crate) other_soname: bool,
}

/// A name that resembles the one that nobody has.
#[derive(Debug, Serialize)]
pub(crate) struct Near {
    pub(crate) soname: String,
    pub(crate) kind: &'static str,
    /// Who has it.
    pub(crate) attribute: Option<String>,
}

impl Wanted {
    pub(crate) fn by(member: &Path, want: &Want) -> Self {
        let why = match want.why {
            Why::Needed => "needed",
            Why::Note(Priority::Required) => "required",
            Why::Note(Priority::Recommended) => "recommended",
            Why::Note(Priority::Suggested) => "suggested",
        };
        let found = want.found.as_ref().map(|path| path.display().to_string());
        Self { by: member.display().to_string(), why: Some(why), found }
    }

    pub(crate) fn not_by(program: &Path) -> Self {
        Self { by: program.display().to_string(), why: None, found: None }
    }
}

impl Finding {
    /// There is nothing to choose: the program brings it along, or no package may provide it.
    pub(crate) fn without_choice(
        soname: &str,
        wanted: Option<Wanted>,
        group: Option<&Group>,
        glibc: Option<&Choice>,
    ) -> Self {
        let excluded = group.map(|group| Excluded {
            kind: match group.kind {
                GroupKind::Glibc => "glibc",
                GroupKind::GccRuntime => "gcc-runtime",
                GroupKind::Driver => "driver",
                GroupKind::Never => "never",
            },
            reason: group.reason.clone(),
            comes_from: glibc.map(|loader| loader.object.to_string()),
        });
        let found = wanted.as_ref().is_some_and(|wanted| wanted.found.is_some());
        Self {
            soname: soname.to_owned(),
            provided: found || glibc.is_some(),
            wanted,
            excluded,
            candidates: Vec::new(),
            near_misses: Vec::new(),
        }
    }

    /// The candidates, settled, or what resembles a name without any.
    pub(crate) fn of(
        index: &Index,
        soname: &str,
        wanted: Option<Wanted>,
        settled: &Settled<'_>,
        near: &[NearMiss],
    ) -> Self {
        let mut by_rank: Vec<&Assessed<'_>> = settled.order.iter().collect();
        by_rank.sort_by_key(|one| one.rank);
        let compared = wanted.as_ref().is_some_and(|wanted| wanted.why.is_some());
        let candidates = settled.order.iter().enumerate().map(|(at, one)| {
            let better = one.rank.checked_sub(1).and_then(|rank| by_rank.get(rank));
            let mut found = Found::file(index, one.ranked.candidate.database, &one.ranked.candidate.provider);
            found.place = Some(Placed::of(one, at == 0 && settled.decided, better.copied(), compared));
            found
        });
        Self {
            soname: soname.to_owned(),
            provided: settled.decided,
            wanted,
            excluded: None,
            candidates: candidates.collect(),
            near_misses: near.iter().map(|near| Near::of(index, near)).collect(),
        }
    }

    /// The chosen one.
    pub(crate) fn chosen(&self) -> Option<&Found> {
        self.candidates.iter().find(|found| found.place.as_ref().is_some_and(|place| place.chosen))
    }

    /// What the chosen one lacks.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.chosen()?.place.as_ref()?.coverage.as_ref().and_then(super::candidates::complaint)
    }

    /// Nothing that was asked for is missing; a program can do without what it does not need.
    pub(crate) fn is_satisfied(&self) -> bool {
        let dispensable = ["recommended", "suggested"];
        let why = self.wanted.as_ref().and_then(|wanted| wanted.why);
        self.provided || why.is_some_and(|why| dispensable.contains(&why))
    }
}

impl Found {
    /// A file of a package, without a place among others.
    pub(crate) fn file(index: &Index, database: usize, provider: &Provider<'_>) -> Self {
        let package = &provider.package;
        let store_path = package.store_path();
        Self {
            attribute: package.attr.to_owned(),
            output: package.output.to_owned(),
            name: package.name().to_owned(),
            file: provider.store_path(),
            size: match provider.kind {
                LinkTarget::Regular => Some(provider.size),
                LinkTarget::Symlink(_) => index.size_of(database, provider),
            },
            realised: StorePath::new(&store_path).is_some_and(|object| index.is_there(&object)),
            database: index.name_of(database).to_owned(),
            forbidden: None,
            store_path,
            place: None,
        }
    }

    /// `zlib.out`, as `nix-locate` says it.
    pub(crate) fn package(&self) -> String {
        format!("{}.{}", self.attribute, self.output)
    }
}

impl Placed {
    fn of(one: &Assessed<'_>, chosen: bool, better: Option<&Assessed<'_>>, compared: bool) -> Self {
        let name = |one: &Assessed<'_>| {
            let package = &one.ranked.candidate.provider.package;
            format!("{}.{}", package.attr, package.output)
        };
        Self {
            chosen,
            rank: one.rank + 1,
            standing: match one.standing {
                Standing::Full => "full",
                Standing::Unknown => "unknown",
                Standing::Partial => "partial",
                Standing::Unfit => "unfit",
            },
            alias: one.ranked.candidate.alias,
            merits: one.ranked.merits.iter().map(|rule| Reason::of(rule)).collect(),
            behind: better.map(name),
            beaten_by: one.ranked.beaten_by.map(Reason::of),
            tie: one.ranked.tied,
            coverage: one.coverage.as_ref().filter(|_| compared).map(Covered::of),
            compared,
        }
    }
}

impl Reason {
    fn of(rule: &Rule) -> Self {
        Self { rule: rule.name, reason: rule.reason }
    }
}

impl Covered {
    fn of(coverage: &Coverage) -> Self {
        Self {
            share: coverage.share(),
            needed: coverage.needed,
            defined: coverage.defined,
            missing_versions: coverage.missing_versions.clone(),
            missing_symbols: coverage.missing_symbols.clone(),
            unversioned: coverage.unversioned,
            other_soname: coverage.other_soname,
        }
    }
}

impl Near {
    fn of(index: &Index, near: &NearMiss) -> Self {
        let kind = match near.kind {
            Resemblance::OtherVersion => OTHER_VERSION,
            Resemblance::OtherCase => "another case",
            Resemblance::Spelling => "another spelling",
        };
        let attribute = index.choose(&near.soname).map(|choice| choice.attribute);
        Self { soname: near.soname.clone(), kind, attribute }
    }
}

/// For programs.
pub(crate) fn json(answer: &impl Serialize) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_default() + "\n"
}

/// For people: one line for what has one candidate, and the whole story for what has several.
pub(crate) fn text(findings: &[Finding], limit: usize, paint: Paint) -> String {
    findings.iter().map(|finding| super::candidates::text(finding, limit, paint)).collect()
}

/// Files, one line each.
pub(crate) fn files(pattern: &str, files: &[Found], limit: usize) -> String {
    if files.is_empty() {
        return format!(
            "{pattern}: no package has such a library; a pattern may have `*`, as in 'lib/libav*.so.60'\n"
        );
    }
    let mut columns = Columns::new(&["PACKAGE", "SIZE", "IN STORE", "DATABASE", "FILE"], &["SIZE"]);
    for file in files.iter().take(limit) {
        columns.add([
            file.package(),
            file.size.map_or_else(|| "-".to_owned(), bytes),
            (if file.realised { "yes" } else { "no" }).to_owned(),
            file.database.clone(),
            file.file.clone(),
        ]);
    }
    columns.to_string() + &rest(files.len(), limit)
}

pub(super) fn rest(all: usize, limit: usize) -> String {
    match all.saturating_sub(limit) {
        0 => String::new(),
        more => format!("… and {more} more; --limit 0 shows all\n"),
    }
}

/// Some names, and how many more there are.
pub(super) fn some(names: &[String]) -> String {
    let mut text = names.iter().take(MOST_MISSING).cloned().collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(MOST_MISSING).filter(|more| *more > 0) {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// What was compared, in the column of that name.
pub(super) fn coverage(place: &Placed) -> String {
    match &place.coverage {
        Some(covered) if !covered.missing_versions.is_empty() && !covered.unversioned => {
            "wrong versions".to_owned()
        }
        Some(covered) => format!("{} of {}", covered.defined, covered.needed),
        None if place.compared && place.standing == "unknown" => "unknown".to_owned(),
        None => "-".to_owned(),
    }
}
