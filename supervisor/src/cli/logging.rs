//! Where log messages of developers go: nowhere, unless `SONDE_LOG` asks for them.
//!
//! `SONDE_LOG` takes the directives of tracing-subscriber (`debug`, `sonde::serve=trace`). A command that somebody waits for
//! writes to standard error. A supervisor that was started beside a program never does: that is the program's. It writes
//! to `sonde.log` in the state folder.

mod capped;

use std::env;
use std::io;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use super::complain;
use crate::settings::Settings;
use capped::CappedFile;

const VARIABLE: &str = "SONDE_LOG";

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
    if let Some(mistake) = mistake {
        tracing::warn!("{mistake}; only warnings are logged");
    }
}

/// What is asked for; nothing, if nothing is.
fn filter() -> Option<Result<EnvFilter, String>> {
    let directives = env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
    let directives = directives.to_string_lossy();
    Some(EnvFilter::try_new(&directives).map_err(|error| format!("{VARIABLE}={directives}: {error}")))
}
