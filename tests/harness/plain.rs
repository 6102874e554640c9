//! A machine without Nix: no `/nix`, no libraries, and an embedded store that the world's cache fills.
//!
//! Its few programs, and `sonde`, are those of the NixOS-like root with a loader and libraries in `/opt/base/lib`, where
//! no foreign program looks for any.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use sonde_world::RootBuilder;

use super::{Fixture, Outcome, Who, run};

/// Where things are on that machine.
pub const PLAIN_SONDE: &str = "/opt/base/bin/sonde";
pub const PLAIN_STORE: &str = "/home/store/sonde/store";
const BASE: &str = "/opt/base";

const TOOLS: &[&str] = &[
    "bash",
    "cat",
    "chown",
    "env",
    "grep",
    "id",
    "ls",
    "mkdir",
    "mountpoint",
    "pwd",
    "readlink",
    "rmdir",
    "setpriv",
    "sh",
    "stat",
    "touch",
    "true",
    "unshare",
];

impl Fixture {
    /// The root without `/nix`. What its store holds is shared by all runs of a user.
    pub fn plain(&self, who: Who) -> RootBuilder {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.folder.join(format!("state-plain-{who:?}"));
        let fresh = !state.exists();
        let root = self.plain_on(who, &state);
        if fresh {
            let home = state.join("home/store");
            assert!(run(&mut root.command("true")).succeeded(), "a machine without Nix");
            fs::create_dir(&home).unwrap_or_else(|error| panic!("{}: {error}", home.display()));
            if who == Who::Alice {
                std::os::unix::fs::chown(&home, Some(1000), Some(100))
                    .unwrap_or_else(|error| panic!("{error}"));
            }
            let outcome: Outcome = run(root.command(PLAIN_SONDE).args(["index", "import", "/index/files"]));
            assert!(outcome.succeeded(), "importing the index: {outcome}");
        }
        root
    }

    fn plain_on(&self, who: Who, state: &Path) -> RootBuilder {
        RootBuilder::new(&self.world)
            .without_nix()
            .state(state)
            .user(who == Who::Alice)
            .bind(self.plain_base("bin"), format!("{BASE}/bin"))
            .bind(self.plain_base("lib"), format!("{BASE}/lib"))
            .bind(self.shim(), format!("{BASE}/libexec/sonde/sonde-interp"))
            .bind(self.plain_base("bin/sh"), "/bin/sh")
            .bind(self.world.index(), "/index")
            .bind(self.guests(), "/guests")
            .env("PATH", format!("{BASE}/bin"))
            .env("XDG_CONFIG_HOME", self.plain_configuration())
            .env("XDG_DATA_HOME", "/home/store")
    }

    /// Writes the configuration that fills the store from the world's cache; returns its folder inside the root.
    fn plain_configuration(&self) -> &'static str {
        let folder = self.guests().join("plain/sonde");
        let file = folder.join("config.toml");
        let key = self.world.public_key().unwrap_or_else(|error| panic!("{error:#}"));
        let url = self.server.url();
        let text = format!("[store]\ncaches = [\"{url}\"]\ntrusted-public-keys = [\"{key}\"]\n");
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&file, text))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        "/guests/plain"
    }

    /// A folder of the NixOS-like root's own programs.
    fn system(&self, folder: &str) -> PathBuf {
        self.world.on_system(folder).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// `bin` and `lib` of that machine, by this machine's path.
    fn plain_base(&self, part: &str) -> PathBuf {
        static MADE: OnceLock<()> = OnceLock::new();
        let base = self.folder.join("plain");
        MADE.get_or_init(|| {
            let (bin, lib) = (base.join("bin"), base.join("lib"));
            for folder in [&bin, &lib] {
                fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            }
            let programs = self.system("bin");
            let tools = TOOLS.iter().map(|tool| (programs.join(tool), bin.join(tool)));
            let sonde = (self.sonde(), bin.join("sonde"));
            move_to_base(&tools.chain([sonde]).collect::<Vec<_>>());
            let libraries = fs::read_dir(self.system("lib")).unwrap_or_else(|error| panic!("{error}"));
            let is_library = |path: &PathBuf| path.is_file() && path.display().to_string().contains(".so");
            let libraries = libraries.flatten().map(|entry| entry.path()).filter(is_library);
            let (loader, libraries): (Vec<_>, Vec<_>) = libraries
                .map(|from| (from.clone(), lib.join(from.file_name().unwrap_or_default())))
                .partition(|(_, to)| to.ends_with("ld-linux-x86-64.so.2"));
            patch(&libraries, &["--remove-rpath"]);
            fs::copy(&loader[0].0, &loader[0].1).unwrap_or_else(|error| panic!("the loader: {error}"));
        });
        base.join(part)
    }
}

/// Copies programs, and gives them the loader and libraries of [`BASE`].
fn move_to_base(files: &[(PathBuf, PathBuf)]) {
    let interpreter = format!("{BASE}/lib/ld-linux-x86-64.so.2");
    let rpath = format!("{BASE}/lib");
    // Unlike RUNPATH, RPATH is searched for what the libraries need, too.
    patch(files, &["--set-interpreter", &interpreter, "--force-rpath", "--set-rpath", &rpath]);
}

fn patch(files: &[(PathBuf, PathBuf)], options: &[&str]) {
    for (from, to) in files {
        fs::copy(from, to).unwrap_or_else(|error| panic!("copying {}: {error}", from.display()));
        let writable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(to, writable).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    }
    let status = Command::new("patchelf").args(options).args(files.iter().map(|(_, to)| to)).status();
    assert!(status.is_ok_and(|status| status.success()), "patchelf {options:?} failed");
}
