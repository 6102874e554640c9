//! Programs that run with privileges that their user does not have (`AT_SECURE`): set-user-id, set-group-id, file
//! capabilities. Nothing of their user's is believed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use sonde_world::RootBuilder;

use crate::harness::{COMPILED_IN_LOADER, Outcome, SHIM, SONDE, Who, fixture, run};

/// Copies of one program, each with its own way of getting privileges.
const WAYS: [(&str, u32, &str); 3] = [
    ("setuid", 0o4755, "secure 1 uid 1000 0 gid 100 100 seccomp 0 no_new_privs 0\n"),
    ("setgid", 0o2755, "secure 1 uid 1000 1000 gid 100 0 seccomp 0 no_new_privs 0\n"),
    ("capable", 0o755, "secure 1 uid 1000 1000 gid 100 100 seccomp 0 no_new_privs 0\n"),
];

/// Builds the program with one of those ways; returns its path in the root. It finds its C library by itself.
fn program(name: &str, mode: u32) -> String {
    let system = fixture().world.system_path().unwrap();
    let name = format!("raised-{name}");
    let path = fixture().compile("raised", &name, &[&format!("-Wl,-rpath,{system}/lib")]);
    let host = fixture().guests().join(&name);
    fs::set_permissions(&host, fs::Permissions::from_mode(mode)).unwrap();
    if name.ends_with("capable") {
        let status = Command::new("setcap").arg("cap_net_raw+ep").arg(&host).status();
        assert!(status.is_ok_and(|status| status.success()), "setcap {}", host.display());
    }
    path
}

/// Alice's root with a loader where the shim has it compiled in, and everything in her environment that she could hope to
/// be believed in: whoever runs her loader or supervisor leaves a file, and whoever loads her library says so.
fn hostile(test: &str) -> RootBuilder {
    let guests = fixture().guests();
    let name = format!("trap-{test}");
    let trap = guests.join(&name);
    fs::write(&trap, format!("#!/bin/sh\n: > /tmp/believed-{test}\n")).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    fixture().library(&guests.join("libpreload.so"), "libpreload.so");
    fixture()
        .root(Who::Alice)
        .bind(fixture().system_loader(), COMPILED_IN_LOADER)
        .env("NIX_LD", format!("/guests/{name}"))
        .env("NIX_LD_x86_64_linux", format!("/guests/{name}"))
        .env("SONDE_SUPERVISOR", format!("/guests/{name}"))
        .env("SONDE_LOG", "trace")
        .env("LD_LIBRARY_PATH", "/guests")
        .env("LD_PRELOAD", "/guests/libpreload.so")
        .env("XDG_CACHE_HOME", format!("/tmp/hers-{test}"))
        .env("XDG_CONFIG_HOME", format!("/tmp/hers-{test}"))
        .env("XDG_STATE_HOME", format!("/tmp/hers-{test}"))
        .env("XDG_DATA_HOME", format!("/tmp/hers-{test}"))
        .env("XDG_RUNTIME_DIR", format!("/tmp/hers-{test}"))
}

#[track_caller]
fn assert_nothing_was_believed(test: &str, root: &RootBuilder, outcome: &Outcome) {
    assert!(!outcome.stdout.contains("believed"), "{outcome}");
    let left = run(root.command("/bin/sh").args(["-c", &format!("ls -d /tmp/*-{test}")]));
    assert_eq!(left.stdout, "", "{outcome}");
}

#[test]
fn nothing_of_its_users_is_believed() {
    let root = hostile("program");
    for (name, mode, expected) in WAYS {
        let program = program(name, mode);
        let outcome = run(&mut root.command(&program));
        assert_eq!(outcome.stdout, expected, "{outcome}");
        assert_eq!(outcome.stderr, "", "{outcome}");
        assert_nothing_was_believed("program", &root, &outcome);
    }
}

#[test]
fn the_traps_of_these_tests_are_sprung_by_an_ordinary_program() {
    let root = hostile("ordinary");
    let _ = run(&mut root.command(program("ordinary", 0o755)));
    let left = run(root.command("/bin/sh").args(["-c", "ls /tmp/*-ordinary"]));
    assert_eq!(left.stdout, "/tmp/believed-ordinary\n", "{left}");
}

#[test]
fn a_user_who_has_the_privileges_anyway_is_served() {
    let outcome =
        run(&mut fixture().with_trees(fixture().root(Who::Root)).command(program("setuid", 0o4755)));
    assert_eq!(outcome.stdout, "secure 0 uid 0 0 gid 0 0 seccomp 2 no_new_privs 0\n", "{outcome}");
}

#[test]
fn in_an_ordinary_users_tree_it_has_no_privileges() {
    let spawn = fixture().guest("spawn");
    let root =
        fixture().with_trees(fixture().root(Who::Alice)).bind(fixture().system_loader(), COMPILED_IN_LOADER);
    for (name, mode, _) in WAYS {
        let outcome = run(root.command(&spawn).args(["fork", &program(name, mode)]));
        // The kernel says AT_SECURE for file capabilities even where `no_new_privs` has taken them away.
        let secure = if name == "capable" { 1 } else { 0 };
        let expected = format!("secure {secure} uid 1000 1000 gid 100 100 seccomp 2 no_new_privs 1\n");
        assert!(outcome.stdout.starts_with(&expected), "{name}: {outcome}");
        assert_eq!(outcome.stderr, "", "{outcome}");
    }
}

#[test]
fn sonde_itself_does_not_serve_with_privileges_that_its_caller_lacks() {
    // What a careless wrapper would do: the commands of Sonde, executed by a setuid program.
    let root = hostile("wrapper");
    let wrapper = program("setuid", 0o4755);
    for words in
        [&[SONDE, "trace", "/bin/sh", "-c", ":"][..], &[SONDE, "index", "info"], &[SONDE, "supervise"]]
    {
        let outcome = run(root.command(&wrapper).args(words));
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.starts_with("sonde: this process has privileges"), "{outcome}");
        assert_nothing_was_believed("wrapper", &root, &outcome);
    }
    // What is run comes under the compiled-in loader, whatever the command line says of a supervisor.
    let system = fixture().world.system_path().unwrap();
    let inner = fixture().compile("raised", "raised-inner", &[&format!("-Wl,-rpath,{system}/lib")]);
    for words in [&[SONDE, "run", &inner][..], &[SHIM, "--supervisor", "/guests/trap-wrapper", &inner]] {
        let outcome = run(root.command(&wrapper).args(words));
        let line = "secure 1 uid 1000 0 gid 100 100 seccomp 0 no_new_privs 0\n";
        assert_eq!(outcome.stdout, line.repeat(2), "{outcome}");
        assert_eq!(outcome.stderr, "", "{outcome}");
        assert_nothing_was_believed("wrapper", &root, &outcome);
    }
}
