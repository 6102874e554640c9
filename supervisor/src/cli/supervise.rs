//! `sonde supervise`: what the shim starts. Serves the tree of the process at the other end of descriptor 3.

use std::process::ExitCode;

use sonde_interp::handoff::SUPERVISOR_FD;

use super::{complain, exit_code, logging};
use crate::guest::remote::Thread;
use crate::report::event::Reporter;
use crate::serve;
use crate::settings::Settings;
use crate::sys::scm_rights::Socket;
use crate::sys::signals;

/// Serves one tree.
pub(crate) fn supervise() -> ExitCode {
    // First of all, before anything else is opened: the number must still be the shim's.
    let socket = match Socket::inherited(SUPERVISOR_FD) {
        Ok(socket) => socket,
        Err(_) => {
            complain(&"`sonde supervise` is started by the shim, with a socket; try `sonde run PROGRAM`");
            return exit_code::code(exit_code::FAILURE);
        }
    };
    let settings = Settings::from_environment();
    logging::to_file(&settings);
    let served = (|| -> anyhow::Result<()> {
        signals::reset()?;
        // No folder is kept busy by us.
        std::env::set_current_dir("/")?;
        let peer = socket.peer()?;
        let thread = Thread::new(peer)
            .ok_or_else(|| anyhow::anyhow!("the shim's process cannot be seen from here"))?;
        serve::serve(&settings, socket, thread, &Reporter::default())?;
        Ok(())
    })();
    if let Err(error) = served {
        tracing::warn!(%error, "not served");
        return exit_code::code(exit_code::FAILURE);
    }
    ExitCode::SUCCESS
}
