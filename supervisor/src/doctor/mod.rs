//! What is the matter: this machine, this user's configuration, and one program, looked at as the supervisor would.
//!
//! Each file looks at one group of things and returns findings. Nothing is downloaded or asked of a network, no foreign
//! program is run, and nothing is changed but caches.

mod configuration;
mod data;
mod engine;
mod finding;
mod index;
mod kernel;
mod needs;
mod program;
mod shim;
pub(crate) mod show;
mod store;
mod surroundings;

use std::ffi::OsStr;
use std::sync::Arc;

use crate::index::Index;
use crate::settings::Settings;
use crate::store::files;
pub(crate) use finding::{Level, Section, worst};

/// Looks at the machine and the user's configuration and, where one is named, at a program.
pub(crate) fn examine(settings: &Settings, program: Option<&OsStr>) -> Vec<Section> {
    // What is wrong with either is told by the file whose business it is.
    let index = files(settings).ok().and_then(|files| Index::open(settings, Arc::new(files)).ok());
    let index = index.as_ref();
    let mut sections = vec![
        Section { title: "Kernel", findings: kernel::examine() },
        Section { title: "Engine", findings: engine::examine(settings) },
        Section { title: "Surroundings", findings: surroundings::examine() },
        Section { title: "Shim", findings: shim::examine() },
        Section { title: "Index", findings: index::examine(settings, index) },
        Section { title: "Store", findings: store::examine(settings, index) },
        Section { title: "Configuration", findings: configuration::examine(settings) },
    ];
    if let Some(program) = program {
        sections.push(Section { title: "Program", findings: program::examine(settings, index, program) });
    }
    sections
}
