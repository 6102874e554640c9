//! `sonde run`: this process becomes the program.
//!
//! The shim is executed in our place, so that process id, parent, descriptors and job control are as they would have
//! been; it starts the supervisor beside itself.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::args::Program;
use super::store_view::{self, ViewError};
use super::supervise::serve_apart;
use super::{complain, exit_code};
use crate::guest::launch::{Launch, LaunchError, Manner};
use crate::serve::keeper::Beginning;
use crate::serve::{Door, Orders};
use crate::settings::{Settings, find_shim};
use crate::sys::privilege;
use crate::sys::scm_rights::Socket;
use crate::sys::spawn::{apart, become_program};

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
            let supervisor = match program.orders().filter(|_| !privilege::is_raised()) {
                // The shim believes nothing of the user's then.
                None => ["--supervisor".into(), own.into_os_string()],
                Some(orders) => match own_supervisor(orders, program.offline) {
                    Ok(number) => ["--supervisor-fd".into(), number.to_string().into()],
                    Err(error) => {
                        complain(&format_args!("no supervisor for {}: {error}", launch.path.display()));
                        return exit_code::code(exit_code::NOT_RUNNABLE);
                    }
                },
            };
            let options = supervisor.into_iter().chain(program.shim_options());
            let (path, arguments) = under_shim(&shim, &launch, options);
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

/// Starts a supervisor for this program alone, which knows what the command line says of the policy: the user's serves
/// others, who did not say so. Returns the number of the socket to it.
fn own_supervisor(orders: Orders, offline: bool) -> io::Result<i32> {
    let (ours, theirs) = Socket::pair()?;
    let number = theirs.as_fd().as_raw_fd();
    apart(&theirs.as_fd(), || {
        if let Ok(socket) = Socket::inherited(number) {
            let mut settings = Settings::from_environment();
            settings.offline |= offline;
            // For those who come to watch: nobody else learns where it is.
            serve_apart(Beginning::with(Some(socket)), || Door::open_own().ok(), settings, orders);
        }
    })?;
    let number = ours.keep_on_exec()?;
    // It is the program's from now on.
    std::mem::forget(ours);
    Ok(number)
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
