//! What every test of the built binaries stands on: the test world, a cache server, Sonde installed as Nix would have
//! installed it, and folders of state that the runs of one user share.
#![allow(dead_code, unreachable_pub, unused_imports)] // tests, benches and the demo each use a part

mod engines;
mod glibcs;
mod guests;
pub mod output;
mod plain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, mpsc};

use anyhow::{Context, Result, ensure};
use sonde_world::serve::CacheServer;
use sonde_world::{Program, RootBuilder, World};

pub use engines::{EVERY_ENGINE, Engine, TREE_ENGINES};
pub use glibcs::{Glibc, glibcs};
pub use guests::cc;
pub use output::{Conversation, Outcome, run};
pub use plain::{PLAIN_SONDE, PLAIN_STORE};

/// Where things are inside the root.
pub const SONDE: &str = "/run/current-system/sw/bin/sonde";
pub const SHIM: &str = "/run/current-system/sw/libexec/sonde/sonde-interp";
pub const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Where the shim that was built here has its loader compiled in (interp/build.rs). There is none unless a test puts it there.
pub const COMPILED_IN_LOADER: &str = "/run/current-system/sw/share/nix-ld/lib/ld.so";

/// The user a program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Root,
    Alice,
}

pub const EVERYBODY: [Who; 2] = [Who::Root, Who::Alice];

/// Does the output prove that the program ran?
pub fn proves(program: &Program, stdout: &str) -> bool {
    regex::Regex::new(&program.expect)
        .unwrap_or_else(|error| panic!("{}: {error}", program.name))
        .is_match(stdout)
}

/// Does it start other foreign programs? Those need the shim: without one the kernel finds no interpreter for them.
pub fn starts_foreign_programs(program: &Program) -> bool {
    // Its proof is an alias, for which git runs itself several times through a shell.
    program.name == "git"
}

/// One for each process of tests.
pub struct Fixture {
    pub world: World,
    pub server: CacheServer,
    /// Belongs to this process; removed by the next one.
    folder: PathBuf,
    states: Mutex<Vec<(Who, PathBuf)>>,
}

/// The fixture, made at its first use.
pub fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| Fixture::new().unwrap_or_else(|error| panic!("preparing the tests: {error:#}")))
}

impl Fixture {
    fn new() -> Result<Self> {
        let world = World::locate()?;
        let server = CacheServer::start(&world.cache(), 0)?;
        let folder = own_folder()?;
        let fixture = Self { world, server, folder, states: Mutex::default() };
        fixture.install()?;
        Ok(fixture)
    }

    /// Gives `sonde` the loader and libraries of the root's system closure: what building it with Nix would have done.
    fn install(&self) -> Result<()> {
        let system = self.world.system_path()?;
        let sonde = self.sonde();
        fs::copy(env!("CARGO_BIN_EXE_sonde"), &sonde).context("copying sonde")?;
        let status = Command::new("patchelf")
            .args(["--set-interpreter", &format!("{system}/lib/ld-linux-x86-64.so.2")])
            .args(["--set-rpath", &format!("{system}/lib")])
            .arg(&sonde)
            .status()
            .context("running patchelf; `make world` installs it")?;
        ensure!(status.success(), "patchelf failed on {}", sonde.display());
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interp/target/release/sonde-interp");
        fs::copy(&built, self.shim())
            .with_context(|| format!("copying {}; `make test` builds it", built.display()))?;
        Ok(())
    }

    /// This machine's path of the installed `sonde`.
    pub fn sonde(&self) -> PathBuf {
        self.folder.join("sonde")
    }

    /// This machine's path of the shim.
    pub fn shim(&self) -> PathBuf {
        self.folder.join("sonde-interp")
    }

    /// This machine's path of the loader of the root's system.
    pub fn system_loader(&self) -> PathBuf {
        let system = self.world.system_path().unwrap_or_else(|error| panic!("{error:#}"));
        let object = system.trim_start_matches("/nix/store/");
        self.world.path().join("store").join(object).join("lib/ld-linux-x86-64.so.2")
    }

    /// A folder of this machine that is visible inside the root as `/guests`.
    pub fn guests(&self) -> PathBuf {
        let folder = self.folder.join("guests");
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        folder
    }

    /// The root with Sonde and an index, with the state that this user's runs share; the shim is installed.
    pub fn root(&self, who: Who) -> RootBuilder {
        self.without_shim(who).shim(self.shim())
    }

