//! A trace has what the loader has loaded, all of it and nothing else. The loader's own word for it is `LD_DEBUG=files`
//! of the same run, which says `generating link map` of each.

use std::collections::BTreeMap;

use sonde_world::RootBuilder;

use super::{events, loads};
use crate::harness::{EVERYBODY, SONDE, Who, fixture, run};

/// Names of libraries by process.
type Loaded = BTreeMap<String, Vec<String>>;

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// Runs a program with both traces on; returns what the loaders and what Sonde say.
fn both(root: RootBuilder, command: &[&str]) -> (Loaded, Loaded) {
    let script = format!(
        "both=$(mktemp -d); LD_DEBUG=files LD_DEBUG_OUTPUT=$both/ld {SONDE} trace --json -o $both/trace \"$@\" >$both/out 2>&1; \
         echo status $?; cd $both; for file in ld.*; do echo \"file $file\"; cat $file; done; echo file trace; cat trace"
    );
    let mut shell = root.command("/bin/sh");
    shell.args(["-c", &script, "sh"]).args(command);
    let outcome = run(&mut shell);
    assert!(outcome.stdout.starts_with("status 0\n"), "{outcome}");
    let (debug, trace) = outcome.stdout.split_once("file trace\n").unwrap_or_else(|| panic!("{outcome}"));
    let mut traced = Loaded::new();
    let trace = events(trace);
    for process in trace.iter().filter(|event| event["event"] == "process") {
        traced.entry(process["process"].to_string()).or_default();
    }
    for load in loads(&trace).filter(|load| load["outcome"] == "loaded") {
        let process = load["process"].to_string();
        traced.entry(process).or_default().push(load["soname"].as_str().unwrap().to_owned());
    }
    let mut loaded = Loaded::new();
    for line in debug.lines().filter(|line| line.ends_with("generating link map")) {
        let (process, words) = line.trim_start().split_once(':').unwrap();
        let name = words.split("file=").nth(1).unwrap().split(" [").next().unwrap();
        loaded.entry(process.to_owned()).or_default().push(file_name(name));
    }
    loaded.retain(|process, _| traced.contains_key(process));
    for names in loaded.values_mut().chain(traced.values_mut()) {
        names.sort_unstable();
    }
    (loaded, traced)
}

/// Both say the same, of so many libraries at least.
#[track_caller]
fn assert_complete(root: RootBuilder, command: &[&str], least: usize) {
    let (loaded, traced) = both(root, command);
    let count: usize = loaded.values().map(Vec::len).sum();
    assert!(count >= least, "only {count}: {loaded:#?}");
    assert_eq!(traced, loaded, "what is traced, and what was loaded");
}

fn with_environment(name: &str, mut root: RootBuilder) -> RootBuilder {
    for (name, value) in &fixture().world.program(name).unwrap().env {
        root = root.env(name, value);
    }
    root
}

#[test]
fn a_program_with_two_hundred_libraries() {
    let program = fixture().world.program("ffmpeg").unwrap();
    for who in EVERYBODY {
        assert_complete(fixture().without_shim(who), &[&program.executable, "-version"], 150);
    }
}

#[test]
fn a_python_with_wheels_that_bring_their_own() {
    let program = fixture().world.program("opencv").unwrap();
    let import = "import cv2, numpy; print('cv2', int(cv2.norm(numpy.ones(4))))";
    let root = with_environment("opencv", fixture().without_shim(Who::Alice));
    assert_complete(root, &[&program.executable, "-B", "-c", import], 20);
}

#[test]
fn libraries_that_are_closed_and_opened_again_from_threads_and_forked_children() {
    let guest = fixture().guest("load");
    let root = fixture().without_shim(Who::Alice);
    for way in ["here", "threads", "fork"] {
        let command = [&*guest, way, "libexpat.so.1", "libpng16.so.16", "libexpat.so.1", "libxml2.so.2"];
        assert_complete(root.clone(), &command, 5);
    }
}
