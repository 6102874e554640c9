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
