//! Memory of processes, and finding those whose memory is of interest.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Memory of a process, in bytes (proc_pid_status(5)).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resident {
    /// All pages that are there.
    pub(crate) all: f64,
    /// Of these the process's own; the others are of files, and shared.
    pub(crate) own: f64,
    /// The most of all pages that there ever were.
    pub(crate) peak: f64,
}

impl Resident {
    pub(crate) fn of(process: u32) -> Result<Resident> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("its memory")?;
        let bytes = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kibibytes.map_or(f64::NAN, |kibibytes: f64| kibibytes * 1024.0)
        };
        Ok(Resident { all: bytes("VmRSS"), own: bytes("RssAnon"), peak: bytes("VmHWM") })
    }

    /// Of the supervisor of a program in a root of its own, and of its keeper: the larger one first.
    pub(crate) fn of_supervisors(program: u32) -> Result<Vec<Resident>> {
        let mut found: Vec<Resident> =
            supervisors(program)?.into_iter().map(Resident::of).collect::<Result<_>>()?;
        ensure!(!found.is_empty(), "no supervisor is running");
        found.sort_by(|one, other| other.all.total_cmp(&one.all));
        Ok(found)
    }

    /// The own memory of both.
    pub(crate) fn own_of_supervisors(program: u32) -> Result<f64> {
        Ok(Resident::of_supervisors(program)?.iter().map(|one| one.own).sum())
    }

    /// Of a command at the moment when it has worked everything out and writes: its output is a pipe that is full.
    pub(crate) fn at_its_end(command: &mut Command) -> Result<Resident> {
        let (mut reader, mut writer) = std::io::pipe()?;
        // The default capacity (pipe(7)).
        writer.write_all(&[0; 65536])?;
        let mut child = command.stdout(writer.try_clone()?).spawn()?;
        // The command holds an end too until it is dropped.
        command.stdout(Stdio::null());
        drop(writer);
        let resident = once_it_waits(&child).and_then(|()| Resident::of(child.id()));
        reader.read_to_end(&mut Vec::new())?;
        child.wait()?;
        resident
    }
}

fn once_it_waits(child: &Child) -> Result<()> {
    let waits = || {
        let channel = fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
        let state = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        channel.contains("pipe") || channel == "0" && state.contains(") S ")
    };
    for _ in 0..6000 {
        if waits() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("it does not wait for its output")
}

/// Supervisors and keepers in the mount namespace of a program: each run in the world has one of its own.
fn supervisors(program: u32) -> Result<Vec<u32>> {
    let namespace = |process: u32| fs::read_link(format!("/proc/{process}/ns/mnt"));
    let wanted = namespace(program).context("the program's mount namespace")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let supervises = command.split(|byte| *byte == 0).any(|word| word == b"supervise");
        if supervises && namespace(process).is_ok_and(|one| one == wanted) {
            found.push(process);
        }
    }
    Ok(found)
}