    /// The same without a shim at `/lib64`.
    pub fn without_shim(&self, who: Who) -> RootBuilder {
        let root = self.bare(who, &self.shared_state(who)).user(who == Who::Alice);
        self.under_the_engine_of_this_run(root)
    }

    /// A root whose store is empty: nothing was ever realised in it. The folder must outlive the runs.
    pub fn cold(&self, who: Who) -> (tempfile::TempDir, RootBuilder) {
        let (state, mut root) = self.unfilled(who);
        if who == Who::Alice {
            root = root.with_daemon();
        }
        self.import(&root);
        (state, self.under_the_engine_of_this_run(root))
    }

    fn unfilled(&self, who: Who) -> (tempfile::TempDir, RootBuilder) {
        let state = tempfile::tempdir_in(&self.folder).unwrap_or_else(|error| panic!("{error}"));
        let root = self.bare(who, state.path()).user(who == Who::Alice).shim(self.shim());
        (state, root)
    }

    /// A root where packages come into the embedded store, which is empty, from this address. Nix has none of them.
    pub fn embedded(&self, who: Who, cache: &str) -> (tempfile::TempDir, RootBuilder) {
        let (state, root) = self.unfilled(who);
        let configuration = state.path().join("configuration");
        self.configure_embedded(&configuration, cache, &self.cache_key(), "");
        let root = root.bind(configuration, "/etc/sonde");
        self.import(&root);
        (state, root)
    }

    /// The public key that the world's cache is signed with.
    pub fn cache_key(&self) -> String {
        let file = self.world.cache().with_file_name("cache-key.pub");
        let key = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        key.trim().to_owned()
    }

    /// Writes a `config.toml` for the embedded store; `settings` are further lines of its section.
    pub fn configure_embedded(&self, folder: &Path, cache: &str, key: &str, settings: &str) {
        let text = format!(
            "[store]\nkind = \"embedded\"\ncaches = [\"{cache}\"]\ntrusted-public-keys = [\"{key}\"]\n{settings}"
        );
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join("config.toml"), text));
        written.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }

    /// The root in which programs run natively, by Debian's own loader and libraries.
    pub fn native(&self, who: Who) -> RootBuilder {
        self.bare(who, &self.shared_state(who)).user(who == Who::Alice).fhs()
    }

    fn bare(&self, _who: Who, state: &Path) -> RootBuilder {
        RootBuilder::new(&self.world)
            .state(state)
            .cache_url(self.server.url())
            .sonde(self.sonde())
            .interp(self.shim())
            .bind(self.world.index(), "/index")
            .bind(self.guests(), "/guests")
    }

    fn import(&self, builder: &RootBuilder) {
        let outcome = run(builder.command(SONDE).args(["index", "import", "/index/files"]));
        assert!(outcome.succeeded(), "importing the index: {outcome}");
    }

    fn shared_state(&self, who: Who) -> PathBuf {
        let mut states = self.states.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, state)) = states.iter().find(|(owner, _)| *owner == who) {
            return state.clone();
        }
        let state = self.folder.join(format!("state-{who:?}"));
        fs::create_dir_all(&state).unwrap_or_else(|error| panic!("{}: {error}", state.display()));
        let builder = self.bare(who, &state).user(who == Who::Alice);
        if who == Who::Alice {
            keep_daemon(builder.clone());
        }
        self.import(&builder);
        states.push((who, state.clone()));
        state
    }
}

/// Runs a Nix daemon until this process ends. It dies with the thread that started it, so that thread stays.
fn keep_daemon(builder: RootBuilder) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let daemon = builder.start_daemon();
        let _ = sender.send(daemon.as_ref().map(drop).map_err(|error| format!("{error:#}")));
        while daemon.is_ok() {
            std::thread::park();
        }
    });
    let started = receiver.recv().unwrap_or_else(|error| Err(error.to_string()));
    started.unwrap_or_else(|error| panic!("starting a Nix daemon: {error}"));
}

/// A folder for this process. Those of processes that are gone are removed.
fn own_folder() -> Result<PathBuf> {
    let all = Path::new(env!("CARGO_BIN_EXE_sonde")).with_file_name("in-the-world");
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        let owner = entry.file_name();
        if !Path::new("/proc").join(&owner).exists() {
            // Store paths are read-only; whoever is not root may have to wait for `cargo clean`.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    let _ = fs::remove_dir_all(&own);
    fs::create_dir_all(&own).with_context(|| format!("creating {}", own.display()))?;
    Ok(own)
}
