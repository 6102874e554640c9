//! Runs a command of Nix: with as much of the environment as it may know, and with its own words where it refuses.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Uid, User};

use super::log::Log;
use crate::store::{Progress, StoreError};
use crate::sys::pidfd;

/// Where `<nixpkgs>` is, of which a fallback is built.
pub(crate) const NIXPKGS: &str = "NIX_PATH";

/// What decides where Nix and the caches' client look, and whom they ask: whoever has other values is not served alike.
pub(crate) const DECISIVE: [&str; 15] = [
    "HOME",
    "NIX_REMOTE",
    "NIX_CONF_DIR",
    "NIX_CONFIG",
    NIXPKGS,
    "NIX_USER_CONF_FILES",
    "NIX_SSL_CERT_FILE",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// What else Nix may know of the program's environment. Everything else, `LD_LIBRARY_PATH` above all, was meant for the
/// program.
const HARMLESS: [&str; 5] = ["USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR"];

/// Before a second attempt, and before a third.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// What Nix says when it has stumbled over itself: several of it want to write the narinfo cache at once, or its daemon is
/// being restarted.
const PASSING: [&str; 4] = ["SQLite", "database is busy", "daemon disconnected", "unexpected end-of-file"];

/// Asks for the log that [`Log`] reads.
const TELLING: [&str; 2] = ["--log-format", "internal-json"];

/// The same as [`run`], while `progress` is told of downloads; once more where the refusal is one that passes.
pub(super) fn run_persistently(
    program: &Path,
    arguments: &[&OsStr],
    progress: &dyn Progress,
) -> Result<Output, StoreError> {
    let telling: Vec<&OsStr> = arguments.iter().copied().chain(TELLING.map(OsStr::new)).collect();
    let attempt = || match run_telling(program, &telling, progress) {
        // Before Nix 2.4 nix-store does not know the option.
        Err(StoreError::Refused(reason)) if reason.contains(TELLING[0]) => run(program, arguments),
        result => result,
    };
    for pause in PAUSES {
        match attempt() {
            Err(StoreError::Refused(reason)) if PASSING.iter().any(|words| reason.contains(words)) => {
                tracing::debug!(reason, "once more");
                thread::sleep(pause);
            }
            result => return result,
        }
    }
    attempt()
}

/// Runs it to its end. The error is that it could not be run, or what it said when it refused.
pub(super) fn run(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Output, StoreError> {
    judged(program, || {
        // Into memory files: to read two pipes at once takes a poll(2), over whose failure std panics, or a thread.
        let (mut stdout, mut stderr) = (memory()?, memory()?);
        let mut command = command(program, arguments);
        let status = command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).status()?;
        Ok(Output { status, stdout: written(&mut stdout)?, stderr: written(&mut stderr)? })
    })
}

/// The same, with arguments that make it write the log that [`Log`] reads.
fn run_telling(program: &Path, arguments: &[&OsStr], progress: &dyn Progress) -> Result<Output, StoreError> {
    judged(program, || {
        let mut stdout = memory()?;
        let mut child =
            command(program, arguments).stdout(stdout.try_clone()?).stderr(Stdio::piped()).spawn()?;
        let mut log = Log::new(progress);
        hear(&mut child, &mut log);
        let status = child.wait()?;
        Ok(Output { status, stdout: written(&mut stdout)?, stderr: log.into_words().into_bytes() })
    })
}

/// Hears a child out: to its own end, or that of its words. Somebody that it has started may live on and have them too.
fn hear(child: &mut Child, log: &mut Log<'_>) {
    let Some(mut stderr) = child.stderr.take() else { return };
    let ended = pidfd::open(child.id()).ok();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let of_both = std::iter::once(stderr.as_fd()).chain(ended.as_ref().map(AsFd::as_fd));
        let mut ready: Vec<_> = of_both.map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => {
                thread::sleep(PAUSES[0]);
                continue;
            }
        }
        if ready[0].revents().is_some_and(|events| events.is_empty()) {
            return;
        }
        match stderr.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => log.hear(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// What it is run with, apart from where its words go.
fn command(program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null());
    command.envs(
        DECISIVE.iter().chain(&HARMLESS).filter_map(|name| Some((OsString::from(name), env::var_os(name)?))),
    );
    command.envs(shelter().map(|home| ("HOME", home)));
    command
}

/// What it has said, or the error that it is.
fn judged(program: &Path, run: impl FnOnce() -> io::Result<Output>) -> Result<Output, StoreError> {
    let output = run().map_err(|error| StoreError::Command {
        command: program.display().to_string(),
        reason: error.to_string(),
    })?;
    if output.status.success() { Ok(output) } else { Err(refusal(program, &output)) }
}

fn memory() -> io::Result<File> {
    Ok(memfd_create("output", MFdFlags::MFD_CLOEXEC)?.into())
}

/// All that is in it: who wrote it shares our position.
fn written(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The home of a user whom the user database does not know and who has none: Nix ends without one, and does with one that is
/// not there (`getHome` in its `src/libutil`). Its own builders have this.
fn shelter() -> Option<&'static str> {
    let user = Uid::effective();
    let owns = |home| std::fs::metadata(home).is_ok_and(|data| data.uid() == user.as_raw());
    let has_home =
        User::from_uid(user).is_ok_and(|user| user.is_some()) || env::var_os("HOME").is_some_and(owns);
    (!has_home).then_some("/homeless-shelter")
}

fn refusal(program: &Path, output: &Output) -> StoreError {
    let words = strip_colours(&String::from_utf8_lossy(&output.stderr));
    let reason = words
        .lines()
        .filter_map(|line| line.trim().strip_prefix("error: "))
        .find(|line| !line.is_empty())
        .or_else(|| words.lines().rev().find(|line| !line.trim().is_empty()))
        .map_or_else(|| output.status.to_string(), str::to_owned);
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    StoreError::Refused(format!("{name}: {reason}"))
}

/// Nix colours its messages even where nobody looks (`error: path '\x1b[35;1m/nix/store/…`).
pub(super) fn strip_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        rest = rest[at..].find('m').map_or("", |end| &rest[at + end + 1..]);
    }
    plain + rest
}
