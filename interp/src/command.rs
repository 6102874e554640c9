//! The shim's own command line, for when it is run as a command and not as an interpreter.
//!
//! `sonde-interp PROGRAM ARGS…` behaves like `ld.so PROGRAM ARGS…` (ld.so(8)). The other options are what
//! `sonde run` and `sonde trace` use.

use core::ffi::CStr;

use crate::handoff::Wish;

/// What `--version` prints: the release, and what was compiled in. It stands in the file as it is written here, so that
/// `sonde doctor` can read it in a shim that it does not run.
pub const VERSION: &str = concat!(
    "sonde-interp ",
    env!("CARGO_PKG_VERSION"),
    "\nsupervisor ",
    env!("SONDE_DEFAULT_SUPERVISOR"),
    "\nloader ",
    env!("SONDE_DEFAULT_LOADER"),
    "\n"
);

/// What `--help` prints.
pub const HELP: &str = "\
Sonde's ELF interpreter: stands at /lib64/ld-linux-x86-64.so.2 and starts foreign programs with
the libraries that they miss. The kernel runs it; as a command it behaves like ld.so(8):

Usage: sonde-interp [OPTIONS] PROGRAM [ARGS...]

Options:
      --exec PATH           run PATH, with PROGRAM as its argv[0]
      --supervisor PATH     start this supervisor instead of the compiled-in one
      --supervisor-fd N     talk to a supervisor over this inherited socket
      --engine ENGINE       auto, seccomp, ptrace or inline, instead of what the
                            configuration says
      --offline             fetch nothing
      --version             print the version, and what is compiled in
      --help                print this help

Environment (ignored in setuid programs):
  SONDE_SUPERVISOR          the supervisor to start
  NIX_LD                    the loader to use when there is no supervisor
";

/// Where the supervisor is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor<'a> {
    /// At its usual place.
    Default,
    /// A program to start.
    Path(&'a CStr),
    /// Already there, at the other end of this descriptor.
    Socket(i32),
}

/// What the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Print the version.
    Version,
    /// Print the help.
    Help,
    /// Nothing to run was named.
    NoProgram,
    /// An option that there is not, or one without its value.
    BadOption(&'a CStr),
    /// Run a program.
    Run {
        /// The file to execute.
        program: &'a CStr,
        /// How many arguments precede the program's own `argv[0]`.
        skip: usize,
        /// Who serves it.
        supervisor: Supervisor<'a>,
        /// By which engine.
        wish: Wish,
        /// May nothing be fetched for it?
        offline: bool,
    },
}

impl<'a> Command<'a> {
    /// Reads the arguments through `argument(index)`, starting at 1.
    pub fn parse(argument: impl Fn(usize) -> Option<&'a CStr>) -> Self {
        let mut supervisor = Supervisor::Default;
        let mut program = None;
        let mut wish = Wish::Unsaid;
        let mut offline = false;
        let mut index = 1;
        while let Some(option) = argument(index) {
            let value = argument(index + 1);
            match (option.to_bytes(), value) {
                (b"--version", _) => return Self::Version,
                (b"--help", _) => return Self::Help,
                (b"--exec", Some(value)) => program = Some(value),
                (b"--supervisor", Some(value)) => supervisor = Supervisor::Path(value),
                (b"--supervisor-fd", Some(value)) => match number(value) {
                    Some(descriptor) => supervisor = Supervisor::Socket(descriptor),
                    None => return Self::BadOption(option),
                },
                (b"--engine", Some(value)) => match Wish::from_word(value.to_bytes()) {
                    Some(engine) => wish = engine,
                    None => return Self::BadOption(option),
                },
                (b"--offline", _) => {
                    offline = true;
                    index += 1;
                    continue;
                }
                (b"--", _) => {
                    index += 1;
                    break;
                }
                (text, _) if text.starts_with(b"-") => return Self::BadOption(option),
                _ => break,
            }
            index += 2;
        }
        match argument(index) {
            Some(name) => {
                Self::Run { program: program.unwrap_or(name), skip: index, supervisor, wish, offline }
            }
            None => Self::NoProgram,
        }
    }
}

fn number(text: &CStr) -> Option<i32> {
    text.to_str().ok()?.parse().ok().filter(|descriptor| *descriptor >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&'static CStr]) -> Command<'static> {
        Command::parse(|index| arguments.get(index).copied())
    }

    #[test]
    fn a_program_and_its_arguments_are_left_alone() {
        let run = Command::Run {
            program: c"/bin/p",
            skip: 1,
            supervisor: Supervisor::Default,
            wish: Wish::Unsaid,
            offline: false,
        };
        assert_eq!(parse(&[c"shim", c"/bin/p", c"--version"]), run);
    }

    #[test]
    fn exec_names_a_file_apart_from_argv0() {
        assert_eq!(
            parse(&[
                c"shim",
                c"--supervisor-fd",
                c"5",
                c"--offline",
                c"--exec",
                c"/bin/p",
                c"--",
                c"-p",
                c"--help"
            ]),
            Command::Run {
                program: c"/bin/p",
                skip: 7,
                supervisor: Supervisor::Socket(5),
                wish: Wish::Unsaid,
                offline: true
            }
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse(&[c"shim"]), Command::NoProgram);
        assert_eq!(parse(&[]), Command::NoProgram);
        assert_eq!(parse(&[c"shim", c"--",]), Command::NoProgram);
        assert_eq!(parse(&[c"shim", c"--colour", c"p"]), Command::BadOption(c"--colour"));
        assert_eq!(parse(&[c"shim", c"--engine", c"diesel", c"p"]), Command::BadOption(c"--engine"));
        assert_eq!(parse(&[c"shim", c"--exec"]), Command::BadOption(c"--exec"));
        assert_eq!(
            parse(&[c"shim", c"--supervisor-fd", c"-1", c"p"]),
            Command::BadOption(c"--supervisor-fd")
        );
    }

    #[test]
    fn version_and_help_need_no_program() {
        assert_eq!(parse(&[c"shim", c"--version"]), Command::Version);
        assert_eq!(parse(&[c"shim", c"--help"]), Command::Help);
    }
}
