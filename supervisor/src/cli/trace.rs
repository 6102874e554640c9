//! `sonde trace`: runs the program as a child, serves its tree in this process, and shows what it was given.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};

use super::args::Program;
use super::run::{cannot_execute, cannot_start, under_shim, untouched};
use super::{complain, exit_code, logging};
use crate::guest::launch::{Launch, Manner};
use crate::guest::remote::Thread;
use crate::report::event::Reporter;
use crate::report::human;
use crate::serve;
use crate::settings::{Settings, find_shim};
use crate::sys::scm_rights::Socket;
use crate::sys::signals;

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
            "{}: static, or not an x86-64 program: nothing to trace",
            launch.path.display()
        ));
        let status = untouched(&launch).status();
        return status.map_or_else(|error| cannot_execute(&launch.path, &error), end_like);
    }
    let Some(shim) = find_shim() else {
        complain(&"the shim sonde-interp is not beside this command; install both together");
        return exit_code::code(exit_code::FAILURE);
    };
    let reporter = Reporter::keeping();
    let status = Socket::pair().and_then(|(ours, theirs)| {
        let number = theirs.keep_on_exec()?.to_string();
        let mut child = under_shim(&shim, &launch, ["--supervisor-fd".into(), number.into()]).spawn()?;
        drop(theirs);
        // The child has them as they were; from now on it alone is meant.
        signals::ignore_terminal()?;
        watch(&mut child, ours, &reporter)
    });
    match status {
        Ok(status) => {
            eprint!("{}", human::table(&reporter.take()));
            end_like(status)
        }
        Err(error) => cannot_execute(&shim, &error),
    }
}

fn watch(child: &mut Child, socket: Socket, reporter: &Reporter) -> std::io::Result<ExitStatus> {
    if let Some(thread) = Thread::new(child.id())
        && let Err(error) = serve::serve(&Settings::from_environment(), socket, thread, reporter)
    {
        tracing::debug!(%error, "the program runs unsupervised; the shim has said why");
    }
    child.wait()
}

/// Ends this process as the program ended: with its status, or by its signal.
fn end_like(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        // Returns only if the signal cannot end us.
        let _ = signals::die_of(signal);
        return exit_code::code(u8::try_from(128 + signal).unwrap_or(exit_code::FAILURE));
    }
    exit_code::code(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit_code::FAILURE))
}
