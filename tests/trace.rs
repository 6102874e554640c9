//! `sonde trace`: the program runs as it would, and a table follows.

use crate::harness::{EVERYBODY, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

#[test]
fn the_table_has_a_line_for_every_library_that_was_loaded() {
    for who in EVERYBODY {
        let root = fixture().without_shim(who);
        let outcome = run(root.command(SONDE).args(["trace", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{outcome}");

        // The loader's own word for what it opened.
        let debug = run(fixture().root(who).env("LD_DEBUG", "files").command(CURL).arg("--version"));
        let mut opened: Vec<&str> = debug
            .stderr
            .lines()
            .filter_map(|line| line.split("calling init: /nix/store/").nth(1))
            .filter_map(|path| path.rsplit('/').next())
            .filter(|name| !name.starts_with("ld-linux"))
            .collect();
        opened.sort_unstable();
        let mut traced: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("/nix/store/"))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        traced.sort_unstable();
        assert!(opened.len() > 20, "{debug}");
        assert_eq!(traced, opened, "{outcome}");
    }
}

#[test]
fn the_table_says_who_needs_a_library_and_how_it_was_found() {
    let root = fixture().without_shim(Who::Alice);
    let outcome = run(root.command(SONDE).args(["trace", CURL, "--version"]));
    let line = |name: &str| {
        let line = outcome.stderr.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {outcome}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("libcurl.so.4")[1..5], ["curl", "curl.out", "served", "cache"]);
    assert_eq!(line("libnghttp2.so.14")[1..4], ["libcurl.so.4", "nghttp2.lib", "RUNPATH"]);
    assert!(outcome.stderr.ends_with("libraries provided\n"), "{outcome}");
}

#[test]
fn a_library_that_had_to_be_fetched_and_one_that_is_not_there_are_told_apart() {
    let (_state, root) = fixture().cold(Who::Alice);
    let guest = fixture().guest("load");
    let outcome = run(root.command(SONDE).args(["trace", &guest, "here", "libexpat.so.1", "libexpat.so.1"]));
    let line = outcome.stderr.lines().find(|line| line.starts_with("libexpat.so.1"));
    let line = line.unwrap_or_else(|| panic!("no line for libexpat: {outcome}"));
    assert!(line.contains("(dlopen)") && line.contains("expat.") && line.contains("realised"), "{outcome}");

    let needy = fixture().guest_that_needs("libtraced-absent.so.3");
    let outcome = run(root.command(SONDE).args(["trace", &needy, "exit", "0"]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("1 not\n") && outcome.stderr.contains(" absent "), "{outcome}");
}

#[test]
fn standard_input_reaches_the_program() {
    let root = fixture().without_shim(Who::Alice);
    let mut command = root.command(SONDE);
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
