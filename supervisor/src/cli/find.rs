//! `sonde find`: who has a library, who would be chosen, and why. Looks only: nothing is downloaded or changed.

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use sonde_resolve::bundle::{Bundle, Files, Want, Why};
use sonde_resolve::choose::coverage::Demand;
use sonde_resolve::choose::settle::Effort;

use super::args::Find;
use super::policy::forbidden;
use super::{complain, exit_code, logging};
use crate::guest::launch::Launch;
use crate::index::Index;
use crate::index::fitting::{AsItIs, First};
use crate::plan::seeds::Seeds;
use crate::report::find::{self, Finding, Found, Wanted};
use crate::report::style::Paint;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::store;
use crate::sys::mapped_file::MappedFile;

/// How many names that resemble one that nobody has are told.
const MOST_NEAR: usize = 5;

/// Bundled libraries larger than this are not looked into, in bytes.
const LARGEST_BUNDLED: u64 = 1 << 30;

/// Carries out the subcommand.
pub(crate) fn find(find: &Find) -> ExitCode {
    logging::to_stderr();
    match answer(find) {
        Ok((text, all_found)) => {
            // Whoever closed our standard output does not want to know.
            let _ = std::io::stdout().write_all(text.as_bytes());
            exit_code::code(if all_found { 0 } else { exit_code::FAILURE })
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn answer(find: &Find) -> anyhow::Result<(String, bool)> {
    let settings = Settings::from_environment();
    let index = Index::open(&settings, Arc::new(store::files(&settings)?))?;
    index.problems().iter().for_each(|problem| complain(problem));
    let limit = if find.limit == 0 { usize::MAX } else { find.limit };
    if let Some(pattern) = &find.file {
        let files: Vec<Found> = index
            .files(pattern)
            .into_iter()
            .map(|(database, provider)| Found::file(&index, database, &provider))
            .collect();
        let found = !files.is_empty();
        let text = if find.json { find::json(&files) } else { find::files(pattern, &files, limit) };
        return Ok((text, found));
    }
    let program = find.program.as_deref().map(|name| Program::read(&index, name)).transpose()?;
    let mut findings = findings(&index, &find.sonames, program.as_ref());
    let policy = Rules::load(&settings, &find.policies).policy();
    for finding in &mut findings {
        for candidate in &mut finding.candidates {
            let rule = forbidden(&policy, &finding.soname, program.as_ref(), candidate);
            candidate.forbidden = rule.map(|rule| rule.to_string());
        }
    }
    let text = match (find.json, &program) {
        (true, _) => find::json(&findings),
        (false, Some(program)) if findings.is_empty() => {
            format!("{}: brings along everything that it needs\n", program.path.display())
        }
        (false, _) => find::text(&findings, limit, Paint::for_stdout()),
    };
    Ok((text, findings.iter().all(Finding::is_satisfied)))
}

pub(super) fn findings(index: &Index, sonames: &[String], program: Option<&Program>) -> Vec<Finding> {
    let Some(program) = program else {
        return sonames.iter().map(|soname| finding(index, file_name(soname), None)).collect();
    };
    let missing = || program.bundle.wants.iter().filter(|want| want.found.is_none());
    let asked: Vec<&str> = if sonames.is_empty() {
        // Of glibc's own there is nothing to choose.
        missing().map(Want::soname).filter(|soname| !index.is_glibc(soname)).collect()
    } else {
        sonames.iter().map(|soname| file_name(soname)).collect()
    };
    asked.into_iter().map(|soname| finding(index, soname, Some(program))).collect()
}

pub(super) fn finding(index: &Index, soname: &str, program: Option<&Program>) -> Finding {
    let wanted = program.map(|program| program.wanted(soname));
    let excluded = index.exclusion_of(soname);
    let found = wanted.as_ref().and_then(|wanted| wanted.found.clone());
    if found.is_some() || excluded.is_some() {
        let glibc = index.loader().filter(|_| index.is_glibc(soname));
        return Finding::without_choice(soname, wanted, excluded, glibc.as_ref());
    }
    let none = (Demand::default(), HashSet::new());
    let (demand, siblings) = program.and_then(|program| program.demand(soname)).unwrap_or(none);
    let settled = index.settle(soname, &demand, &siblings, &mut AsItIs(index), Effort::Look);
    let near = if settled.order.is_empty() { index.near_misses(soname, MOST_NEAR) } else { Vec::new() };
    Finding::of(index, soname, wanted, &settled, &near)
}

/// The program that is asked for, with what it came with.
pub(super) struct Program {
    pub(super) path: PathBuf,
    bundle: Bundle,
    first: First,
    demands: HashMap<String, Demand>,
}

impl Program {
    pub(super) fn read(index: &Index, name: &OsStr) -> anyhow::Result<Self> {
        // A library is no command, but it can be asked about.
        let path = match Launch::prepare(name, &[]) {
            Ok(launch) => launch.path,
            Err(_) if name.as_bytes().contains(&b'/') => name.into(),
            Err(error) => return Err(error.into()),
        };
        let what = || path.display().to_string();
        // `$ORIGIN` is where it really lies.
        let path = path.canonicalize().with_context(what)?;
        // A program may be large. Whoever truncates it while we look harms nobody else.
        let bytes = File::open(&path).and_then(|file| MappedFile::open(&file)).with_context(what)?;
        let library_path = env::var("LD_LIBRARY_PATH").ok();
        let mut bundle =
            Bundle::read(&path, bytes.as_ref(), library_path.as_deref(), &OwnFiles).with_context(what)?;
        let seeds = Seeds::of_our_environment(&Settings::from_environment(), index)?;
        bundle.find_missing(|soname| seeds.get(soname).map(Path::to_owned));
        let missing = bundle.wants.iter().filter(|want| want.found.is_none());
        let first = index.first_choices(missing.map(Want::soname), &AsItIs(index));
        let demands = index.demands(&bundle, &OwnFiles, &first);
        Ok(Self { path, bundle, first, demands })
    }

    /// Empty if it has none.
    pub(super) fn build_id(&self) -> &[u8] {
        self.bundle.members.first().and_then(|program| program.facts.build_id.as_deref()).unwrap_or_default()
    }

    /// Is it, or what came with it, linked against a library of this name?
    pub(super) fn names(&self, soname: &str) -> bool {
        let needed = self.bundle.wants.iter().filter(|want| want.why == Why::Needed);
        needed.into_iter().any(|want| want.sonames.iter().any(|name| name == soname))
    }

    fn wanted(&self, soname: &str) -> Wanted {
        let want = self.bundle.wants.iter().find(|want| want.sonames.iter().any(|name| name == soname));
        let Some(want) = want else { return Wanted::not_by(&self.path) };
        Wanted::by(self.bundle.wanted_by(want), want)
    }

    /// What it needs of a soname, and the packages that its other libraries come from.
    fn demand(&self, soname: &str) -> Option<(Demand, HashSet<String>)> {
        Some((self.demands.get(soname)?.clone(), self.first.before(soname)))
    }
}

/// This process's own view of the file system.
struct OwnFiles;

impl Files for OwnFiles {
    fn contains(&self, path: &Path) -> bool {
        path.exists()
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        // Store libraries bring what they need along.
        let data = fs::metadata(path).ok().filter(|_| !path.starts_with("/nix/store"))?;
        if data.is_file() && data.len() <= LARGEST_BUNDLED { fs::read(path).ok() } else { None }
    }
}

/// Somebody may paste a whole path from an error message.
pub(super) fn file_name(soname: &str) -> &str {
    soname.rsplit('/').next().unwrap_or(soname)
}
