//! A clock that is set, by a year ahead and back, from start to start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{EVERYBODY, Engine, SONDE, Who, fixture, run};

const YEAR: i64 = 365 * 24 * 60 * 60;

/// A `sonde` whose clock is so many seconds ahead; its path in the root.
fn sonde_ahead_by(seconds: i64) -> String {
    let library = fixture().compile("clock", "libclock.so", &["-shared", "-fPIC"]);
    let name = format!("sonde-ahead-by{seconds}");
    let script = format!("#!/bin/sh\nCLOCK_OFFSET={seconds} LD_PRELOAD={library} exec {SONDE} \"$@\"\n");
    let path = fixture().guests().join(&name);
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("/guests/{name}")
}

#[test]
fn a_clock_that_is_set_costs_nobody_anything() {
    let load = fixture().guest("load");
    let clocks = [-YEAR, YEAR, 0].map(sonde_ahead_by);
    let [past, future, present] = &clocks;
    // By the age of the index one sees that it is another time for it.
    let root = fixture().root(Who::Root);
    let info = run(root.command(future).args(["index", "info"]));
    assert!(info.stdout.contains("365 days ago"), "{info}");

    for who in EVERYBODY {
        for engine in [Engine::Seccomp, Engine::Inline] {
            let (_state, root) = fixture().cold(who);
            let root = fixture().under(engine, root).env("XDG_RUNTIME_DIR", "/none");
            for sonde in [past, future, present, future, past, present] {
                // By a plan, the second time, if that is to be believed.
                for _ in 0..2 {
                    let root = root.clone().env("SONDE_SUPERVISOR", sonde);
                    let program = ["here", "libpng16.so.16", "libexpat.so.1", "libnobody.so.7"];
                    let outcome = run(root.command(&load).args(program));
                    let found = outcome.stdout.matches(": map /nix/store/").count();
                    assert_eq!(found, 2, "{engine:?} as {who:?}, {sonde}: {outcome}");
                    assert_eq!(outcome.stderr, "", "{engine:?} as {who:?}, {sonde}: {outcome}");
                }
                for command in [&["plans", "list"][..], &["plans", "gc"], &["doctor", "--json"]] {
                    let outcome = run(root.command(sonde).args(command));
                    let is_told =
                        matches!(outcome.code(), Some(0..=2)) && !outcome.stderr.contains("panicked");
                    assert!(is_told, "{engine:?} as {who:?}, {sonde} {command:?}: {outcome}");
                }
            }
        }
    }
}
