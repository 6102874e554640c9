//! What a program meets when its store's source goes away while it runs: an answer, at once, and all as before when the
//! source is back.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use sonde_world::RootBuilder;
use sonde_world::serve::CacheServer;

use crate::harness::{SONDE, Who, fixture, run};

/// A program that opens what it is told to.
struct Opener {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Opener {
    fn start(root: &RootBuilder) -> Self {
        // The program is told by dlerror(3), as it would be anywhere; `sonde trace` says why.
        let mut command = root.command(SONDE);
        command.arg("trace").arg(fixture().guest("load_lines"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn open(&mut self, library: &str) -> String {
        writeln!(self.input.as_ref().unwrap(), "{library}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// What stood on its standard error.
    fn end(mut self) -> String {
        self.input = None;
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        assert!(self.child.wait().unwrap().success(), "{words}");
        words
    }
}

/// Goes through it with something that can be taken away and given back; returns what was said meanwhile.
fn goes_away_and_comes_back<S>(root: &RootBuilder, mut source: impl FnMut() -> S) -> String {
    let there = source();
    let mut program = Opener::start(root);
    assert_eq!(program.open("libexpat.so.1"), "opened");
    drop(there);
    let refused = program.open("libpng16.so.16");
    assert!(refused.contains("cannot open shared object file: No such file or directory"), "{refused}");
    // What was had stays.
    assert_eq!(program.open("libexpat.so.1"), "opened");
    let _there = source();
    assert_eq!(program.open("libsqlite3.so.0"), "opened");
    let words = program.end();
    let mut next = Opener::start(root);
    assert_eq!(next.open("libpng16.so.16"), "opened");
    assert!(!next.end().contains(" failed "));
    words
}

/// A state where nothing has been realised yet, with an index.
fn cold(who: Who, cache: &str) -> (tempfile::TempDir, RootBuilder) {
    let fixture = fixture();
    let (state, _) = fixture.cold(who);
    let root = RootBuilder::new(&fixture.world).state(state.path()).cache_url(cache).user(who == Who::Alice);
    let root = root.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim());
    let root = root.bind(fixture.guests(), "/guests");
    (state, root)
}

#[test]
fn a_nix_daemon_that_restarts_costs_what_was_asked_meanwhile() {
    let (_state, root) = cold(Who::Alice, &fixture().server.url());
    let words = goes_away_and_comes_back(&root, || root.start_daemon().unwrap());
    assert_eq!(words.matches(" nix-store: ").count(), 1, "{words}");
}

#[test]
fn a_cache_that_goes_away_costs_what_was_asked_meanwhile() {
    let folder = fixture().world.cache();
    let reserved = CacheServer::start(&folder, 0).unwrap();
    let (url, port) = (reserved.url(), reserved.url().rsplit(':').next().unwrap().parse().unwrap());
    drop(reserved);
    let (_state, root) = cold(Who::Root, &url);
    let words = goes_away_and_comes_back(&root, || CacheServer::start(&folder, port).unwrap());
    assert_eq!(words.matches(" nix-store: ").count(), 1, "{words}");
}

#[test]
fn a_collection_takes_nothing_that_a_plan_names_while_it_runs_or_later() {
    let (state, root) = cold(Who::Root, &fixture().server.url());
    let collect = || {
        let collected = run(root.command("/bin/sh").args(["-c", "nix-store --gc 2>&1"]));
        assert!(collected.succeeded(), "{collected}");
    };
    let mut program = Opener::start(&root);
    assert_eq!(program.open("libexpat.so.1"), "opened");
    collect();
    assert_eq!(program.open("libsqlite3.so.0"), "opened");
    collect();
    program.end();
    collect();
    // Nobody serves port 9: what is opened now was kept.
    let alone = RootBuilder::new(&fixture().world).state(state.path()).cache_url("http://127.0.0.1:9");
    let alone = alone.sonde(fixture().sonde()).interp(fixture().shim()).shim(fixture().shim());
    let mut program = Opener::start(&alone.bind(fixture().guests(), "/guests"));
    for library in ["libexpat.so.1", "libsqlite3.so.0"] {
        assert_eq!(program.open(library), "opened");
    }
    assert_eq!(program.open("libpng16.so.16").matches("cannot open").count(), 1);
    program.end();
}
