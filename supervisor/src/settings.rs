//! Where things lie for this user: folders after the XDG base directory specification, and the installation.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};

/// Indexes that the administrator has installed, looked at after the user's own.
const SYSTEM_CACHE: &str = "/var/cache/sonde";

/// Configuration of the whole machine; the user's own is added to it.
const SYSTEM_CONFIGURATION: &str = "/etc/sonde";

/// Where `nix-store` is looked for, in order; by absolute path, since a service's `PATH` may hold nothing.
const NIX_STORES: [&str; 4] = [
    "/run/current-system/sw/bin/nix-store",
    "/nix/var/nix/profiles/default/bin/nix-store",
    "/usr/local/bin/nix-store",
    "/usr/bin/nix-store",
];

/// Set, and not to 0: fetch nothing.
const OFFLINE: &str = "SONDE_OFFLINE";

/// The name of the shim's file in an installation.
const SHIM: &str = "sonde-interp";

/// What the user's environment and the installation say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `$XDG_CACHE_HOME/sonde`: may be deleted at any time.
    pub(crate) cache: PathBuf,
    /// `$XDG_STATE_HOME/sonde`: gc roots and the log.
    pub(crate) state: PathBuf,
    /// The folders that hold indexes, the user's first.
    pub(crate) index_folders: Vec<PathBuf>,
    /// The folders that hold configuration, the machine's first; the user's is none of them where nobody could have put
    /// anything there.
    pub(crate) configuration: Vec<PathBuf>,
    /// The `nix-store` command, if there is one.
    pub(crate) nix_store: Option<PathBuf>,
    /// Nothing is to be fetched or built (`SONDE_OFFLINE`, or a command's `--offline`).
    pub(crate) offline: bool,
}

impl Settings {
    /// Reads the environment; a home folder that is not in it comes from the user database.
    pub(crate) fn from_environment() -> Self {
        let home = variable("HOME").or_else(|| {
            let user = User::from_uid(Uid::current()).ok().flatten()?;
            Some(user.dir.into_os_string())
        });
        let home = PathBuf::from(home.unwrap_or_else(|| "/var/empty".into()));
        let folder = |name: &str, default: &str| {
            // Relative values are to be ignored (XDG base directory specification).
            let base = variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
            base.unwrap_or_else(|| home.join(default)).join("sonde")
        };
        let cache = folder("XDG_CACHE_HOME", ".cache");
        let own = Some(folder("XDG_CONFIG_HOME", ".config")).filter(|folder| !is_barred(folder));
        Self {
            index_folders: vec![cache.join("index"), Path::new(SYSTEM_CACHE).join("index")],
            configuration: std::iter::once(SYSTEM_CONFIGURATION.into()).chain(own).collect(),
            state: folder("XDG_STATE_HOME", ".local/state"),
            nix_store: find_nix_store(),
            offline: variable(OFFLINE).is_some_and(|value| value != "0"),
            cache,
        }
    }
}

impl Settings {
    /// The files of this name in the configuration folders, the machine's first. Those that there are.
    pub(crate) fn configured(&self, name: &str) -> impl Iterator<Item = (PathBuf, io::Result<String>)> {
        self.configuration.iter().map(move |folder| folder.join(name)).filter_map(|path| {
            match fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                text => Some((path, text)),
            }
        })
    }
}

/// The shim that belongs to this `sonde`: beside it, or in the `libexec` folder of the same installation.
pub(crate) fn find_shim() -> Option<PathBuf> {
    let own = env::current_exe().ok()?;
    let folder = own.parent()?;
    [folder.join(SHIM), folder.join("../libexec/sonde").join(SHIM)].into_iter().find(|path| path.is_file())
}

/// Is the way to a folder barred by somebody else, as `ProtectHome=` of a unit does it, or by what is no folder? What a user
/// has barred is there and cannot be read, which is another matter.
fn is_barred(folder: &Path) -> bool {
    let error = fs::metadata(folder.join("x")).err().map(|error| error.kind());
    // The longest part that can be looked at is where it ends.
    let end = || folder.ancestors().find_map(|folder| fs::metadata(folder).ok());
    match error {
        Some(io::ErrorKind::NotADirectory) => true,
        Some(io::ErrorKind::PermissionDenied) => end().is_some_and(|data| data.uid() != geteuid().as_raw()),
        _ => false,
    }
}

fn find_nix_store() -> Option<PathBuf> {
    let fixed = NIX_STORES.iter().map(PathBuf::from);
    let path = variable("PATH").unwrap_or_default();
    let searched: Vec<PathBuf> = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("nix-store"))
        .collect();
    fixed.chain(searched).find(|candidate| candidate.is_file())
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
