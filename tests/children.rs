//! Processes that a program starts: they run, supervised or not, and nobody meets a child it did not make.

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, Who, fixture, run};

const WAYS: [&str; 3] = ["fork", "vfork", "posix_spawn"];

#[test]
fn foreign_children_run() {
    for who in EVERYBODY {
        for way in WAYS {
            let program = [fixture().guest("spawn"), way.into(), "/opt/programs/hello/usr/bin/hello".into()];
            let outcome = run(fixture().root(who).command(&program[0]).args(&program[1..]));
            let expected = "Hello, world!\nchild ended: exit 0 signal 0\nothers: -1 No child processes\n";
            assert_eq!(outcome.stdout, expected, "{way} as {who:?}: {outcome}");
        }
    }
}

#[test]
fn children_built_by_nix_run() {
    for way in WAYS {
        let guest = fixture().guest("spawn");
        let outcome = run(fixture().root(Who::Alice).command(guest).args([way, "/bin/sh", "-c", "exit 7"]));
        assert_eq!(
            outcome.stdout, "child ended: exit 7 signal 0\nothers: -1 No child processes\n",
            "{outcome}"
        );
    }
}

#[test]
fn a_child_that_does_not_exist_is_reported_as_natively() {
    for way in WAYS {
        let guest = fixture().guest("spawn");
        let args = [way, "/no/such/program"];
        let native = run(fixture().native(Who::Alice).command(&guest).args(args));
        let outcome = run(fixture().root(Who::Alice).command(&guest).args(args));
        assert_eq!(native.stdout, outcome.stdout, "{way}");
    }
}

#[test]
fn a_foreign_child_may_need_libraries_of_its_own() {
    let (_state, root) = fixture().cold(Who::Alice);
    let program = [fixture().guest("spawn"), "vfork".into(), fixture().guest("load"), "here".into()];
    let outcome = run(root.command(&program[0]).args(&program[1..]).arg("libexpat.so.1"));
    assert!(outcome.stdout.contains("libexpat.so.1: map /nix/store/"), "{outcome}");
    assert!(outcome.stdout.contains("child ended: exit 0 signal 0\n"), "{outcome}");
}

#[test]
fn generations_of_foreign_children_run() {
    let spawn = fixture().guest("spawn");
    let mut words = Vec::new();
    for _ in 0..8 {
        words.extend([spawn.clone(), "fork".to_owned()]);
    }
    words.extend([fixture().guest("end"), "exit".into(), "5".into()]);
    let outcome = run(fixture().root(Who::Alice).command(&words[0]).args(&words[1..]));
    assert!(outcome.stdout.starts_with("child ended: exit 5 signal 0\n"), "{outcome}");
    assert_eq!(outcome.stdout.matches("child ended: exit 0").count(), 7, "{outcome}");
}

/// Debian's own tools, as foreign programs.
fn with_tools(root: RootBuilder) -> RootBuilder {
    root.bind(fixture().world.fhs().join("usr/bin"), "/debian")
}

#[track_caller]
fn assert_expat_from_the_store(outcome: &Outcome) {
    assert!(outcome.stdout.starts_with("libexpat.so.1: map /nix/store/"), "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn a_child_without_an_environment_is_served() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let load = fixture().guest("load");
        let words = ["-i", &load, "here", "libexpat.so.1"];
        assert_expat_from_the_store(&run(with_tools(root).command("/debian/env").args(words)));
        // So is a whole tree that begins without one.
        let root = fixture().root(who).env_clear();
        assert_expat_from_the_store(&run(root.command(&load).args(&words[2..])));
    }
}

#[test]
fn a_child_of_another_user_is_served() {
    let (_state, root) = fixture().cold(Who::Root);
    let words = ["--userspec=1000:100", "/", &fixture().guest("load"), "here", "libexpat.so.1"];
    let root = fixture().with_trees(root).bind(fixture().world.fhs().join("usr/sbin/chroot"), "/chroot");
    assert_expat_from_the_store(&run(root.command("/chroot").args(words)));
}

#[test]
fn a_child_in_another_session_that_outlives_its_parent_is_served() {
    for who in EVERYBODY {
        for way in ["daemon", "outlive"] {
            // Not a cold root: Alice's Nix daemon would end with the program.
            let outcome =
                run(fixture().root(who).command(fixture().guest("load")).args([way, "libexpat.so.1"]));
            assert!(outcome.succeeded(), "{who:?} {way}: {outcome}");
            assert_expat_from_the_store(&outcome);
        }
    }
}

#[test]
fn children_that_find_the_supervisor_busy_wait_for_it() {
    // More than there are workers, and none of their libraries is there yet.
    let script = "for i in 1 2 3 4 5 6 7 8; do for l in libexpat.so.1 libpng16.so.16 libsqlite3.so.0 libxml2.so.2; do \
                  /guests/load here $l & done; done; wait";
    let _ = fixture().guest("load");
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let outcome = run(with_tools(root).command("/debian/bash").args(["-c", script]));
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 32, "{outcome}");
        assert_eq!(outcome.stderr, "", "{outcome}");
    }
}
