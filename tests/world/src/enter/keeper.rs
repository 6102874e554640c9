//! The keeper: waits for the command's end, then stops its daemon and removes its temporary state. It is forked twice
//! before the command exists, so that the command meets no child that it did not make.
#![allow(unsafe_code)] // fork

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::{Entry, remove_tree};
use crate::World;

/// Returns in the command's process once the keeper is at its post (and its daemon answers).
pub(super) fn start(world: &World, state: &Path, temporary: bool, daemon: bool, entry: &Entry) -> Result<()> {
    let (mut from_keeper, mut to_command) = std::io::pipe().context("creating the keeper's pipe")?;
    // The command's end of this pipe closes when its process execs or dies; its death is seen on the pidfd.
    let command = pidfd(std::process::id())?;
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { fork() }.context("forking the keeper")? {
        ForkResult::Parent { child } => {
            drop(to_command);
            waitpid(child, None).context("waiting for the keeper's parent")?;
            let mut word = String::new();
            from_keeper.read_to_string(&mut word).context("reading the keeper's answer")?;
            if word != "ready" {
                bail!("preparing the root: {word}");
            }
            Ok(())
        }
        ForkResult::Child => {
            let _ = setsid();
            // SAFETY: as above.
            if let Ok(ForkResult::Child) = unsafe { fork() } {
                drop(from_keeper);
                let running = ready(world, state, daemon, entry);
                let word = match &running {
                    Ok(_) => "ready".to_owned(),
                    Err(error) => format!("{error:#}"),
                };
                let _ = to_command.write_all(word.as_bytes());
                drop(to_command);
                if running.is_ok() {
                    wait_for(command.as_fd());
                }
                if let Ok(Some(mut child)) = running {
                    let _ = child.kill();
                    let _ = child.wait();
                }
                if temporary {
                    let _ = remove_tree(state);
                }
            }
            std::process::exit(0);
        }
    }
}

fn ready(world: &World, state: &Path, daemon: bool, entry: &Entry) -> Result<Option<Child>> {
    let started = if daemon { Some(start_daemon(world, state, entry)?) } else { None };
    // Held descriptors would keep a caller that reads the command's output to its end waiting for us.
    let null =
        std::fs::File::options().read(true).write(true).open("/dev/null").context("opening /dev/null")?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .context("detaching")?;
    Ok(started)
}

/// The daemon enters the same state in its own mount namespace: /nix is the same folder there.
fn start_daemon(world: &World, state: &Path, entry: &Entry) -> Result<Child> {
    let tool = std::env::current_exe().context("finding this executable")?;
    let mut command = Command::new(tool);
    command.arg("daemon").arg("--world").arg(world.path()).arg("--state").arg(state);
    if let Some(url) = &entry.cache_url {
        command.arg("--cache-url").arg(url);
    }
    if let Some(key) = &entry.trusted_key {
        command.arg("--trusted-key").arg(key);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().context("starting the Nix daemon")?;
    let mut word = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_string(&mut word);
    }
    if word.trim() != "ready" {
        bail!("the Nix daemon did not start: see nix/var/nix-daemon.log in {}", state.display());
    }
    Ok(child)
}

fn pidfd(pid: u32) -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: pidfd_open takes two integers and returns a new descriptor.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    let fd = nix::errno::Errno::result(fd).context("opening a pidfd of this process")?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd as i32) })
}

fn wait_for(command: std::os::fd::BorrowedFd<'_>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(command, PollFlags::POLLIN)];
    while let Err(nix::Error::EINTR) = poll(&mut fds, PollTimeout::NONE) {}
}
