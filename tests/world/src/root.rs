//! Running a command inside the root, from a test: builds the `sonde-world enter` command line. The command that
//! comes out is the program itself once it runs: same pid, same descriptors, same exit status.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::World;

/// What the root is assembled from. Paths are this machine's unless they say otherwise.
#[derive(Clone, Debug)]
pub struct RootBuilder {
    tool: PathBuf,
    world: PathBuf,
    options: Vec<OsString>,
    state: Option<PathBuf>,
    cache_url: Option<String>,
    trusted_key: Option<String>,
}

impl RootBuilder {
    /// The bare root: no shim, no Sonde, a fresh state, the superuser.
    pub fn new(world: &World) -> RootBuilder {
        RootBuilder {
            tool: world.tool(),
            world: world.path().to_owned(),
            options: Vec::new(),
            state: None,
            cache_url: None,
            trusted_key: None,
        }
    }

    /// Runs as the ordinary user alice (uid 1000) when true.
    pub fn user(mut self, user: bool) -> Self {
        self.options.retain(|option| option != "--user");
        if user {
            self.options.push("--user".into());
        }
        self
    }

    /// Puts a file at `/lib64/ld-linux-x86-64.so.2`.
    pub fn shim(self, file: impl AsRef<OsStr>) -> Self {
        self.option("--shim", file)
    }

    /// Puts a file at `/run/current-system/sw/bin/sonde`.
    pub fn sonde(self, file: impl AsRef<OsStr>) -> Self {
        self.option("--sonde", file)
    }

    /// Puts a file at `/run/current-system/sw/libexec/sonde/sonde-interp`.
    pub fn interp(self, file: impl AsRef<OsStr>) -> Self {
        self.option("--interp", file)
    }

    /// Keeps the store, /home, /tmp and /etc in this folder, so that several commands share them.
    pub fn state(mut self, dir: impl AsRef<Path>) -> Self {
        self.state = Some(dir.as_ref().to_owned());
        self
    }

    /// Writes the binary cache's address to nix.conf.
    pub fn cache_url(mut self, url: impl Into<String>) -> Self {
        self.cache_url = Some(url.into());
        self
    }

    /// Writes this key to nix.conf instead of the world's own.
    pub fn trusted_key(mut self, key: impl Into<String>) -> Self {
        self.trusted_key = Some(key.into());
        self
    }

    /// Makes a file or folder of this machine visible inside the root.
    pub fn bind(self, host: impl AsRef<OsStr>, inside: impl AsRef<OsStr>) -> Self {
        let mut pair = host.as_ref().to_owned();
        pair.push(":");
        pair.push(inside);
        self.option("--bind", pair)
    }

    /// Sets an environment variable inside the root.
    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut pair = OsString::from(name);
        pair.push("=");
        pair.push(value);
        self.option("--setenv", pair)
    }

    /// Starts from an empty environment rather than the root's default one.
    pub fn env_clear(mut self) -> Self {
        self.options.push("--env-clear".into());
        self
    }

    /// The working directory, as a path inside the root.
    pub fn chdir(self, dir: impl AsRef<OsStr>) -> Self {
        self.option("--chdir", dir)
    }

    /// Runs a Nix daemon for as long as the command runs. For a shared one see [`RootBuilder::start_daemon`].
    pub fn with_daemon(mut self) -> Self {
        self.options.push("--daemon".into());
        self
    }

    /// Enters the FHS reference root instead, where foreign programs run by themselves.
    pub fn fhs(mut self) -> Self {
        self.options.push("--fhs".into());
        self
    }

    /// Enters a root without Nix, without loaders, libraries and programs: /etc, the state's folders, /opt/programs and
    /// what is bound. There is no /nix, and /bin and /usr/bin are empty.
    pub fn without_nix(mut self) -> Self {
        self.options.push("--without-nix".into());
        self
    }

    fn option(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.options.push(name.into());
        self.options.push(value.as_ref().to_owned());
        self
    }

    /// The command that runs `program` inside; arguments and stdio are the caller's to add.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.tool);
        command.arg("enter").arg("--world").arg(&self.world);
        self.add_nix_options(&mut command);
        command.args(&self.options).arg("--").arg(program);
        command
    }

    fn add_nix_options(&self, command: &mut Command) {
        if let Some(state) = &self.state {
            command.arg("--state").arg(state);
        }
        if let Some(url) = &self.cache_url {
            command.arg("--cache-url").arg(url);
        }
        if let Some(key) = &self.trusted_key {
            command.arg("--trusted-key").arg(key);
        }
    }

    /// Starts a Nix daemon on the state folder and waits until it answers. All commands on that state may use it.
    pub fn start_daemon(&self) -> Result<Daemon> {
        if self.state.is_none() {
            bail!("a daemon needs a state folder that outlives one command: call .state(dir) first");
        }
        let mut command = Command::new(&self.tool);
        command.arg("daemon").arg("--world").arg(&self.world);
        self.add_nix_options(&mut command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| {
            format!("starting {}: is the world built? run `make world`", self.tool.display())
        })?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready).context("reading from the Nix daemon's keeper")?;
        }
        if ready.trim() != "ready" {
            let status = child.wait().context("waiting for the Nix daemon")?;
            bail!(
                "the Nix daemon did not start ({status}): see stderr, and nix/var/nix-daemon.log in the state folder"
            );
        }
        Ok(Daemon { child })
    }
}

/// A running Nix daemon; stopped when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The daemon holds nothing that a kill could spoil but its connections, and those end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
