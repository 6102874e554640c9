//! The supervisors beside a program, as they are seen from outside.
#![allow(dead_code)] // each binary of tests uses a part

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Processes of Sonde in a program's mount namespace.
#[derive(Debug, Default)]
pub(crate) struct Supervisors {
    pub(crate) keepers: Vec<u32>,
    pub(crate) workers: Vec<u32>,
}

impl Supervisors {
    pub(crate) fn beside(program: u32) -> Self {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let is_one = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sonde\0supervise\0")
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        let all: Vec<u32> = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let ours = namespace(program);
        let ours: Vec<u32> = all.into_iter().filter(is_one).filter(|pid| namespace(*pid) == ours).collect();
        // A worker is the child of a keeper.
        let (workers, keepers) =
            ours.iter().partition(|pid| parent(**pid).is_some_and(|parent| ours.contains(&parent)));
        Self { keepers, workers }
    }
}

/// Whose child a process is.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// The one worker beside a program, which may have to be started first.
pub(crate) fn the_worker_of(program: u32) -> u32 {
    let started = Instant::now();
    loop {
        let Supervisors { keepers, workers } = Supervisors::beside(program);
        if let ([_], [worker]) = (&*keepers, &*workers) {
            return *worker;
        }
        assert!(started.elapsed() < Duration::from_secs(100), "{keepers:?} {workers:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Kills processes; how many there were.
pub(crate) fn kill(pids: &[u32]) -> usize {
    let killed =
        |pid: &&u32| Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success();
    pids.iter().filter(killed).count()
}
