//! `sonde trace --pid`: a program that runs already is watched from then on, and does not notice.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sonde_world::RootBuilder;

use super::schema::assert_valid;
use super::{load_of, loads};
use crate::harness::{Conversation, EVERY_ENGINE, EVERYBODY, Engine, SONDE, Who, fixture, run};

/// A watcher, and what it has told so far.
struct Watch {
    child: Child,
    lines: BufReader<ChildStderr>,
    events: Vec<Value>,
}

impl Watch {
    /// Watches a process; returns when what it has loaded before is told.
    fn of(root: &RootBuilder, process: u32, options: &[&str]) -> Self {
        let mut command = root.command(SONDE);
        command.args(["trace", "--json", "--pid", &process.to_string()]).args(options);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let mut watch = Self { child, lines, events: Vec::new() };
        watch.until(|event| event["event"] == "process");
        watch
    }

    /// Reads on to an event.
    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> &Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the trace has ended: {:#?}", self.events);
            let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            self.events.push(event);
            if is_it(self.events.last().unwrap()) {
                return self.events.last().unwrap();
            }
        }
    }

    fn until_load(&mut self, soname: &str) -> &Value {
        self.until(|event| event["event"] == "load" && event["soname"] == soname)
    }

    /// What became of it, and all that it has told.
    fn end(mut self) -> (Option<i32>, Vec<Value>) {
        self.until(|event| event["event"] == "end");
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.events))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn asked(root: &RootBuilder) -> Conversation {
    Conversation::with(root.command(fixture().guest("load")).arg("asked"))
}

#[test]
fn what_was_there_is_told_first_and_then_what_is_loaded() {
    for who in EVERYBODY {
        let root = fixture().under(Engine::Seccomp, fixture().root(who));
        let mut guest = asked(&root);
        guest.ask("libexpat.so.1");
        let mut watch = Watch::of(&root, guest.pid(), &[]);
        assert_eq!(watch.until_load("libc.so.6")["how"], "before");
        assert_eq!(watch.until_load("libexpat.so.1")["how"], "before");
        assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
        assert!(guest.ask("libnobody-watched.so.7").contains("cannot open shared object file"));
        assert_eq!(watch.until_load("libnobody-watched.so.7")["outcome"], "absent");
        drop(guest);
        let (code, events) = watch.end();
        assert_eq!(code, Some(0), "{events:#?}");
        assert_valid(&events);
        let begin = &events[0];
        assert!(begin["process"].is_u64() && begin["program"] == "/guests/load", "{begin}");
        assert_eq!(begin["arguments"][0], "asked");
        let png = load_of(&events, "libpng16.so.16");
        assert_eq!((&png["how"], &png["needed_by"]), (&"served-cache".into(), &"/guests/load".into()));
        let zlib = load_of(&events, "libz.so.1");
        assert_eq!((&zlib["why"], &zlib["needed_by"]), (&"needed".into(), &png["path"]), "{zlib:#}");
        assert_eq!(loads(&events).filter(|load| load["soname"] == "libc.so.6").count(), 1, "{events:#?}");
        assert_eq!(events.last().unwrap()["absent"], 1);
    }
}

#[test]
fn a_watcher_that_is_told_to_stop_or_killed_leaves_the_program_alone() {
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Alice));
    let mut guest = asked(&root);
    guest.ask("libexpat.so.1");
    for signal in ["-INT", "-TERM"] {
        let watch = Watch::of(&root, guest.pid(), &[]);
        watch.signal(signal);
        let (code, events) = watch.end();
        assert_eq!(code, Some(0), "{events:#?}");
        assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
    }
    let watch = Watch::of(&root, guest.pid(), &[]);
    let second = run(root.command(SONDE).args(["trace", "--pid", &guest.pid().to_string()]));
    assert!(second.code() == Some(1) && second.stderr.contains("somebody watches"), "{second}");
    watch.signal("-KILL");
    assert!(guest.ask("libnobody-killed.so.7").contains("cannot open shared object file"));
    // Another one may come.
    let mut watch = Watch::of(&root, guest.pid(), &[]);
    assert!(guest.ask("libsqlite3.so.0").contains(": map /nix/store/"));
    watch.until_load("libsqlite3.so.0");
}

#[test]
fn a_program_does_not_wait_for_a_watcher_that_has_stopped_and_what_is_lost_is_counted() {
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Alice));
    let mut guest = asked(&root);
    guest.ask("libexpat.so.1");
    let watch = Watch::of(&root, guest.pid(), &[]);
    watch.signal("-STOP");
    for count in 0..1500 {
        let answer = guest.ask(&format!("libnobody-waits-{count}.so.1"));
        assert!(answer.contains("cannot open shared object file"), "{answer}");
    }
    watch.signal("-CONT");
    drop(guest);
    let (code, events) = watch.end();
    assert_eq!(code, Some(0));
    assert_valid(&events);
    let lost: u64 = events.iter().filter_map(|event| event["events"].as_u64()).sum();
    assert!(lost > 0 && loads(&events).any(|load| load["outcome"] == "absent"), "{lost} lost");
}

