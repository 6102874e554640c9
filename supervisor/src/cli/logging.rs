//! Where log messages of developers go: nowhere, unless `SONDE_LOG` asks for them.
//!
//! `SONDE_LOG` takes the directives of tracing-subscriber (`debug`, `sonde::serve=trace`), and so does nix-ld's `NIX_LD_LOG`,
//! which counts where that is not set. A command that somebody waits for writes to standard error. A supervisor that was
//! started beside a program never does: that is the program's. It writes to `sonde.log` in the state folder.

mod capped;

use std::env;
use std::io;
use std::panic;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use super::complain;
use crate::settings::Settings;
use capped::CappedFile;

const VARIABLES: [&str; 2] = ["SONDE_LOG", "NIX_LD_LOG"];

const FILE: &str = "sonde.log";

/// Bytes that the log may have, and the one before it as many again.
const LIMIT: u64 = 4 << 20;

/// Logs to standard error.
pub(crate) fn to_stderr() {
    match filter() {
        None => {}
        Some(Ok(filter)) => {
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
        }
        Some(Err(error)) => complain(&format_args!("{error}; nothing is logged")),
    }
}

/// Logs to the log file. A log that cannot be written is no reason not to serve.
pub(crate) fn to_file(settings: &Settings) {
    let Some(filter) = filter() else { return };
    let Ok(file) = CappedFile::open(&settings.state.join(FILE), LIMIT) else { return };
    let mistake = filter.as_ref().err().map(ToString::to_string);
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .init();
    // Nobody sees our standard error, where these go otherwise.
    panic::set_hook(Box::new(|what| tracing::error!("panicked: {what}")));
    if let Some(mistake) = mistake {
        tracing::warn!("{mistake}; only warnings are logged");
    }
}

/// What is asked for; nothing, if nothing is.
fn filter() -> Option<Result<EnvFilter, String>> {
    let value = |name| Some((name, env::var_os(name).filter(|value| !value.is_empty())?));
    let (name, directives) = VARIABLES.into_iter().find_map(value)?;
    let directives = directives.to_string_lossy();
    Some(EnvFilter::try_new(&directives).map_err(|error| format!("{name}={directives}: {error}")))
}
