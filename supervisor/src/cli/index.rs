//! `sonde index`: which databases are asked.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::IndexCommand;
use super::{complain, exit_code, logging};
use crate::index;
use crate::settings::Settings;

/// Carries out the subcommand.
pub(crate) fn index(command: &IndexCommand) -> ExitCode {
    logging::to_stderr();
    let IndexCommand::Import { file, name } = command;
    import(file, name)
}

fn import(database: &Path, name: &str) -> ExitCode {
    let settings = Settings::from_environment();
    // Draws on a terminal only, and leaves nothing behind.
    let progress = ProgressBar::no_length().with_message("importing");
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
        progress.set_style(style);
    }
    let result = index::import(&settings, database, name, |file: File| {
        progress.set_length(file.metadata().map_or(0, |data| data.len()));
        Box::new(progress.wrap_read(file))
    });
    progress.finish_and_clear();
    match result {
        Ok((path, stats)) => {
            println!("{}: {} libraries in {} packages", path.display(), stats.libraries, stats.packages);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            exit_code::code(exit_code::FAILURE)
        }
    }
}
