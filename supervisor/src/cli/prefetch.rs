//! `sonde prefetch`: what programs need is realised ahead of their first start.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use tracing::info;

use super::args::Prefetch;
use super::plan::{Targets, index, previewer, status, worse};
use super::{complain, exit_code, logging};
use crate::plan::prefetch::{Prepared, Together, prepare};
use crate::plan::preview::Subject;
use crate::plan::roots;
use crate::report::plan::{self as report, Plans, ToFetch};
use crate::report::progress;
use crate::report::style::Paint;
use crate::settings::Settings;
use crate::store;

/// The folder of the roots of what is fetched for several programs, beside those of each.
const TOGETHER: &str = "prefetch";

/// Carries out the subcommand.
pub(crate) fn prefetch(prefetch: &Prefetch) -> ExitCode {
    logging::to_stderr();
    match fetched(&Settings::from_environment(), prefetch) {
        Ok(status) => exit_code::code(status),
        Err(error) => {
            complain(&format_args!("{error:#}"));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn fetched(settings: &Settings, prefetch: &Prefetch) -> anyhow::Result<u8> {
    let store = if prefetch.dry_run { store::to_look(settings)? } else { store::open(settings)? };
    let index = index(settings, &store)?;
    let with = previewer(settings, &index, &store, &prefetch.policies)?;
    let targets = Targets::read(&prefetch.programs, &with);
    if prefetch.dry_run {
        let (plans, status) = targets.foreseen(&store, &with);
        tell(&plans);
        // Whoever closed our standard output does not want to know.
        let _ = io::stdout().write_all(report::fetch(&plans.fetch).as_bytes());
        return Ok(status);
    }
    let terminal = io::stderr().as_fd().try_clone_to_owned().ok().map(File::from);
    let progress = progress::shown(terminal, "sonde", store.notify);
    let together = settings.state.join("roots").join(TOGETHER);
    let together = Together::fetch(&targets.subjects, &with, &store.store, together, &*progress);
    let prepare = |subject: Subject| {
        let roots = roots::folder(settings, &subject.path);
        prepare(subject, &with, &store.store, roots, &*progress)
    };
    let prepared: Vec<Prepared> = targets.subjects.into_iter().map(prepare).collect();
    drop(together);
    drop(progress);
    for Prepared { subject, loader, closure, .. } in &prepared {
        let (program, loader) =
            (subject.path.display(), loader.as_ref().map(|loader| loader.object.as_str()));
        info!(%program, loader, choices = closure.choices.len(), "prefetched");
    }
    let files = prepared.into_iter().map(|prepared| prepared.planned).collect();
    let plans = Plans { files, left_out: targets.left_out, fetch: ToFetch::default() };
    tell(&plans);
    Ok(worse(targets.status, status(&plans)))
}

/// What is wrong; nothing, if nothing is.
fn tell(plans: &Plans) {
    for one in plans.left_out.iter().filter(|one| one.unreadable) {
        complain(&format_args!("{}: {}", one.path, one.reason));
    }
    let wrong = report::wrong(plans, Paint::none());
    if !wrong.is_empty() {
        complain(&wrong.trim_end());
    }
}
