//! A program cannot tell that it was not started natively.

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, SHIM, SONDE, fixture, run};

const ENVIRONMENT: [(&str, &str); 3] = [("EMPTY", ""), ("LD_BIND_NOW", "1"), ("ODD", "a=b c\td")];

fn prepared(mut root: RootBuilder) -> RootBuilder {
    root = root.env_clear().chdir("/tmp"); // HOME comes from the user database
    for (name, value) in ENVIRONMENT {
        root = root.env(name, value);
    }
    root
}

/// Runs the guest behind these words; checks pid and parent, which differ from run to run.
fn identity(root: RootBuilder, before: &[&str]) -> Outcome {
    let guest = fixture().guest("identity");
    let words: Vec<&str> = before.iter().copied().chain([guest.as_str(), "one", "", "th ree"]).collect();
    let outcome = run(prepared(root).command(words[0]).args(&words[1..]));
    let expected = format!("pid {} parent {}\n", outcome.pid, std::process::id());
    assert_eq!(outcome.stderr, expected, "process id and parent: {outcome}");
    outcome
}

#[track_caller]
fn assert_same(native: &Outcome, outcome: &Outcome, how: &str) {
    let lines = native.stdout.lines().zip(outcome.stdout.lines());
    for (native, ours) in lines {
        assert_eq!(native, ours, "{how}");
    }
    assert_eq!(native.stdout, outcome.stdout, "{how}");
    assert_eq!(native.status, outcome.status, "{how}");
}

#[test]
fn through_lib64_everything_is_as_natively() {
    for who in EVERYBODY {
        let native = identity(fixture().native(who), &[]);
        assert!(native.stdout.contains("exe: /guests/identity\n"), "{native}");
        assert_same(&native, &identity(fixture().root(who), &[]), &format!("through /lib64 as {who:?}"));
    }
}

#[test]
fn through_sonde_run_everything_is_as_natively() {
    for who in EVERYBODY {
        let native = identity(fixture().native(who), &[]);
        let outcome = identity(fixture().without_shim(who), &[SONDE, "run"]);
        assert_same(&native, &outcome, &format!("through sonde run as {who:?}"));
    }
}

#[test]
fn through_the_shim_as_a_command_everything_is_as_natively() {
    for who in EVERYBODY {
        let native = identity(fixture().native(who), &[]);
        let outcome = identity(fixture().without_shim(who), &[SHIM]);
        assert_same(&native, &outcome, &format!("through sonde-interp as {who:?}"));
    }
}

#[test]
fn ignored_and_blocked_signals_stay_so() {
    let guest = fixture().guest("identity");
    let env = [
        "/run/current-system/sw/bin/env",
        "--ignore-signal=PIPE",
        "--ignore-signal=CHLD",
        "--block-signal=USR1",
    ];
    for who in EVERYBODY {
        let native = run(fixture()
            .native(who)
            .command(env[0].replace("/run/current-system/sw", "/usr"))
            .args(&env[1..])
            .arg(&guest));
        for before in [&[][..], &[SONDE, "run"], &[SONDE, "trace"]] {
            let outcome = run(fixture().root(who).command(env[0]).args(&env[1..]).args(before).arg(&guest));
            let signals = |outcome: &Outcome| {
                let told = |line: &&str| {
                    ["handled", "blocked", "pending", "children"].iter().any(|word| line.starts_with(word))
                };
                outcome.stdout.lines().filter(told).map(str::to_owned).collect::<Vec<_>>()
            };
            // More than these, if whoever runs the tests ignores more.
            for expected in ["blocked: 10", "handled: 13", "handled: 17"] {
                assert!(signals(&native).contains(&expected.to_owned()), "{native}");
            }
            assert_eq!(signals(&native), signals(&outcome), "{before:?} as {who:?}: {outcome}");
        }
    }
}

#[test]
fn an_empty_environment_is_enough() {
    for who in EVERYBODY {
        let guest = fixture().guest("identity");
        let native = run(&mut fixture().native(who).env_clear().command(&guest));
        let outcome = run(&mut fixture().root(who).env_clear().command(&guest));
        assert_same(&native, &outcome, &format!("env -i as {who:?}"));
    }
}

#[test]
fn a_child_sees_the_environment_byte_for_byte() {
    for who in EVERYBODY {
        let spawn = fixture().guest("spawn");
        let identity = fixture().guest("identity");
        let in_root = |root: RootBuilder| run(prepared(root).command(&spawn).args(["fork", &identity, "x"]));
        let (native, outcome) = (in_root(fixture().native(who)), in_root(fixture().root(who)));
        assert!(native.stdout.contains("environment: LD_BIND_NOW=1\n"), "{native}");
        assert_same(&native, &outcome, &format!("a child, as {who:?}"));
    }
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let guest = fixture().guest("identity");
    for who in EVERYBODY {
        // The shell closes them; what is left to print to is a file.
        let both = |root: RootBuilder, before: &str| {
            let script = format!("({before}{guest} <&- 2>&- >/tmp/closed); cat /tmp/closed");
            run(root.command("/bin/sh").args(["-c", &script]))
        };
        let descriptors = |outcome: &Outcome| {
            outcome
                .stdout
                .lines()
                .filter(|line| line.starts_with("descriptor"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let native = both(fixture().native(who), "");
        assert_eq!(descriptors(&native), ["descriptor 1: /tmp/closed"], "{native}");
        for before in ["", "sonde run "] {
            let outcome = both(fixture().root(who), before);
            assert_eq!(descriptors(&native), descriptors(&outcome), "{before}: {outcome}");
        }
    }
}
