//! Which engine is taken, and why; and that what holds under one holds under the others.

use crate::harness::{EVERY_ENGINE, EVERYBODY, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const LIBRARIES: [&str; 4] = ["libpng16.so.16", "libsqlite3.so.0", "libexpat.so.1", "libxml2.so.2"];

#[test]
fn trace_says_which_engine_runs() {
    for engine in EVERY_ENGINE {
        let root = fixture().under(engine, fixture().without_shim(Who::Alice));
        let outcome = run(root.command(SONDE).args(["trace", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{engine:?}: {outcome}");
        assert!(
            outcome.stderr.starts_with(&format!("{}asked for\n", engine.name())),
            "{engine:?}: {outcome}"
        );
    }
}

#[test]
fn libraries_are_provided_whatever_the_engine() {
    for engine in EVERY_ENGINE {
        for who in EVERYBODY {
            let (_state, root) = fixture().cold(who);
            let root = fixture().under(engine, root);
            let usual = "/usr/lib/x86_64-linux-gnu/libgmp.so.10";
            for (way, count) in [("here", 5), ("fork", 5), ("threads", 25), ("alarms", 5)] {
                let all: Vec<&str> = LIBRARIES.iter().copied().chain([usual]).cycle().take(count).collect();
                let outcome = run(root.command(fixture().guest("load")).arg(way).args(&all));
                assert!(outcome.succeeded(), "{way} under {engine:?} as {who:?}: {outcome}");
                let found = outcome.stdout.matches(": map /nix/store/").count();
                let redirected = outcome.stdout.matches(&format!("{usual}: map {usual} ")).count();
                assert_eq!(found + redirected, count, "{way} under {engine:?} as {who:?}: {outcome}");
            }
        }
    }
}
