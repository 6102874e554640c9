//! The command line: one file a subcommand; what was typed is `args`, what it means is theirs.

mod args;
mod exit_code;
mod find;
mod index;
mod logging;
mod plans;
mod policy;
mod run;
mod store;
mod store_view;
mod supervise;
mod trace;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::sys::privilege;
use args::{Arguments, Command};

/// Parses the command line, does what it says, and returns how it went.
#[must_use]
pub fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // Which index, configuration and store are used is the user's to say, and not with somebody else's privileges. What
    // is run is left to the shim, which believes nothing then.
    if !matches!(command, Command::Run(_)) && privilege::is_raised() {
        complain(
            &"this process has privileges that its user does not have, and Sonde does nothing with them but run \
              programs; start it as the user who is to own what it does",
        );
        return exit_code::code(exit_code::FAILURE);
    }
    match command {
        Command::Run(program) => run::run(&program),
        Command::Trace(program) => trace::trace(&program),
        Command::Index(command) => index::index(&command),
        Command::Find(find) => find::find(&find),
        Command::Policy(command) => policy::policy(&command),
        Command::Store(command) => store::store(&command),
        Command::Plans(command) => plans::plans(&command),
        Command::Supervise => supervise::supervise(),
    }
}

/// Prints an error to stderr, as all of ours are printed.
fn complain(error: &dyn std::fmt::Display) {
    // Whoever closed our standard error does not want to know.
    let _ = writeln!(io::stderr(), "sonde: {error}");
}
