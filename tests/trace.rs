//! `sonde trace`: the program runs as it would, and each library that it loads is told, with who wanted it and why it is
//! this one.

mod browser;
mod callers;
mod complete;
mod page;
mod refused;
mod schema;
mod watch;

use std::fs;
use std::process::Command;

use serde_json::Value;
use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

/// The events of a trace in a file that the run has left in `/home`.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Traces a command line; the outcome, and what the trace says.
fn traced(root: &RootBuilder, arguments: &[&str]) -> (Outcome, Vec<Value>) {
    let mut command = root.command(SONDE);
    command.args(["trace", "--json"]).args(arguments);
    let outcome = run(&mut command);
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with('{')).collect();
    let events = events(&lines.join("\n"));
    (outcome, events)
}

fn loads(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|event| event["event"] == "load")
}

#[track_caller]
fn load_of<'e>(events: &'e [Value], soname: &str) -> &'e Value {
    loads(events)
        .find(|load| load["soname"] == soname)
        .unwrap_or_else(|| panic!("no {soname} in {events:#?}"))
}

#[test]
fn a_line_says_who_needs_a_library_how_it_was_found_and_where_it_comes_from() {
    for who in EVERYBODY {
        let root = fixture().without_shim(who);
        let outcome = run(root.command(SONDE).args(["trace", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{outcome}");
        let line = |name: &str| {
            let words = outcome.stderr.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let line = words.into_iter().find(|words| words.get(3) == Some(&name));
            line.unwrap_or_else(|| panic!("no {name}: {outcome}"))
        };
        assert_eq!(line("libcurl.so.4")[4..8], ["curl", "served", "cache", "curl.out"], "{outcome}");
        let nghttp2 = line("libnghttp2.so.14");
        assert_eq!(
            nghttp2[4..9],
            ["libcurl.so.4", "RUNPATH", "of", "libcurl.so.4", "nghttp2.lib"],
            "{outcome}"
        );
        assert!(nghttp2.last().unwrap().starts_with("/nix/store/"), "{outcome}");
        let last = outcome.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(" libraries: ") && last.contains(" from packages"), "{outcome}");
    }
}

/// What a path of the world's cache is to download.
fn size_in_cache(path: &str) -> u64 {
    let hash = path.strip_prefix("/nix/store/").and_then(|name| name.split('-').next()).unwrap();
    let narinfo = fs::read_to_string(fixture().world.cache().join(format!("{hash}.narinfo"))).unwrap();
    let size = narinfo.lines().find_map(|line| line.strip_prefix("FileSize: "));
    size.and_then(|size| size.parse().ok()).unwrap_or_else(|| panic!("no size: {narinfo}"))
}

#[test]
fn what_was_downloaded_is_told_by_path_and_in_all() {
    for who in EVERYBODY {
        let nix = fixture().cold(who);
        let embedded = fixture().embedded(who, &fixture().server.url());
        for (_state, root) in [nix, embedded] {
            let (_, events) = traced(&root, &[CURL, "--version"]);
            let fetches: Vec<&Value> = events.iter().filter(|event| event["event"] == "fetch").collect();
            let mut whole = 0;
            for fetch in &fetches {
                let bytes = size_in_cache(fetch["store_path"].as_str().unwrap());
                assert_eq!(fetch["bytes"], bytes, "{fetch}");
                whole += bytes;
            }
            assert!(fetches.len() > 20, "{who:?}: {fetches:#?}");
            assert_eq!(events.last().unwrap()["fetched_bytes"], whole, "{who:?}");
            let libcurl = load_of(&events, "libcurl.so.4");
            let path = libcurl["package"]["store_path"].as_str().unwrap();
            assert_eq!(libcurl["fetched_bytes"], size_in_cache(path), "{libcurl:#}");
        }
    }
}

#[test]
fn what_had_to_be_fetched_and_what_is_not_there_are_told_apart() {
    let (_state, root) = fixture().cold(Who::Alice);
    let guest = fixture().guest("load");
    let (_, events) = traced(&root, &[&guest, "here", "libexpat.so.1", "libexpat.so.1"]);
    let expat: Vec<&Value> = loads(&events).filter(|load| load["soname"] == "libexpat.so.1").collect();
    assert_eq!(expat.len(), 1, "{events:#?}");
    assert_eq!((&expat[0]["why"], &expat[0]["how"]), (&"dlopen".into(), &"served-cache".into()), "{expat:?}");
    assert_eq!(expat[0]["realised"], true, "{expat:?}");
    assert_eq!(expat[0]["package"]["attribute"], "expat", "{expat:?}");

    let needy = fixture().guest_that_needs("libtraced-absent.so.3");
    let (outcome, events) = traced(&root, &[&needy, "exit", "0"]);
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    let absent = load_of(&events, "libtraced-absent.so.3");
    assert_eq!((&absent["outcome"], &absent["path"]), (&"absent".into(), &Value::Null), "{absent}");
    assert!(absent["reason"].as_str().unwrap().contains("in no package of the index"), "{absent}");
    let end = events.last().unwrap();
    assert_eq!(
        (&end["event"], &end["status"], &end["absent"]),
        (&"end".into(), &127.into(), &1.into()),
        "{end}"
    );
}

#[test]
fn a_name_that_is_asked_for_at_run_time_and_that_nobody_has_is_told_once() {
    let guest = fixture().guest("load");
    let root = fixture().without_shim(Who::Alice);
    let (outcome, events) = traced(&root, &[&guest, "here", "libnobody-has-me.so.7", "libexpat.so.1"]);
    let absent: Vec<&Value> = loads(&events).filter(|load| load["outcome"] == "absent").collect();
    assert_eq!(absent.len(), 1, "{outcome}");
    assert_eq!(absent[0]["soname"], "libnobody-has-me.so.7");
    assert!(!absent[0]["tried"].as_array().unwrap().is_empty(), "{outcome}");
}

#[test]
fn only_what_is_asked_for_is_shown() {
    let guest = fixture().guest("load");
    let root = fixture().without_shim(Who::Alice);
    let of = |options: &[&str]| {
        let line = [options, &[&*guest, "here", "libnobody-has-me.so.7", "libexpat.so.1"]].concat();
        let (_, events) = traced(&root, &line);
        loads(&events).map(|load| load["soname"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(&["--failed"]), ["libnobody-has-me.so.7"]);
    let provided = of(&["--only-provided"]);
    assert!(
        provided.contains(&"libexpat.so.1".into()) && !provided.contains(&"libnobody-has-me.so.7".into())
    );
    assert!(of(&["--process", "nobody"]).is_empty());
    assert!(of(&["--process", "load"]).contains(&"libexpat.so.1".into()));
}

#[test]
fn children_are_shown_unless_they_are_not_to_be() {
    let guest = fixture().guest("load");
    let root = fixture().root(Who::Alice);
    let script = format!("{guest} here libexpat.so.1; {guest} here libpng16.so.16; true");
    let programs = |options: &[&str]| {
        let (_, events) = traced(&root, &[options, &["/bin/sh", "-c", &script]].concat());
        let programs = events.iter().filter(|event| event["event"] == "process");
        let programs = programs.filter(|event| event["program"] == guest.as_str()).count();
        let mut processes: Vec<u64> = loads(&events).map(|load| load["process"].as_u64().unwrap()).collect();
        processes.dedup();
        (programs, processes.len())
    };
    assert_eq!(programs(&[]), (2, 3));
    assert_eq!(programs(&["--no-follow"]), (0, 1));
}

#[test]
fn a_trace_in_a_file_leaves_standard_error_to_the_program() {
    let root = fixture().without_shim(Who::Alice);
    let guest = fixture().guest("load");
    let script = format!(
        "{SONDE} trace -o /tmp/trace.txt {guest} here libexpat.so.1 2>/tmp/stderr; cat /tmp/trace.txt; test ! -s /tmp/stderr"
    );
    let outcome = run(root.command("sh").args(["-c", &script]));
    assert!(outcome.succeeded() && outcome.stdout.contains("libexpat.so.1"), "{outcome}");
    let nowhere = run(root.command(SONDE).args(["trace", "-o", "/no/such/folder/trace", &guest]));
    assert_eq!(nowhere.code(), Some(1), "{nowhere}");
    assert!(nowhere.stderr.contains("/no/such/folder/trace"), "{nowhere}");
}

#[test]
fn standard_input_reaches_the_program() {
    let root = fixture().without_shim(Who::Alice);
    let mut command: Command = root.command(SONDE);
    command.args(["trace", "/opt/programs/sqlite3/usr/bin/sqlite3", ":memory:"]);
    let outcome = crate::harness::output::run_with(&mut command, "select 6*7;\n");
    assert_eq!(outcome.stdout, "42\n", "{outcome}");
}

#[test]
fn what_cannot_be_traced_runs_all_the_same() {
    let guest = fixture().compile("end", "static_end", &["-static"]);
    let root = fixture().without_shim(Who::Alice);
    let outcome = run(root.command(SONDE).args(["trace", &guest, "exit", "9"]));
    assert_eq!(outcome.code(), Some(9), "{outcome}");
    assert!(outcome.stderr.contains("nothing to trace"), "{outcome}");
}

#[test]
fn a_name_that_is_no_text_is_told_with_marks() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"no\xfftext");
    std::fs::copy(
        fixture().guests().join(&fixture().guest("end")["/guests/".len()..]),
        fixture().guests().join(name),
    )
    .unwrap();
    let root = fixture().without_shim(Who::Alice);
    let mut command = root.command(SONDE);
    command.args(["trace", "--json"]).arg(std::path::Path::new("/guests").join(name)).args(["exit", "3"]);
    let outcome = run(&mut command);
    assert_eq!(outcome.code(), Some(3), "{outcome}");
    let events = events(&outcome.stderr);
    schema::assert_valid(&events);
    let process = events.iter().find(|event| event["event"] == "process").unwrap();
    assert_eq!(process["program"], "/guests/no\u{fffd}text");
    assert!(process["parent"].as_u64().unwrap() > 0, "{process}");
    assert_eq!(load_of(&events, "libc.so.6")["needed_by"], process["program"]);
}
