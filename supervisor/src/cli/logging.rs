//! Where log messages of developers go: nowhere, unless `SONDE_LOG` asks for them.
//!
//! `SONDE_LOG` takes the directives of tracing-subscriber (`debug`, `sonde::serve=trace`). A supervisor that the shim
//! started has no standard error of its own, so that it writes to `sonde.log` in the state folder.

use std::fs::{self, OpenOptions};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

const VARIABLE: &str = "SONDE_LOG";

/// Logs to standard error.
pub(crate) fn to_stderr() {
    if let Ok(filter) = EnvFilter::try_from_env(VARIABLE) {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}

/// Logs to the log file. A log that cannot be written is no reason not to serve.
pub(crate) fn to_file(settings: &Settings) {
    let Ok(filter) = EnvFilter::try_from_env(VARIABLE) else { return };
    let file = fs::create_dir_all(&settings.state)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(settings.state.join("sonde.log")));
    if let Ok(file) = file {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .init();
    }
}
