//! What was typed after `sonde trace`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::args::Program;
use crate::report::trace::Filter;

/// What of a trace is shown, how, and where.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// Write the trace to FILE; the terminal is the program's alone
    #[arg(short, long, value_name = "FILE", help_heading = "Trace")]
    pub(crate) output: Option<PathBuf>,
    /// Write one JSON object a line, for programs
    #[arg(long, group = "form", help_heading = "Trace")]
    pub(crate) json: bool,
    /// Write who needs what as a graph for Graphviz, when the tree has ended
    #[arg(long, group = "form", help_heading = "Trace")]
    pub(crate) dot: bool,
    /// Write who needs what as a graph for Mermaid, when the tree has ended
    #[arg(long, group = "form", help_heading = "Trace")]
    pub(crate) mermaid: bool,
    /// Write all of it to FILE as a page for a browser, when the tree has ended
    #[arg(long, value_name = "FILE", help_heading = "Trace")]
    pub(crate) html: Option<PathBuf>,
    /// Show only libraries that came from packages
    #[arg(long, help_heading = "Trace")]
    only_provided: bool,
    /// Show only libraries that were not to be had, or not taken
    #[arg(long, help_heading = "Trace")]
    failed: bool,
    /// Show only this process, by its number or its program's name
    #[arg(long, value_name = "PID|NAME", help_heading = "Trace")]
    process: Option<String>,
    /// Show what the program's children load, too; so it is unless --no-follow is given
    #[arg(long, overrides_with = "no_follow", help_heading = "Trace")]
    follow: bool,
    /// Show only what the program itself loads; its children are served all the same
    #[arg(long, overrides_with = "follow", help_heading = "Trace")]
    no_follow: bool,
    /// Watch a program that runs under Sonde already, and its tree, until it ends or Ctrl-C
    #[arg(long, value_name = "PID", help_heading = "Trace", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with_all = ["engine", "store_mode", "offline", "policies", "audit", "command_line"])]
    pub(crate) pid: Option<u32>,
    #[command(flatten)]
    pub(crate) program: Program,
}

impl Trace {
    pub(crate) fn filter(&self) -> Filter {
        Filter {
            only_provided: self.only_provided,
            only_failed: self.failed,
            process: self.process.clone(),
            only_first: self.no_follow,
        }
    }

    /// The program's arguments as text.
    pub(crate) fn arguments(arguments: &[OsString]) -> Vec<String> {
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
    }
}
