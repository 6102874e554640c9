//! Peers of the same user that are no shims, and programs that flood their supervisor: nobody else is the worse for it.

use std::fs;
use std::path::Path;

use sonde_world::RootBuilder;

use crate::harness::{Conversation, Who, fixture, run};
use crate::supervisors::{Supervisors, the_worker_of};

const HELLO: &str = "/opt/programs/hello/usr/bin/hello";

/// More than a supervisor lets in at once, and than it has threads for.
const CROWD: &str = "1000";

/// A shell as alice with a door of its own, and a tree that is there already.
struct Street {
    shell: Conversation,
    root: RootBuilder,
}

impl Street {
    fn new(name: &str, engine: &str, limits: &str) -> Self {
        let config = fixture().guests().join(format!("street-{name}.toml"));
        fs::write(&config, format!("[engine]\nkind = \"{engine}\"\n{limits}")).unwrap();
        let runtime = format!("/tmp/street-{name}");
        let root = fixture()
            .root(Who::Alice)
            .bind(&config, "/etc/sonde/config.toml")
            .env("XDG_RUNTIME_DIR", &runtime);
        let script = format!("rm -rf {runtime}; mkdir -m 700 {runtime}; while read c; do eval \"$c\"; done");
        let shell = Conversation::with(root.command("/bin/sh").args(["-c", &script]));
        Self { shell, root }
    }

    /// Runs something in the background, whose input ends when `end` is said; waits until it says that it is ready.
    fn background(&mut self, command: &str) -> String {
        self.shell.ask(&format!(
            "end=$XDG_RUNTIME_DIR/end; mkfifo $end; {command} <$end & background=$!; exec 9>$end; rm $end"
        ))
    }

    /// Starts a program that stays, and has it open a library.
    fn start_and_ask(&mut self, load: &str, number: usize) -> String {
        let fifo = format!("$XDG_RUNTIME_DIR/{number}");
        // bash opens it for both directions, so that nobody is waited for, and nobody sees its end.
        self.shell.ask(&format!(
            "mkfifo {fifo}; exec {{fd}}<>{fifo}; {load} asked <{fifo} {{fd}}<&- & echo libpng16.so.16 >{fifo}"
        ))
    }

    fn end_of_background(&mut self) -> String {
        self.shell.ask("exec 9>&-; wait $background; echo ended")
    }
}

/// The version of the messages, which the hostile guest speaks.
fn protocol() -> String {
    format!("-DHANDOFF_VERSION={}", sonde_interp::handoff::PROTOCOL)
}

/// Threads and descriptors of a process.
fn holds(pid: u32) -> (usize, usize) {
    let count =
        |what: &str| fs::read_dir(Path::new("/proc").join(pid.to_string()).join(what)).unwrap().count();
    (count("task"), count("fd"))
}

#[test]
fn peers_that_are_no_shims_keep_nobody_from_being_served() {
    let guest = fixture().compile("hostile", "hostile", &["-static", &protocol()]);
    let mut street = Street::new("peers", "seccomp", "");
    // A tree that is there all the while.
    let load = fixture().guest("load");
    assert!(street.start_and_ask(&load, 8).contains(": map /nix/store/"));
    assert_eq!(street.background(&format!("{guest} polite 1")).trim(), "SNDW ready", "its hello is a hello");
    assert_eq!(street.end_of_background().trim(), "ended");
    let worker = the_worker_of(street.shell.pid());
    for way in ["silent", "garbage", "half", "deaf", "gone"] {
        assert_eq!(street.background(&format!("{guest} {way} {CROWD}")).trim(), "ready", "{way}");
        for _ in 0..5 {
            assert_eq!(street.shell.ask(HELLO).trim(), "Hello, world!", "{way}");
        }
        let (threads, descriptors) = holds(worker);
        if way == "silent" {
            assert!(threads < 20 && descriptors < 250, "{threads} threads, {descriptors} descriptors");
        }
        assert!(
            street.shell.ask("echo libexpat.so.1 >$XDG_RUNTIME_DIR/8").contains(": map /nix/store/"),
            "{way}"
        );
        assert_eq!(street.end_of_background().trim(), "ended", "{way}");
    }
    assert_eq!(the_worker_of(street.shell.pid()), worker, "nobody has crashed it");
}

#[test]
fn another_user_is_not_let_in_whoever_they_are() {
    let guest = fixture().compile("hostile", "hostile", &["-static", &protocol()]);
    let mut street = Street::new("others", "seccomp", "");
    let load = fixture().guest("load");
    assert!(street.start_and_ask(&load, 1).contains(": map /nix/store/"));
    assert_eq!(street.background(&format!("{guest} polite 1")).trim(), "SNDW ready", "the user is");
    // Whom no folder keeps out: root, who can connect, and is hung up on.
    let root = street.root.clone().user(false);
    let outcome = run(root.command(&guest).args(["polite", "1"]));
    assert_eq!(outcome.stdout, "ready\n", "{outcome}");
}

#[test]
fn whoever_is_one_too_many_gets_a_supervisor_of_their_own() {
    let mut street = Street::new("quota", "seccomp", "[limits]\ntrees = 3\n");
    let load = fixture().guest("load");
    for number in 1..=6 {
        let answer = street.start_and_ask(&load, number);
        assert!(answer.contains(": map /nix/store/"), "{number}: {answer}");
        let keepers = Supervisors::beside(street.shell.pid()).keepers.len();
        assert_eq!(keepers, 1 + usize::saturating_sub(number, 3), "{number}");
    }
}

#[test]
fn a_supervisor_without_descriptors_turns_away_and_a_limit_that_is_none_is_told() {
    let load = fixture().guest("load");
    // A hard limit, so that the supervisor cannot lift it.
    let mut street = Street::new("descriptors", "seccomp", "");
    street.shell.ask("ulimit -n 60; echo");
    for number in 1..=12 {
        let answer = street.start_and_ask(&load, number);
        assert!(answer.contains(": map /nix/store/"), "{number}: {answer}");
    }
    let wrong = Street::new("wrong", "seccomp", "[limits]\ntrees = 0\n");
    let outcome = run(&mut wrong.root.env("XDG_RUNTIME_DIR", "/none").command(HELLO));
    assert!(outcome.stderr.contains("trees = 0 in [limits]"), "{outcome}");
}

#[test]
fn a_flood_of_traps_holds_up_its_own_tree_and_no_other() {
    for engine in ["seccomp", "inline"] {
        let flood = fixture().guest("flood");
        let mut street = Street::new(&format!("flood-{engine}"), engine, "");
        assert_eq!(street.shell.ask(HELLO).trim(), "Hello, world!");
        assert_eq!(street.background(&format!("{flood} 16")).trim(), "ready");
        for _ in 0..20 {
            assert_eq!(street.shell.ask(HELLO).trim(), "Hello, world!", "{engine}");
        }
        let asked = street.end_of_background();
        assert!(asked.trim().parse::<u32>().unwrap() >= 16, "{asked}");
    }
}

#[test]
fn loads_that_are_one_too_many_at_once_are_answered_all_the_same() {
    let libraries = ["libpng16.so.16", "libexpat.so.1", "libsqlite3.so.0", "libxml2.so.2"];
    for engine in ["seccomp", "inline"] {
        let street = Street::new(&format!("traps-{engine}"), engine, "[limits]\ntraps = 1\n");
        let outcome = run(street.root.command(fixture().guest("load")).arg("threads").args(libraries));
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 4, "{engine}: {outcome}");
    }
}
