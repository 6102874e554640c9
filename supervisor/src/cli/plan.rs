//! `sonde plan`: where the libraries of programs would come from. Nothing is run, fetched or changed.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{Format, Plan};
use super::{complain, exit_code, logging};
use crate::index::Index;
use crate::plan::drivers::Drivers;
use crate::plan::foresight::foresee;
use crate::plan::preview::{Previewer, Subject};
use crate::plan::seeds::Seeds;
use crate::plan::targets;
use crate::report::export;
use crate::report::plan::{self as report, Planned, Plans, Unplanned};
use crate::report::style::Paint;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::store::{self, StoreInUse, Tally};

/// Carries out the subcommand.
pub(crate) fn plan(plan: &Plan) -> ExitCode {
    logging::to_stderr();
    let mut settings = Settings::from_environment();
    settings.offline |= plan.offline;
    let format = if plan.json { Format::Json } else { plan.format };
    match planned(&settings, plan) {
        // What is wrong with everything that was named has been told.
        Ok((plans, status)) if plans.is_empty() && status != 0 && format != Format::Json => {
            exit_code::code(status)
        }
        Ok((plans, status)) => {
            let text = match format {
                Format::Json => report::json(&plans, status),
                Format::Text => report::text(&plans, Paint::for_stdout()),
                Format::NixLd => export::nix_ld(&plans),
                Format::NixInputs => export::nix_inputs(&plans),
                Format::NixShell => export::nix_shell(&plans),
                Format::Ldconfig => export::ldconfig(&plans),
            };
            // Whoever closed our standard output does not want to know.
            let _ = std::io::stdout().write_all(text.as_bytes());
            exit_code::code(status)
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn planned(settings: &Settings, plan: &Plan) -> anyhow::Result<(Plans, u8)> {
    let store = store::to_look(settings)?;
    let index = index(settings, &store)?;
    let with = previewer(settings, &index, &store, &plan.policies)?;
    let targets = Targets::read(&plan.programs, &with);
    Ok(targets.foreseen(&store, &with))
}

pub(super) fn index(settings: &Settings, store: &StoreInUse) -> anyhow::Result<Index> {
    let index = Index::open(settings, store.files.clone())?;
    index.problems().iter().for_each(|problem| complain(problem));
    Ok(index)
}

pub(super) fn previewer<'a>(
    settings: &Settings,
    index: &'a Index,
    store: &'a StoreInUse,
    policies: &[PathBuf],
) -> anyhow::Result<Previewer<'a>> {
    let policy = Rules::load(settings, policies).policy();
    if let Some(fault) = policy.fault() {
        complain(&fault);
    }
    let (tally, library_path) = (Tally::of(settings), std::env::var("LD_LIBRARY_PATH").ok());
    let seeds = Seeds::of_our_environment(settings, index)?;
    Ok(Previewer::new(index, &store.files, policy, tally, (library_path, seeds, Drivers::load(settings)?))?)
}

/// What was named.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) subjects: Vec<Subject>,
    /// Files of folders.
    pub(super) left_out: Vec<Unplanned>,
    /// Of what was named and cannot be looked at, which has been told.
    pub(super) status: u8,
}

impl Targets {
    pub(super) fn read(names: &[OsString], with: &Previewer<'_>) -> Self {
        let mut all = Self::default();
        for name in names {
            match targets::read(name, with) {
                Ok((subjects, left_out)) => {
                    all.subjects.extend(subjects);
                    all.left_out.extend(left_out);
                }
                Err(error) => {
                    complain(&error);
                    let found =
                        if error.is_not_found() { exit_code::NOT_FOUND } else { exit_code::NOT_RUNNABLE };
                    all.status = worse(all.status, found);
                }
            }
        }
        all
    }

    /// What would become of them, and the exit status.
    pub(super) fn foreseen(self, store: &StoreInUse, with: &Previewer<'_>) -> (Plans, u8) {
        let plan = |subject: &Subject| with.plan(subject, &with.closure(subject));
        let mut files: Vec<Planned> = self.subjects.iter().map(plan).collect();
        let fetch = foresee(&*store.store, with, &self.subjects, &mut files);
        let plans = Plans { files, left_out: self.left_out, fetch };
        let status = worse(self.status, status(&plans));
        (plans, status)
    }
}

/// The exit status that plans make.
pub(super) fn status(plans: &Plans) -> u8 {
    match plans {
        plans if plans.is_forbidden() => exit_code::NOT_RUNNABLE,
        plans if plans.missed().is_empty() && !plans.is_refused() => 0,
        _ => exit_code::NOT_FOUND,
    }
}

/// What is forbidden or cannot be read comes before what is missing, and that before success.
pub(super) fn worse(one: u8, other: u8) -> u8 {
    match (one, other) {
        (0, other) => other,
        (one, 0) => one,
        (one, other) => one.min(other),
    }
}
