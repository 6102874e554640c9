//! `sonde store`: the embedded store by hand.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::StoreCommand;
use super::fetch_gate::FetchGate;
use super::{complain, exit_code, logging};
use crate::report::progress;
use crate::rules::Rules;
use crate::settings::Settings;
use crate::store::{
    Condition, ConfigError, EmbeddedError, EmbeddedStore, GateError, Sizes, Store, StoreConfig, StoreError,
    StorePath, size,
};

/// The folder of the roots of what was fetched by hand, beside those of programs.
const FETCHED: &str = "fetched";

/// Why a subcommand came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Forbidden(#[from] GateError),
    #[error("{0}: not a store path; one looks like /nix/store/0c0n2rlhk4dpkgnnlzbvlrqk7jjlkh8f-zlib-1.3.1")]
    NoStorePath(String),
    #[error("{0} of the objects are damaged; `sonde store verify --repair` fetches them again")]
    Damaged(usize),
    #[error("{0} of the objects are damaged and could not be fetched again")]
    Lost(usize),
    /// Whoever read what we print has gone.
    #[error("writing to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Carries out the subcommand.
pub(crate) fn store(command: &StoreCommand) -> ExitCode {
    logging::to_stderr();
    match carry_out(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn carry_out(command: &StoreCommand) -> Result<(), Failure> {
    let settings = Settings::from_environment();
    let mut config = StoreConfig::load(&settings)?;
    if matches!(command, StoreCommand::Fetch { offline: true, .. }) {
        config.force_offline();
    }
    let in_use = config.wants_embedded(settings.nix_store.is_some());
    let notify = config.desktop_notification();
    let policy = Rules::load(&settings, &[]).policy();
    let store = config.embedded(&policy);
    let roots = settings.state.join("roots");
    match command {
        StoreCommand::Fetch { paths, dry_run, .. } => {
            let paths = store_paths(paths)?;
            let gate = FetchGate::new(&settings, &policy);
            paths.iter().try_for_each(|path| gate.permit_asked(path, store.has(path)))?;
            if *dry_run {
                return would_fetch(store.sizes(&paths)?);
            }
            let terminal = io::stderr().as_fd().try_clone_to_owned().ok().map(File::from);
            let progress = progress::shown(terminal, "sonde", notify);
            let result = store.fetch(&paths, &gate, &roots.join(FETCHED), progress.as_ref());
            drop(progress);
            result?;
            if !in_use {
                complain(
                    &"programs on this machine use the Nix store; `kind = \"embedded\"` in config.toml changes that",
                );
            }
            print(paths.iter().map(|path| store.location(path).display().to_string()))
        }
        StoreCommand::Drop { paths } => {
            let root = |path: &StorePath| roots.join(FETCHED).join(path.base_name());
            store_paths(paths)?.iter().try_for_each(|path| Ok(store.drop_root(&root(path))?))
        }
        StoreCommand::List => {
            print(store.list().into_iter().map(|(path, size)| format!("{size:>12} {path}")))
        }
        StoreCommand::Verify { repair } => verify(&store, *repair),
        StoreCommand::Gc { dry_run } => {
            let garbage = store.collect(&roots, *dry_run)?;
            let leftovers = garbage.leftovers.iter().map(|path| path.display().to_string());
            print(garbage.objects.iter().map(ToString::to_string).chain(leftovers))?;
            let count = garbage.objects.len() + garbage.leftovers.len();
            let done = if *dry_run { "would be removed" } else { "removed" };
            print([format!("{count} {done}, {} bytes", garbage.bytes)])
        }
    }
}

fn would_fetch(sizes: Sizes) -> Result<(), Failure> {
    let (download, unpacked) = (size(sizes.download), size(sizes.unpacked));
    print([format!("{} paths would be fetched: {download}, {unpacked} unpacked", sizes.paths)])
}

fn store_paths(texts: &[String]) -> Result<Vec<StorePath>, Failure> {
    let parse = |text: &String| StorePath::new(text).ok_or_else(|| Failure::NoStorePath(text.clone()));
    texts.iter().map(parse).collect()
}

fn verify(store: &EmbeddedStore, repair: bool) -> Result<(), Failure> {
    let progress = waiting("verifying");
    let conditions = store.verify(repair);
    progress.finish_and_clear();
    let conditions = conditions?;
    let (mut damaged, mut lost) = (0, 0);
    for (path, condition) in &conditions {
        match condition {
            Condition::Sound => {}
            Condition::Repaired => print([format!("{path}: repaired")])?,
            Condition::Damaged(reason) => {
                damaged += 1;
                print([format!("{path}: {reason}")])?;
            }
            Condition::Lost(error) => {
                lost += 1;
                complain(error);
            }
        }
    }
    match (damaged, lost) {
        (0, 0) => print([format!("{} objects are sound", conditions.len())]),
        (damaged, 0) => Err(Failure::Damaged(damaged)),
        (_, lost) => Err(Failure::Lost(lost)),
    }
}

/// On a terminal only, and leaves nothing behind.
fn waiting(what: &'static str) -> ProgressBar {
    let progress = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(std::time::Duration::from_millis(100));
    progress
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    for line in lines {
        writeln!(output, "{line}")?;
    }
    Ok(())
}
