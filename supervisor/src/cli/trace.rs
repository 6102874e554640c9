//! `sonde trace`: runs the program as a child, serves its tree in this process, and shows what it was given.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::args::Program;
use super::run::{cannot_start, cannot_view, run, under_shim};
use super::{complain, exit_code, logging, store_view};
use crate::guest::launch::{Launch, Manner};
use crate::guest::remote::Thread;
use crate::report::event::Reporter;
use crate::report::human;
use crate::serve::{self, Orders};
use crate::settings::{Settings, find_shim};
use crate::sys::scm_rights::Socket;
use crate::sys::{reaped, signals, spawn};

/// Runs the program, prints the table, and ends as the program did.
pub(crate) fn trace(program: &Program) -> ExitCode {
    logging::to_stderr();
    let (name, arguments) = program.split();
    let launch = match Launch::prepare(name, arguments) {
        Ok(launch) => launch,
        Err(error) => return cannot_start(&error),
    };
    if launch.manner == Manner::Untouched {
        complain(&format_args!(
            "{}: nothing to trace: static, setuid, or not an x86-64 program",
            launch.path.display()
        ));
        return run(program);
    }
    let Some(shim) = find_shim() else {
        complain(&"the shim sonde-interp is not beside this command; install both together");
        return exit_code::code(exit_code::FAILURE);
    };
    let mut settings = Settings::from_environment();
    settings.offline |= program.offline;
    // This process serves, so it sees what the program sees.
    if let Err(error) = store_view::enter(program.store_mode, &settings) {
        return cannot_view(&error);
    }
    let reporter = Reporter::keeping();
    let status = Socket::pair().and_then(|(ours, theirs)| {
        let number = theirs.keep_on_exec()?.to_string();
        let (path, arguments) = under_shim(
            &shim,
            &launch,
            ["--supervisor-fd".into(), number.into()].into_iter().chain(program.shim_options()),
        );
        let child = spawn::spawn(&path, &arguments)?;
        drop(theirs);
        // The child has them as they were; from now on it alone is meant.
        signals::ignore_terminal()?;
        watch((settings, program.orders().unwrap_or_default()), child, ours, &reporter)
    });
    match status {
        Ok(status) => {
            // Whoever closed our standard error does not want to know.
            let _ = io::stderr().write_all(human::trace(&reporter.take()).as_bytes());
            end_like(status)
        }
        Err(error) => {
            complain(&format_args!("tracing {}: {error}", launch.path.display()));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn watch(
    (settings, orders): (Settings, Orders),
    child: Pid,
    socket: Socket,
    reporter: &Reporter,
) -> io::Result<WaitStatus> {
    // Reaped at once, not when its tree has ended: before Linux 6.11 a zombie counts as a part of it.
    let reaper = thread::Builder::new().name("reaper".into()).spawn(move || reaped::wait(child))?;
    if let Some(thread) = Thread::new(child.as_raw().cast_unsigned())
        && let Err(error) = serve::serve(settings, orders, socket, thread, reporter.clone())
    {
        tracing::debug!(%error, "the program runs unsupervised; the shim has said why");
    }
    reaper.join().map_err(|_| io::Error::other("waiting for the program failed"))?
}

/// Ends this process as the program ended: with its status, or by its signal.
fn end_like(status: WaitStatus) -> ExitCode {
    match status {
        WaitStatus::Exited(_, code) => exit_code::code(u8::try_from(code).unwrap_or(exit_code::FAILURE)),
        WaitStatus::Signaled(_, signal, _) => {
            // Returns only if the signal cannot end us.
            let _ = signals::die_of(signal);
            exit_code::code(u8::try_from(128 + signal as i32).unwrap_or(exit_code::FAILURE))
        }
        _ => exit_code::code(exit_code::FAILURE),
    }
}
