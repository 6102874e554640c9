//! The engines that a test is run under: by configuration, so that it makes no difference how the program is started.

use std::fs;

use sonde_world::RootBuilder;

use super::Fixture;

/// An engine, as a tree can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Whichever works; on this machine, user notification.
    Auto,
    /// User notification.
    Seccomp,
    /// Tracing, with a filter that chooses where to stop.
    Ptrace,
    /// Tracing without a filter, for whoever would need `no_new_privs` for one: alice. Root gets the filter.
    PtraceAll,
}

pub const EVERY_ENGINE: [Engine; 3] = [Engine::Seccomp, Engine::Ptrace, Engine::PtraceAll];

impl Engine {
    /// What `sonde trace` calls it, as far as the name is the engine's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto | Self::Seccomp => "engine seccomp: ",
            Self::Ptrace => "engine ptrace: ",
            Self::PtraceAll => "engine ptrace, at every system call: ",
        }
    }

    /// A word for tables.
    pub fn short(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Seccomp => "seccomp",
            Self::Ptrace => "ptrace",
            Self::PtraceAll => "ptrace-all",
        }
    }

    fn configuration(self) -> &'static str {
        match self {
            Self::Auto => "[engine]\nkind = \"auto\"\n",
            Self::Seccomp => "[engine]\nkind = \"seccomp\"\n",
            Self::Ptrace => "[engine]\nkind = \"ptrace\"\n",
            Self::PtraceAll => "[engine]\nkind = \"ptrace\"\nno-new-privs = false\n",
        }
    }
}

impl Fixture {
    /// The root, configured for the engine that `SONDE_TEST_ENGINE` names (`Ptrace`, `PtraceAll`), if it is set: so the
    /// whole suite can be run under each.
    pub(super) fn under_the_engine_of_this_run(&self, root: RootBuilder) -> RootBuilder {
        let Ok(wanted) = std::env::var("SONDE_TEST_ENGINE") else { return root };
        let engine = EVERY_ENGINE.into_iter().find(|engine| format!("{engine:?}") == wanted);
        self.under(engine.unwrap_or_else(|| panic!("SONDE_TEST_ENGINE={wanted}: no such engine")), root)
    }

    /// The root, configured for an engine.
    pub fn under(&self, engine: Engine, root: RootBuilder) -> RootBuilder {
        let file = self.guests().join(format!("config-{engine:?}.toml"));
        if !file.exists() {
            fs::write(&file, engine.configuration()).unwrap_or_else(|error| panic!("{error}"));
        }
        root.bind(&file, "/etc/sonde/config.toml")
    }
}
