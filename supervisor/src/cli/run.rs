//! `sonde run`: this process becomes the program.
//!
//! The shim is executed in our place, so that process id, parent, descriptors and job control are as they would have
//! been; it starts the supervisor beside itself.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::args::Program;
use super::{complain, exit_code};
use crate::guest::launch::{Launch, LaunchError, Manner};
use crate::settings::find_shim;

/// Runs the program; returns only if it could not be started.
pub(crate) fn run(program: &Program) -> ExitCode {
    let (name, arguments) = program.split();
    let launch = match Launch::prepare(name, arguments) {
        Ok(launch) => launch,
        Err(error) => return cannot_start(&error),
    };
    let own = std::env::current_exe();
    let mut command = match (launch.manner, find_shim(), own) {
        (Manner::Supervised, Some(shim), Ok(own)) => {
            under_shim(&shim, &launch, ["--supervisor".into(), own.into_os_string()])
        }
        (Manner::Supervised, None, _) => {
            complain(&"the shim sonde-interp is not beside this command; running the program without it");
            untouched(&launch)
        }
        _ => untouched(&launch),
    };
    cannot_execute(&launch.path, &command.exec())
}

/// The command that runs a program under the shim, which gets `options` of its own.
pub(super) fn under_shim(shim: &Path, launch: &Launch, options: [OsString; 2]) -> Command {
    let mut command = Command::new(shim);
    command.args(options).arg("--exec").arg(&launch.path).arg("--").args(&launch.arguments);
    command
}

/// The command that leaves a program to the kernel.
pub(super) fn untouched(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.path);
    if let Some((name, rest)) = launch.arguments.split_first() {
        command.arg0(name).args(rest);
    }
    command
}

/// Says why a program was not started, and returns the status that a shell would.
pub(super) fn cannot_start(error: &LaunchError) -> ExitCode {
    complain(error);
    exit_code::code(if error.is_not_found() { exit_code::NOT_FOUND } else { exit_code::NOT_RUNNABLE })
}

/// The kernel would not execute it.
pub(super) fn cannot_execute(path: &Path, error: &io::Error) -> ExitCode {
    let reason = match error.raw_os_error() {
        // The file is there, so it is what the file names.
        Some(libc::ENOENT) => {
            "its interpreter is not there; sonde serves x86-64 programs only, so far".to_owned()
        }
        Some(libc::ENOEXEC) => "not a program for this machine, or a damaged one".to_owned(),
        _ => error.to_string(),
    };
    complain(&format_args!("{}: {reason}", path.display()));
    exit_code::code(if error.kind() == io::ErrorKind::NotFound {
        exit_code::NOT_FOUND
    } else {
        exit_code::NOT_RUNNABLE
    })
}
