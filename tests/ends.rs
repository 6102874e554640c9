//! How programs end, and what is left behind.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::harness::{EVERYBODY, SONDE, Who, fixture, run};

const SIGTERM: i32 = 15;
const SIGSEGV: i32 = 11;
const SIGKILL: i32 = 9;

#[test]
fn exit_statuses_and_deaths_by_signal_are_the_programs_own() {
    let guest = fixture().guest("end");
    for who in EVERYBODY {
        for before in [&[][..], &[SONDE, "run"], &[SONDE, "trace"]] {
            let end = |how: &str, number: i32| {
                let words: Vec<&str> = before.iter().copied().chain([guest.as_str(), how]).collect();
                run(fixture().root(who).command(words[0]).args(&words[1..]).arg(number.to_string())).status
            };
            for code in [0, 1, 42, 126, 127, 255] {
                assert_eq!(end("exit", code).code(), Some(code), "{before:?} as {who:?}");
            }
            for signal in [SIGTERM, SIGSEGV, SIGKILL] {
                assert_eq!(end("signal", signal).signal(), Some(signal), "{before:?} as {who:?}");
            }
        }
    }
}

#[test]
fn a_pipe_ends_with_the_program_even_if_its_tree_lives_on() {
    let guest = fixture().guest("end");
    let started = Instant::now();
    // `run` returns when nobody holds the output open any more.
    let outcome = run(fixture().root(Who::Alice).command(guest).args(["daemon", "30"]));
    assert!(outcome.succeeded(), "{outcome}");
    assert!(started.elapsed() < Duration::from_secs(20), "somebody kept the program's output open");
}

#[test]
fn the_supervisor_ends_when_its_tree_does() {
    let guest = fixture().guest("end");
    let before = supervisors();
    for _ in 0..5 {
        let root = fixture().with_trees(fixture().root(Who::Root));
        assert!(run(root.command(&guest).args(["exit", "0"])).succeeded());
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // Other tests run at the same time: theirs end as well, so the number comes down to what it was.
        let left: Vec<u32> = supervisors().into_iter().filter(|pid| !before.contains(pid)).collect();
        let ours: Vec<&u32> = left.iter().filter(|pid| serves_nobody(**pid)).collect();
        if ours.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "supervisors without a tree: {ours:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All `sonde supervise` that are not zombies.
fn supervisors() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sonde\0supervise\0")
        })
        .collect()
}

/// Has the listener of this supervisor lost its last process? Then it should have ended.
fn serves_nobody(pid: u32) -> bool {
    std::thread::sleep(Duration::from_millis(100));
    let alive = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty());
    alive() && !filtered_processes_exist()
}

fn filtered_processes_exist() -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok())
        .any(|status| status.contains("\nSeccomp:\t2\n"))
}
