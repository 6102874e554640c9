//! The engines that a test is run under: by configuration, so that it makes no difference how the program is started.

use std::fs;

use sonde_world::RootBuilder;

use super::Fixture;

/// An engine, as a tree can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Whichever works; on this machine, inline, and user notification where that stands back.
    Auto,
    /// User notification.
    Seccomp,
    /// Tracing, with a filter that chooses where to stop.
    Ptrace,
    /// Tracing without a filter, for whoever would need `no_new_privs` for one: alice. Root gets the filter.
    PtraceAll,
    /// The loader itself, where that is possible.
    Inline,
}

pub const EVERY_ENGINE: [Engine; 4] = [Engine::Seccomp, Engine::Ptrace, Engine::PtraceAll, Engine::Inline];

/// Those whose trees stay together whatever becomes of a process: another user's, or one in other namespaces.
pub const TREE_ENGINES: [Engine; 3] = [Engine::Seccomp, Engine::Ptrace, Engine::PtraceAll];

impl Engine {
    /// Is a program the supervisor's tracee?
    pub fn traces(self) -> bool {
        matches!(self, Self::Ptrace | Self::PtraceAll)
    }

    /// What `sonde trace` says of it when it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto | Self::Seccomp => "engine seccomp: asked for\n",
            // A trace wants to see every open.
            Self::Inline => "engine seccomp: not inline: a trace wants to see every open\n",
            Self::Ptrace => "engine ptrace: asked for\n",
            Self::PtraceAll => "engine ptrace, at every system call: asked for\n",
        }
    }

    /// A word for tables.
    pub fn short(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Seccomp => "seccomp",
            Self::Ptrace => "ptrace",
            Self::PtraceAll => "ptrace-all",
            Self::Inline => "inline",
        }
    }

    fn configuration(self) -> &'static str {
        match self {
            Self::Auto => "[engine]\nkind = \"auto\"\n",
            Self::Seccomp => "[engine]\nkind = \"seccomp\"\n",
            Self::Ptrace => "[engine]\nkind = \"ptrace\"\n",
            Self::Inline => "[engine]\nkind = \"inline\"\n",
            Self::PtraceAll => "[engine]\nkind = \"ptrace\"\nno-new-privs = false\n",
        }
    }
}

impl Fixture {
    /// The root, configured for the engine that `SONDE_TEST_ENGINE` names (`Seccomp`, `Ptrace`, …), if it is set: so the
    /// whole suite can be run under each.
    pub(super) fn under_the_engine_of_this_run(&self, root: RootBuilder) -> RootBuilder {
        let Ok(wanted) = std::env::var("SONDE_TEST_ENGINE") else { return root };
        let engine = EVERY_ENGINE.into_iter().find(|engine| format!("{engine:?}") == wanted);
        self.under(engine.unwrap_or_else(|| panic!("SONDE_TEST_ENGINE={wanted}: no such engine")), root)
    }

    /// The root, configured for an engine whose trees stay together and have a supervisor, if that of this run is none.
    pub fn with_trees(&self, root: RootBuilder) -> RootBuilder {
        let wanted = std::env::var("SONDE_TEST_ENGINE").unwrap_or_default();
        let stays = TREE_ENGINES.into_iter().any(|engine| format!("{engine:?}") == wanted);
        if stays { root } else { self.under(Engine::Seccomp, root) }
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
