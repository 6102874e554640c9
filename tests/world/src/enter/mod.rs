//! Entering the root: new mount namespace, the root assembled from bind mounts, pivot_root, drop to the user, exec.
//!
//! The process that was asked to enter becomes the command itself; what has to outlive it (removing a temporary
//! state, stopping a daemon) is done by a keeper that is nobody's child.

mod assemble;
mod daemon;
mod identity;
mod keeper;
mod mounts;
mod namespace;
mod state;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::World;

pub use daemon::run_daemon;
pub use identity::Identity;
pub use namespace::{HostView, enter_host_view};
pub use state::remove_tree;
pub(crate) use state::{copy_tree, nix_conf};

/// A file or folder of this machine and where it appears inside.
#[derive(Clone, Debug)]
pub struct Bind {
    /// On this machine.
    pub host: PathBuf,
    /// Inside the root, absolute.
    pub inside: PathBuf,
    /// Whether it can be written to.
    pub writable: bool,
}

/// What to enter, and what to run there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who runs the command.
    pub identity: Identity,
    /// The FHS reference root rather than the NixOS-like one.
    pub fhs: bool,
    /// Neither: no /nix, and no program but what is bound.
    pub without_nix: bool,
    /// The state folder; a temporary one if absent.
    pub state: Option<PathBuf>,
    /// The binary cache's address for nix.conf.
    pub cache_url: Option<String>,
    /// The key to trust, if not the world's own.
    pub trusted_key: Option<String>,
    /// Whether a Nix daemon runs as long as the command does.
    pub daemon: bool,
    /// Additional files: the shim, Sonde, whatever a test needs.
    pub binds: Vec<Bind>,
    /// Whether the default environment is left out.
    pub env_clear: bool,
    /// Environment variables to set.
    pub env: BTreeMap<String, OsString>,
    /// The working directory inside.
    pub chdir: Option<PathBuf>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Becomes the command. Returns only with an error.
pub fn enter(world: &World, entry: Entry) -> Result<Infallible> {
    let privileged = nix::unistd::geteuid().is_root();
    if entry.identity == Identity::Alice && !privileged {
        bail!(
            "running as alice needs real root (an ordinary user can only map itself): run as root or leave out --user"
        );
    }
    if entry.daemon && !privileged {
        bail!("a Nix daemon for alice needs real root: run as root or leave out --daemon");
    }
    let Some(program) = entry.command.first().cloned() else {
        bail!("no command was given: add -- CMD ARGS")
    };

    let (state, temporary) = state::prepare(world, &entry)?;
    if temporary || entry.daemon {
        keeper::start(world, &state, temporary, entry.daemon, &entry)?;
    }
    assemble::assemble(world, &entry, &state, privileged)?;

    let home = entry.identity.home();
    let mut env: BTreeMap<String, OsString> = BTreeMap::new();
    if !entry.env_clear {
        env.insert("HOME".into(), home.into());
        env.insert("USER".into(), entry.identity.name().into());
        env.insert("PATH".into(), search_path(entry.fhs).into());
        env.insert("LANG".into(), "C.UTF-8".into());
        env.insert("XDG_RUNTIME_DIR".into(), entry.identity.runtime_dir().into());
        if let Some(term) = std::env::var_os("TERM") {
            env.insert("TERM".into(), term);
        }
    }
    env.extend(entry.env);

    let dir = entry.chdir.unwrap_or_else(|| home.into());
    entry.identity.assume(privileged)?;
    std::env::set_current_dir(&dir)
        .with_context(|| format!("changing to {} inside the root", dir.display()))?;
    let path = env.get("PATH").cloned().unwrap_or_else(|| search_path(entry.fhs).into());
    exec(&find(&program, &path), &entry.command, &env)
}

fn search_path(fhs: bool) -> &'static str {
    if fhs { "/usr/bin:/bin" } else { "/run/current-system/sw/bin" }
}

/// As execvp would, but in the PATH of the environment to be.
fn find(program: &OsStr, path: &OsStr) -> PathBuf {
    if program.as_bytes().contains(&b'/') {
        return program.into();
    }
    let candidates = std::env::split_paths(path).map(|dir| dir.join(program));
    candidates.into_iter().find(|file| file.is_file()).unwrap_or_else(|| program.into())
}

fn exec(file: &std::path::Path, argv: &[OsString], env: &BTreeMap<String, OsString>) -> Result<Infallible> {
    let c = |bytes: Vec<u8>| CString::new(bytes).context("an argument or variable contains a NUL byte");
    let argv: Vec<CString> = argv.iter().map(|arg| c(arg.clone().into_vec())).collect::<Result<_>>()?;
    let env: Vec<CString> = env
        .iter()
        .map(|(name, value)| c([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_>>()?;
    identity::reset_inherited_state()?;
    let name = c(file.as_os_str().as_bytes().to_vec())?;
    match nix::unistd::execve(&name, &argv, &env) {
        Ok(never) => Ok(never),
        Err(errno) => Err(anyhow::Error::new(ExecFailed { file: file.to_owned(), errno })),
    }
}

/// The command itself could not be started: what a shell reports with status 126 or 127.
#[derive(Debug)]
pub struct ExecFailed {
    file: PathBuf,
    /// ENOENT also when the file is there but its loader is not.
    pub errno: nix::Error,
}

impl std::fmt::Display for ExecFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "executing {} inside the root: {}", self.file.display(), self.errno)?;
        if self.errno == nix::Error::ENOENT && self.file.exists() {
            write!(f, " (the file is there: its loader is not)")?;
        }
        Ok(())
    }
}

impl std::error::Error for ExecFailed {}
