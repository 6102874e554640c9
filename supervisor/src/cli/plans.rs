//! `sonde plans`: what is kept of programs that were run.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use super::args::PlansCommand;
use super::{complain, exit_code, logging};
use crate::plan::closure::{Answer, Need};
use crate::plan::draft::Body;
use crate::plan::shelf::{Kept, Shelf, path_of};
use crate::plan::sweep::{Litter, Which, litter, program_of};
use crate::report::plans::{self, From, Library, Plan};
use crate::settings::Settings;

/// Why a subcommand came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{}: no plan is kept of it; it has one once it has been run, see `sonde plans list`", .0.display())]
    NoPlan(PathBuf),
    #[error("removing {}: {source}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    /// Whoever read what we print has gone.
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Carries out the subcommand.
pub(crate) fn plans(command: &PlansCommand) -> ExitCode {
    logging::to_stderr();
    match carry_out(command, &Settings::from_environment()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn carry_out(command: &PlansCommand, settings: &Settings) -> Result<(), Failure> {
    let shelf = Shelf::of(settings);
    match command {
        PlansCommand::List { json } => {
            let mut all: Vec<Plan> = shelf.all().iter().filter_map(shown).collect();
            all.sort_by_key(|plan| std::cmp::Reverse(plan.used));
            print(&if *json { plans::json(&all) } else { plans::table(&all) })
        }
        PlansCommand::Show { program, json } => {
            let all: Vec<Plan> = of(&shelf, program)?.iter().filter_map(shown).collect();
            let text = if *json { plans::json(&all) } else { all.iter().map(plans::text).collect() };
            print(&text)
        }
        PlansCommand::Forget { programs } => {
            for program in programs {
                for (path, _) in of(&shelf, program)? {
                    remove(&path, std::fs::remove_file(&path))?;
                }
            }
            Ok(())
        }
        PlansCommand::Gc { older_than, all, dry_run } => {
            let which = if *all { Which::All } else { Which::OlderThan(*older_than) };
            let litter = litter(settings, which);
            for piece in litter.iter().filter(|_| !dry_run) {
                remove(&piece.path, piece.remove())?;
            }
            let words = |piece: &Litter| {
                let what = piece.program.as_deref().unwrap_or(&piece.path);
                (what.display().to_string(), piece.why.words())
            };
            let told: Vec<_> = litter.iter().map(words).collect();
            print(&plans::litter(&told, *dry_run))
        }
    }
}

/// The plans of a program; one that was started with several environments has several.
pub(super) fn of(shelf: &Shelf, program: &Path) -> Result<Vec<(PathBuf, Option<Kept>)>, Failure> {
    let whole = std::path::absolute(program).unwrap_or_else(|_| program.to_owned());
    // It is known by where it really lies.
    let real = program.canonicalize().unwrap_or_else(|_| whole.clone());
    let is_its = |kept: &Kept| program_of(kept).is_some_and(|path| path == real || path == whole);
    let mut all = shelf.all();
    all.retain(|(_, kept)| kept.as_ref().is_some_and(is_its));
    if all.is_empty() { Err(Failure::NoPlan(program.to_owned())) } else { Ok(all) }
}

/// A plan as it is told of; `None` for one that cannot be used.
fn shown((path, kept): &(PathBuf, Option<Kept>)) -> Option<Plan> {
    let kept = kept.as_ref()?;
    let plan = kept.plan()?;
    let body = Body::read(plan.body())?;
    let named = body.at_run_time.iter().map(|(soname, choice)| Library {
        package: Some(choice.package()),
        path: Some(text(&choice.file)),
        ..library(soname, From::Package)
    });
    let absent = body.absent.iter().map(|soname| library(soname, From::Nobody));
    Some(Plan {
        program: text(&body.program),
        file: text(path),
        size: kept.size() as u64,
        used: kept.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        made: body.made,
        loader: text(&body.loader),
        served_cache: text(path_of(plan.served_cache())),
        objects: plan.objects().map(|object| text(path_of(object))).collect(),
        libraries: body.libraries.iter().map(needed).chain(named).chain(absent).collect(),
    })
}

fn needed(need: &Need) -> Library {
    let library = Library { needed_by: Some(text(&need.needed_by)), ..library(&need.soname, From::Nobody) };
    match &need.answer {
        Answer::Bundled => Library { from: From::Program, ..library },
        Answer::Glibc => Library { from: From::Glibc, ..library },
        Answer::Package(choice) => Library {
            from: From::Package,
            package: Some(choice.package()),
            path: Some(text(&choice.file)),
            coverage: need.coverage,
            reason: need.reason.clone(),
            ..library
        },
        Answer::Unfit(versions) => {
            Library { reason: Some(format!("all that there are lack {}", versions.join(", "))), ..library }
        }
        Answer::Excluded(reason) => Library { from: From::Host, reason: Some(reason.clone()), ..library },
        Answer::Absent | Answer::NoIndex => library,
    }
}

fn library(soname: &str, from: From) -> Library {
    let soname = soname.to_owned();
    Library { soname, needed_by: None, from, package: None, path: None, coverage: None, reason: None }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn remove(path: &Path, removed: io::Result<()>) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|source| Failure::Remove { path: path.to_owned(), source }),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
