//! What `sonde plans` prints: what is kept of programs, and what of it goes.

use std::fmt::Write;

use serde::Serialize;

use super::style::{Columns, age, bytes};

/// A plan as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) program: String,
    /// The file that it is kept in.
    pub(crate) file: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// When it was last used, in seconds since 1970; exact to a day.
    pub(crate) used: u64,
    /// When it was made, in seconds since 1970.
    pub(crate) made: u64,
    pub(crate) loader: String,
    pub(crate) served_cache: String,
    /// Store objects that it keeps from being collected as garbage.
    pub(crate) objects: Vec<String>,
    pub(crate) libraries: Vec<Library>,
}

/// One soname of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct Library {
    pub(crate) soname: String,
    /// The file that is linked against it; nothing for what was asked for at run time.
    pub(crate) needed_by: Option<String>,
    pub(crate) from: From,
    /// Attribute and output of the package that provides it.
    pub(crate) package: Option<String>,
    pub(crate) path: Option<String>,
    /// Per cent of what is needed of it that it defines.
    pub(crate) coverage: Option<u8>,
    pub(crate) reason: Option<String>,
}

/// Where a library comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// The program brings it along.
    Program,
    /// The loader's glibc.
    Glibc,
    Package,
    /// The host, if it has it: no package may provide it.
    Host,
    Nobody,
}

/// One line for each.
pub(crate) fn table(plans: &[Plan]) -> String {
    if plans.is_empty() {
        return String::new();
    }
    let headings = ["USED", "MADE", "LIBRARIES", "OBJECTS", "PROGRAM"];
    let mut columns = Columns::new(&headings, &["LIBRARIES", "OBJECTS"]);
    for plan in plans {
        columns.add([
            age(plan.used),
            age(plan.made),
            plan.libraries.len().to_string(),
            plan.objects.len().to_string(),
            plan.program.clone(),
        ]);
    }
    columns.to_string()
}

/// Everything about one.
pub(crate) fn text(plan: &Plan) -> String {
    let mut text = format!("{}\n", plan.program);
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "    {name:<13}{value}");
    };
    line("made", &age(plan.made));
    line("used", &age(plan.used));
    line("loader", &plan.loader);
    line("served cache", &plan.served_cache);
    line("kept in", &format!("{} ({})", plan.file, bytes(plan.size)));
    if plan.libraries.is_empty() {
        return text;
    }
    let mut columns = Columns::new(&["    SONAME", "FROM", "PATH", "WHY"], &[]);
    for library in &plan.libraries {
        let from = match library.from {
            From::Program => "the program",
            From::Glibc => "the loader's glibc",
            From::Package => library.package.as_deref().unwrap_or_default(),
            From::Host => "the host",
            From::Nobody => "nobody",
        };
        columns.add([
            format!("    {}", library.soname),
            from.to_owned(),
            library.path.clone().unwrap_or_default(),
            why(library),
        ]);
    }
    text + &columns.to_string()
}

fn why(library: &Library) -> String {
    let at_run_time = library.needed_by.is_none().then(|| "asked for at run time".to_owned());
    let covered = library.coverage.map(|share| format!("defines {share} % of what is needed"));
    let reasons: Vec<String> = [at_run_time, covered, library.reason.clone()].into_iter().flatten().collect();
    reasons.join("; ")
}

/// What goes, or would go: each thing, and why.
pub(crate) fn litter(litter: &[(String, &str)], dry_run: bool) -> String {
    let mut text: String = litter.iter().map(|(what, why)| format!("{what}: {why}\n")).collect();
    let done = if dry_run { "would be removed" } else { "removed" };
    let _ = writeln!(text, "{} {done}", litter.len());
    text
}

/// For programs.
pub(crate) fn json(plans: &[Plan]) -> String {
    serde_json::to_string_pretty(plans).unwrap_or_default() + "\n"
}
