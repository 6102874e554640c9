//! A real nix-daemon, as root, on a state folder. The process that was asked for one becomes the daemon; a child that
//! the daemon reaps says `ready` on the standard output once the socket answers.
#![allow(unsafe_code)] // fork

use std::convert::Infallible;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::{ForkResult, fork, getppid};

use super::{Entry, assemble, state};
use crate::World;

/// `nix/var/nix-daemon.log` in the state folder.
const LOG: &str = "/nix/var/nix-daemon.log";
const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";

/// Becomes the daemon. Returns only with an error.
pub fn run_daemon(world: &World, entry: &Entry) -> Result<Infallible> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a Nix daemon for alice needs real root: run as root");
    }
    // Whoever asked for a daemon and is killed leaves none behind.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("tying the daemon to its parent")?;
    let (state, _) = state::prepare(world, entry)?;
    assemble::assemble(world, entry, &state, true)?;
    let _ = std::fs::remove_file(SOCKET); // a killed daemon leaves it, and a connect would be refused
    let daemon = nix::unistd::getpid();
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }.context("forking the daemon's herald")? {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && getppid() == daemon {
            if UnixStream::connect(SOCKET).is_ok() {
                let _ = std::io::stdout().write_all(b"ready\n");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::process::exit(0);
    }
    // It reports every connection; a test's stderr is not the place.
    let log = std::fs::File::create(LOG).with_context(|| format!("creating {LOG} inside the root"))?;
    let error = Command::new("/run/current-system/sw/bin/nix-daemon")
        .env_clear()
        .env("HOME", "/root")
        .env("PATH", "/run/current-system/sw/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .exec();
    Err(error).context("executing nix-daemon inside the root")
}
