//! What was typed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs foreign ELF programs on NixOS, with the libraries that they miss.
#[derive(Debug, Parser)]
#[command(
    name = "sonde",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  sonde index import ~/.cache/nix-index/files   once: which package has which library
  sonde run ./some-downloaded-program           run it
  sonde trace ./some-downloaded-program         run it and show each library that it was given

Where the shim is installed as /lib64/ld-linux-x86-64.so.2, foreign programs run by themselves."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program with the libraries that it misses
    #[command(after_help = "\
The program keeps its arguments, environment, descriptors, process id and exit status.
Exit status: the program's own; 127 if it, or what it needs, was not found; 126 if it cannot be run.")]
    Run(Program),
    /// Run a program and show, when it has ended, each library that it was given and why
    #[command(after_help = "\
The program's own output is left as it is; the table goes to stderr. Exit status: the program's own.")]
    Trace(Program),
    /// Manage the index of which package has which library
    #[command(subcommand)]
    Index(IndexCommand),
    /// Serve the tree of the process at descriptor 3 (started by the shim)
    #[command(hide = true)]
    Supervise,
}

/// A program and its arguments.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// The program (a path, or a name that is looked up in PATH) and its arguments
    #[arg(value_names = ["PROGRAM", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true,
          allow_hyphen_values = true)]
    command_line: Vec<OsString>,
}

impl Program {
    /// The program as it was typed, and its arguments.
    pub(crate) fn split(&self) -> (&OsStr, &[OsString]) {
        match self.command_line.split_first() {
            Some((program, arguments)) => (program, arguments),
            None => (OsStr::new(""), &[]),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Import a nix-index database
    #[command(after_help = "\
FILE is what `nix-index` writes to ~/.cache/nix-index/files, or a database published by nix-index-database
(index-x86_64-linux; not a -small one, which knows no libraries). An index of the same name is replaced at
once when the new one is complete; programs that run keep the old one.")]
    Import {
        /// The database
        file: PathBuf,
        /// The name to keep it under
        #[arg(long, default_value = "default", value_parser = name)]
        name: String,
    },
}

/// A name becomes a file name.
fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && !text.starts_with('.') && text.len() <= 64 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a name is made of up to 64 letters, digits, '-', '_' and '.', and does not begin with '.'"
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        for line in
            [vec!["sonde", "run", "p", "--help", "-x"], vec!["sonde", "run", "--", "p", "--help", "-x"]]
        {
            let Command::Run(program) = Arguments::parse_from(line).command else { panic!("not run") };
            let (name, arguments) = program.split();
            assert_eq!(name, "p");
            assert_eq!(arguments, ["--help", "-x"]);
        }
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for wrong in ["", "..", "../x", "a/b", ".hidden", "a b", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(name("nixos-23.05").is_ok());
    }
}
