//! `sonde supervise`: what the shim starts. Serves the tree of the process at the other end of descriptor 3, and whoever
//! comes to the user's door meanwhile. Started by a service manager, it serves those who come to the door that it is
//! passed, and the trees of the supervisor before it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use sonde_interp::handoff::SUPERVISOR_FD;

use super::{complain, exit_code, logging};
use crate::serve::deposit;
use crate::serve::keeper::{Beginning, keep};
use crate::serve::{self, Door, Orders};
use crate::settings::Settings;
use crate::sys::scm_rights::Socket;
use crate::sys::{listen, signals};

/// Serves, until there is nobody left.
pub(crate) fn supervise() -> ExitCode {
    // First of all, before anything else is opened: the number must still be the shim's, or the service manager's.
    match listen::passed() {
        Ok(passed) if passed.is_empty() => {}
        passed => {
            return passed.and_then(supervise_for_manager).unwrap_or_else(|error| {
                complain(&error);
                exit_code::code(exit_code::FAILURE)
            });
        }
    }
    let socket = match Socket::inherited(SUPERVISOR_FD) {
        Ok(socket) => socket,
        Err(_) => {
            complain(&"`sonde supervise` is started by the shim, with a socket; try `sonde run PROGRAM`");
            return exit_code::code(exit_code::FAILURE);
        }
    };
    let beginning = Beginning::with(Some(socket));
    serve_apart(beginning, Door::open, Settings::from_environment(), Orders::default())
}

/// Serves those who come to the door that a service manager holds, and the trees that it has held since another supervisor
/// ended.
fn supervise_for_manager(passed: Vec<(String, OwnedFd)>) -> io::Result<ExitCode> {
    let (stored, sockets): (Vec<_>, Vec<_>) =
        passed.into_iter().partition(|(name, _)| deposit::is_ours(name));
    let listening = listen::door(sockets.into_iter().map(|(_, socket)| socket).collect())?;
    let door = || listening.map(Door::passed).or_else(Door::open);
    let beginning = Beginning::under_manager(stored);
    Ok(serve_apart(beginning, door, Settings::from_environment(), Orders::default()))
}

/// Serves what there is to begin with, as nobody's child.
pub(super) fn serve_apart(
    beginning: Beginning,
    door: impl FnOnce() -> Option<Door>,
    settings: Settings,
    orders: Orders,
) -> ExitCode {
    // Before anything is written: a limit of the program's must not end us.
    let reset = signals::reset();
    logging::to_file(&settings);
    // No folder is kept busy by us.
    if let Err(error) = reset.and_then(|()| std::env::set_current_dir("/")) {
        tracing::warn!(%error, "not served");
        return exit_code::code(exit_code::FAILURE);
    }
    let door = door();
    // Two processes return from here, one after the other.
    match keep(beginning) {
        Some(inheritance) => {
            serve::work(settings, orders, inheritance, door.as_ref());
            // The keeper has it too, and closes it.
            std::mem::forget(door);
        }
        None => door.into_iter().for_each(Door::close),
    }
    ExitCode::SUCCESS
}
