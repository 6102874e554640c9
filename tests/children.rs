//! Processes that a program starts: they run, supervised or not, and nobody meets a child it did not make.

use crate::harness::{EVERYBODY, Who, fixture, run};

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