#[test]
fn trees_of_every_engine_and_of_supervisors_of_their_own_can_be_watched() {
    for engine in EVERY_ENGINE {
        let root = fixture().under(engine, fixture().root(Who::Alice));
        // Another name each time: what is known to be absent is not asked about again.
        let name = format!("libnobody-{}.so.1", engine.short());
        let folder = tempfile::tempdir_in(fixture().guests()).unwrap();
        let guest = folder.path().join("load");
        std::fs::copy(fixture().guests().join(&fixture().guest("load")["/guests/".len()..]), &guest).unwrap();
        let inside = format!("/guests/{}/load", folder.path().file_name().unwrap().to_str().unwrap());
        let mut guest = Conversation::with(root.command(&inside).arg("asked"));
        guest.ask("libexpat.so.1");
        let mut watch = Watch::of(&root, guest.pid(), &[]);
        guest.ask(&name);
        assert_eq!(watch.until_load(&name)["outcome"], "absent", "{engine:?}");
        assert!(watch.events.iter().any(|event| {
            event["engine"].as_str().is_some_and(|words| words.starts_with(&engine.short()[..6]))
        }));
    }
    let root = fixture().under(Engine::Seccomp, fixture().without_shim(Who::Alice));
    let root = root.env("XDG_RUNTIME_DIR", "/nowhere");
    let mut line = root.command(SONDE);
    line.args(["run", "--audit", &fixture().guest("load"), "asked"]);
    let mut guest = Conversation::with(&mut line);
    guest.ask("libexpat.so.1");
    let mut watch = Watch::of(&root, guest.pid(), &[]);
    guest.ask("libnobody-private.so.1");
    watch.until_load("libnobody-private.so.1");
}

#[test]
fn what_cannot_be_watched_is_told_why() {
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Alice));
    let refused = |root: &RootBuilder, process: &str, more: &[&str]| {
        let outcome = run(root.command(SONDE).args(["trace", "--pid", process]).args(more));
        assert!(!outcome.succeeded() && outcome.stdout.is_empty(), "{outcome}");
        outcome.stderr
    };
    assert!(refused(&root, "4194305", &[]).contains("there is no process 4194305"));
    let own = std::process::id().to_string();
    let said = refused(&root, &own, &[]);
    assert!(said.contains(&format!("process {own} is root's")) && said.contains("as root"), "{said}");
    for program in [&["true"][..], &["--offline"], &["--policy", "/x"]] {
        assert!(refused(&root, &own, program).contains("cannot be used with"), "{program:?}");
    }

    let mut unsupervised = Command::new("sleep").arg("100").spawn().unwrap();
    let as_root = fixture().root(Who::Root);
    let said = refused(&as_root, &unsupervised.id().to_string(), &[]);
    assert!(said.contains("is not supervised") && said.contains("sonde trace"), "{said}");
    unsupervised.kill().unwrap();
    unsupervised.wait().unwrap();

    let guest = fixture().guest("load");
    let mut traced = Conversation::with(root.command(SONDE).args([
        "trace",
        "-o",
        "/tmp/watched",
        "sh",
        "-c",
        "echo $$; exec \"$@\"",
        "sh",
        &guest,
        "asked",
    ]));
    let number = traced.hear();
    traced.ask("libexpat.so.1");
    let said = refused(&root, number.trim(), &[]);
    assert!(said.contains("is traced already, by `sonde trace` (process "), "{said}");
}

#[test]
fn a_start_by_plan_has_nobody_who_could_be_asked() {
    let root = fixture().under(Engine::Inline, fixture().root(Who::Alice));
    let guest = fixture().compile("load", "load_by_plan", &["-pthread", "-ldl"]);
    // The plan is written beside the program, or after it.
    let alone = root.clone().env("SONDE_SUPERVISOR", "/no/supervisor");
    let started = Instant::now();
    run(root.command(&guest).args(["here", "libexpat.so.1"]));
    while !run(alone.command(&guest).args(["here", "libexpat.so.1"])).succeeded() {
        assert!(started.elapsed() < Duration::from_secs(60), "there is no plan");
    }
    let mut warm = Conversation::with(alone.command(&guest).arg("asked"));
    warm.ask("libexpat.so.1");
    let outcome = run(root.command(SONDE).args(["trace", "--pid", &warm.pid().to_string()]));
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(outcome.stderr.contains("was started by its plan"), "{outcome}");
    assert!(outcome.stderr.contains(&format!("sonde plans show {guest}")), "{outcome}");
}
