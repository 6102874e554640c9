//! The command line: one file a subcommand; what was typed is `args`, what it means is theirs.

mod args;
mod exit_code;
mod find;
mod index;
mod logging;
mod run;
mod store;
mod store_view;
mod supervise;
mod trace;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

/// Parses the command line, does what it says, and returns how it went.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(program) => run::run(&program),
        Command::Trace(program) => trace::trace(&program),
        Command::Index(command) => index::index(&command),
        Command::Find(find) => find::find(&find),
        Command::Store(command) => store::store(&command),
        Command::Supervise => supervise::supervise(),
    }
}

/// Prints an error to stderr, as all of ours are printed.
fn complain(error: &dyn std::fmt::Display) {
    // Whoever closed our standard error does not want to know.
    let _ = writeln!(io::stderr(), "sonde: {error}");
}
