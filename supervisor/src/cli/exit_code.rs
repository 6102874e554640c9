//! Exit statuses, all in one place. Whatever a program that was run returns is passed on as it is.

use std::process::ExitCode;

/// A command of ours failed.
pub(crate) const FAILURE: u8 = 1;
/// The program was found and cannot be run (POSIX shell, 2.8.2).
pub(crate) const NOT_RUNNABLE: u8 = 126;
/// The program, or what it needs, was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// The exit status as the standard library wants it.
pub(crate) fn code(status: u8) -> ExitCode {
    ExitCode::from(status)
}
