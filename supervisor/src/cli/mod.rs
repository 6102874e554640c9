//! The command line: one file a subcommand; what was typed is `args`, what it means is theirs.

mod args;
mod doctor;
mod exit_code;
mod fetch_gate;
mod find;
mod help;
mod index;
mod logging;
mod plan;
mod plans;
mod policy;
mod prefetch;
mod run;
mod shell;
mod store;
mod store_view;
mod supervise;
mod trace;
mod trace_options;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{FromArgMatches, Parser};

use crate::sys::privilege;
use args::{Arguments, Command};

/// Parses the command line, does what it says, and returns how it went.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        // Whoever closed our standard output does not want to know.
        let _ = io::stdout().write_all(help::welcome().as_bytes());
        return ExitCode::SUCCESS;
    }
    let command = parse().command;
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
        Command::Trace(options) => trace::trace(&options),
        Command::Doctor(command) => doctor::doctor(&command),
        Command::Index(command) => index::index(&command),
        Command::Find(find) => find::find(&find),
        Command::Plan(plan) => plan::plan(&plan),
        Command::Prefetch(prefetch) => prefetch::prefetch(&prefetch),
        Command::Policy(command) => policy::policy(&command),
        Command::Store(command) => store::store(&command),
        Command::Plans(command) => plans::plans(&command),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { folder } => shell::man(&folder),
        Command::Supervise => supervise::supervise(),
    }
}

/// Reads the command line; ends this process if that asks for help, or is wrong.
fn parse() -> Arguments {
    // Groups, examples and colours are for whoever is shown them: a program that starts does not wait for them.
    Arguments::try_parse().unwrap_or_else(|_| {
        let matches = help::command().get_matches();
        Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    })
}

/// Prints an error to stderr, as all of ours are printed.
fn complain(error: &dyn std::fmt::Display) {
    // Whoever closed our standard error does not want to know.
    let _ = writeln!(io::stderr(), "sonde: {error}");
}
