//! `sonde index`: which databases are asked.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::{self, IndexCommand};
use super::{complain, exit_code, logging};
use crate::index::import::{Imported, Target, import_file, prepare};
use crate::index::registry::{Place, Registry};
use crate::index::update::{Updated, update};
use crate::report::databases::{self, Database};
use crate::settings::Settings;

/// Carries out the subcommand.
pub(crate) fn index(command: &IndexCommand) -> ExitCode {
    logging::to_stderr();
    let settings = Settings::from_environment();
    let done = match command {
        IndexCommand::Import { file, target } => import(&settings, file, target),
        IndexCommand::Update { url, timeout, target } => {
            fetch(&settings, url.as_deref(), Duration::from_secs(*timeout), target)
        }
        IndexCommand::Info { name, json } => return info(&settings, name.as_deref(), *json),
        IndexCommand::Remove { name, system } => remove(&settings, name, *system),
    };
    match done {
        Ok(text) => {
            // Whoever closed our standard output does not want to know.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn import(settings: &Settings, database: &Path, target: &args::Target) -> anyhow::Result<String> {
    let progress = Progress::new("importing");
    let imported = import_file(&meant(settings, target), database, |length, file: File| {
        progress.watch(Some(length), Box::new(file))
    });
    progress.clear();
    Ok(counted(&imported?))
}

fn fetch(
    settings: &Settings,
    url: Option<&str>,
    patience: Duration,
    target: &args::Target,
) -> anyhow::Result<String> {
    let progress = Progress::new("fetching");
    let updated =
        update(&meant(settings, target), url, patience, &|length, reader| progress.watch(length, reader));
    progress.clear();
    Ok(match updated? {
        (url, Updated::Unchanged) => format!("{}: still what {url} has", target.name),
        (_, Updated::Replaced(imported)) => counted(&imported),
    })
}

fn remove(settings: &Settings, name: &str, system: bool) -> anyhow::Result<String> {
    registry(settings, system).remove(name)?;
    prepare(settings);
    Ok(format!("{name}: removed"))
}

fn info(settings: &Settings, name: Option<&str>, json: bool) -> ExitCode {
    let registry = Registry::of(settings);
    let mut databases: Vec<Database> = registry
        .entries()
        .into_iter()
        .enumerate()
        .map(|(place, entry)| Database::look(place + 1, entry, &registry))
        .collect();
    if let Some(name) = name {
        if let Err(error) = registry.find(name) {
            complain(&error);
            return exit_code::code(exit_code::FAILURE);
        }
        databases.retain(|database| database.name == name);
    }
    let text = match (json, name) {
        (true, _) => databases::json(&databases),
        (false, Some(_)) => databases::details(&databases),
        (false, None) => databases::table(&databases),
    };
    let _ = write!(std::io::stdout(), "{text}");
    for problem in databases.iter().filter_map(|database| database.problem.as_deref()) {
        complain(&problem);
    }
    if databases.is_empty() {
        complain(&crate::index::IndexError::None(registry.folder().to_owned()));
    }
    let sound = !databases.is_empty() && databases.iter().all(|database| database.problem.is_none());
    if sound { ExitCode::SUCCESS } else { exit_code::code(exit_code::FAILURE) }
}

/// What was typed, as a target.
fn meant<'a>(settings: &'a Settings, target: &'a args::Target) -> Target<'a> {
    let place = match &target.before {
        Some(other) => Place::Before(other.clone()),
        None if target.first => Place::First,
        None => Place::Keep,
    };
    Target { settings, registry: registry(settings, target.system), name: &target.name, place }
}

fn registry(settings: &Settings, system: bool) -> Registry {
    if system { Registry::of_system(settings) } else { Registry::of(settings) }
}

fn counted(imported: &Imported) -> String {
    let stats = &imported.stats;
    format!("{}: {} libraries in {} packages", imported.path.display(), stats.libraries, stats.packages)
}

/// A bar that is drawn on a terminal only, and leaves nothing behind.
struct Progress(ProgressBar);

impl Progress {
    fn new(what: &'static str) -> Self {
        Self(ProgressBar::no_length().with_message(what))
    }

    fn watch(&self, length: Option<u64>, reader: Box<dyn Read>) -> Box<dyn Read> {
        let template = match length {
            Some(length) => {
                self.0.set_length(length);
                "{msg} {wide_bar} {bytes}/{total_bytes} {eta}"
            }
            None => "{msg} {spinner} {bytes}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        Box::new(self.0.wrap_read(reader))
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}
