//! `sonde run`: this process becomes the program.
//!
//! The shim is executed in our place, so that process id, parent, descriptors and job control are as they would have
//! been; it starts the supervisor beside itself.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::Program;
use super::store_view::{self, ViewError};
use super::{complain, exit_code};
use crate::guest::launch::{Launch, LaunchError, Manner};
use crate::settings::{Settings, find_shim};
use crate::sys::spawn::become_program;

/// Runs the program; returns only if it could not be started.
pub(crate) fn run(program: &Program) -> ExitCode {
    let (name, arguments) = program.split();
    let launch = match Launch::prepare(name, arguments) {
        Ok(launch) => launch,
        Err(error) => return cannot_start(&error),
    };
    let error = match (launch.manner, find_shim(), std::env::current_exe()) {
        (Manner::Supervised, Some(shim), Ok(own)) => {
            if let Err(error) = store_view::enter(program.store_mode, &Settings::from_environment()) {
                return cannot_view(&error);
            }
            let (path, arguments) = under_shim(
                &shim,
                &launch,
                ["--supervisor".into(), own.into_os_string()].into_iter().chain(program.shim_options()),
            );
            become_program(&path, &arguments)
        }
        (Manner::Supervised, None, _) => {
            complain(&"the shim sonde-interp is not beside this command; running the program without it");
            become_program(&launch.path, &launch.arguments)
        }
        _ => become_program(&launch.path, &launch.arguments),
    };
    cannot_execute(&launch.path, &error)
}

/// Path and arguments of the shim that runs a program; it gets `options` of its own.
pub(super) fn under_shim(
    shim: &Path,
    launch: &Launch,
    options: impl IntoIterator<Item = OsString>,
) -> (PathBuf, Vec<OsString>) {
    let mut arguments = vec![shim.as_os_str().to_owned()];
    arguments.extend(options);
    arguments.extend(["--exec".into(), launch.path.clone().into_os_string(), "--".into()]);
    arguments.extend_from_slice(&launch.arguments);
    (shim.to_owned(), arguments)
}

/// Says why a program was not started, and returns the status that a shell would.
pub(super) fn cannot_start(error: &LaunchError) -> ExitCode {
    complain(error);
    exit_code::code(if error.is_not_found() { exit_code::NOT_FOUND } else { exit_code::NOT_RUNNABLE })
}

/// Says why a program was not started where it was asked to be, and returns the status for it.
pub(super) fn cannot_view(error: &ViewError) -> ExitCode {
    complain(error);
    exit_code::code(exit_code::NOT_RUNNABLE)
}

/// The kernel would not execute it.
fn cannot_execute(path: &Path, error: &io::Error) -> ExitCode {
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
