//! `sonde doctor`: what is the matter with this machine, or with one program on it.

use std::io::Write;
use std::process::ExitCode;

use super::args::Doctor;
use super::{exit_code, logging};
use crate::doctor::{Level, examine, show, worst};
use crate::report::style::Paint;
use crate::settings::Settings;

/// Carries out the subcommand.
pub(crate) fn doctor(doctor: &Doctor) -> ExitCode {
    logging::to_stderr();
    let sections = examine(&Settings::from_environment(), doctor.program.as_deref());
    let program = doctor.program.as_ref().map(|program| program.to_string_lossy());
    let text = if doctor.json {
        show::json(&sections, program.as_deref())
    } else {
        show::text(&sections, Paint::for_stdout())
    };
    // Whoever closed our standard output does not want to know.
    let _ = std::io::stdout().write_all(text.as_bytes());
    exit_code::code(if worst(&sections) == Level::Error { exit_code::FAILURE } else { 0 })
}
