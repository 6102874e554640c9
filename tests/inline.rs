//! The engine inline takes nothing away: privileges, filters, debuggers (`engines`, `trees` and `loading` have what holds
//! for every engine). Where it would have to, it stands back.

use std::time::{Duration, Instant};

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Engine, Outcome, Who, fixture, run};

const EXPAT: &str = "libexpat.so.1";
const PNG: &str = "libpng16.so.16";

fn inline(root: RootBuilder) -> RootBuilder {
    fixture().under(Engine::Inline, root)
}

/// Opens expat, installs a filter, opens libpng and a library of its own, which is there.
fn filtered(before: &[&str], way: &str) -> Outcome {
    let own = fixture().guests().join("libinline.so.1");
    fixture().library(&own, "libinline.so.1");
    let (_state, root) = fixture().cold(Who::Alice);
    let guest = fixture().guest("filters");
    let words: Vec<&str> = before.iter().copied().chain([guest.as_str(), way, EXPAT, PNG]).collect();
    run(inline(root).command(words[0]).args(&words[1..]).arg("/guests/libinline.so.1"))
}

#[test]
fn a_program_may_have_a_listener_of_its_own() {
    let outcome = filtered(&[], "listener");
    assert!(outcome.stdout.starts_with("libexpat.so.1: opened\nfilter: installed\n"), "{outcome}");
    assert!(outcome.stdout.ends_with("/guests/libinline.so.1: opened\n"), "{outcome}");
    assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{outcome}");
}

#[test]
fn a_filter_that_kills_for_a_question_is_never_asked() {
    let outcome = filtered(&[], "sockets");
    assert!(outcome.stdout.starts_with("libexpat.so.1: opened\nfilter: installed\n"), "{outcome}");
    assert!(outcome.stdout.contains("libpng16.so.16: cannot open shared object file: "), "{outcome}");
    assert!(outcome.stdout.ends_with("/guests/libinline.so.1: opened\n"), "{outcome}");
    assert!(outcome.succeeded(), "{outcome}");
}

#[test]
fn where_nothing_may_become_executable_another_engine_is_taken() {
    let wrapper = fixture().compile("deny_exec_gain", "deny_exec_gain", &["-static"]);
    let outcome = filtered(&[&wrapper], "listener");
    if outcome.code() == Some(77) {
        return eprintln!("SKIPPED 1 check: this kernel (before 6.3) has no PR_SET_MDWE");
    }
    // There is a listener already, which is ours.
    let expected = "libexpat.so.1: opened\nfilter: Device or resource busy\nlibpng16.so.16: opened\n\
                    /guests/libinline.so.1: opened\n";
    assert_eq!(outcome.stdout, expected, "{outcome}");
}

#[test]
fn under_a_filter_that_was_there_before_it_is_served() {
    let guest = fixture().compile("own_listener", "own_listener", &["-static"]);
    let load = fixture().guest("load");
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let outcome = run(inline(root).command(&guest).args([&load, "here", EXPAT, PNG]));
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 2, "{who:?}: {outcome}");
        assert_eq!(outcome.stderr, "", "{who:?}: {outcome}");
    }
}

#[test]
fn an_empty_environment_is_enough_to_ask() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let outcome =
            run(inline(root).env_clear().command(fixture().guest("load")).args(["fork", EXPAT, PNG]));
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 2, "{who:?}: {outcome}");
    }
}

/// Opens a library in a thread with a stack of this size.
fn opens_on(root: &RootBuilder, bytes: usize) -> bool {
    let guest = fixture().guest("small_stack");
    let outcome = run(root.command(guest).args([&bytes.to_string(), EXPAT]));
    outcome.stdout == "opened\n"
}

#[test]
fn a_thread_needs_at_most_a_page_more_of_its_stack() {
    const PAGE: usize = 4096;
    let (native, root) = (fixture().native(Who::Alice), inline(fixture().root(Who::Alice)));
    // The least that pthread_attr_setstack(3) takes, and no more than the default.
    let least = (4..2048).map(|pages| pages * PAGE).find(|bytes| opens_on(&native, *bytes));
    let least = least.unwrap_or_else(|| panic!("not even natively"));
    // Stacks come in whole pages.
    assert!(opens_on(&root, least + PAGE), "{least} bytes are enough natively");
}

#[test]
fn from_its_second_start_on_a_program_needs_nobody() {
    const CURL: &str = "/opt/programs/curl/usr/bin/curl";
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let root = inline(root);
        let start = |root: &RootBuilder| run(root.command(CURL).arg("--version"));
        assert!(start(&root).stdout.starts_with("curl 7."));
        // The plan is written beside the program, or after it.
        let started = Instant::now();
        let alone = root.clone().env("SONDE_SUPERVISOR", "/no/supervisor");
        let outcome = loop {
            let outcome = start(&alone);
            if outcome.succeeded() || started.elapsed() > Duration::from_secs(60) {
                break outcome;
            }
        };
        assert!(outcome.stdout.starts_with("curl 7.") && outcome.stderr.is_empty(), "{who:?}: {outcome}");

        // What decides has changed, so somebody is asked again.
        let touched = run(root.command("/bin/sh").args(["-c", "touch ~/.cache/sonde/index"]));
        assert!(touched.succeeded(), "{touched}");
        let outcome = start(&alone);
        assert!(outcome.stderr.contains("no supervisor at /no/supervisor"), "{who:?}: {outcome}");
        assert!(start(&root).stdout.starts_with("curl 7."));
    }
}

#[test]
fn no_descriptor_is_left_open() {
    let python = fixture().world.program("python3").unwrap();
    let script = "import os, ctypes
def opened(): return sorted(os.listdir('/proc/self/fd'))
before = opened()
for name in ('libpng16.so.16', '/usr/lib/libexpat.so.1', 'libnobody-has-this.so.1'):
    try: ctypes.CDLL(name)
    except OSError as error: print(error)
assert before == opened(), (before, opened())";
    let mut root = inline(fixture().root(Who::Alice));
    for (name, value) in &python.env {
        root = root.env(name, value);
    }
    let outcome = run(root.command(&python.executable).args(["-c", script]));
    let line = "libnobody-has-this.so.1: cannot open shared object file: No such file or directory\n";
    assert_eq!(outcome.stdout, line, "{outcome}");
    assert!(outcome.succeeded(), "{outcome}");
}

#[test]
fn an_open_changes_no_more_than_a_system_call_does() {
    let guest = fixture().guest("registers");
    let root = inline(fixture().root(Who::Alice));
    for (path, said) in [
        ("/usr/lib/libexpat.so.1", "opened\n"),
        ("/usr/lib/libnobody-has-this.so.1", "not opened\n"),
        ("/etc/nothing-is-here", "not opened\n"),
        ("/etc/passwd", "opened\n"),
    ] {
        let outcome = run(root.command(&guest).arg(path));
        assert_eq!(outcome.stdout, said, "{path}: {outcome}");
    }
}

#[test]
fn a_child_that_shares_its_parents_memory_may_ask() {
    for who in EVERYBODY {
        let outcome =
            run(inline(fixture().root(who)).command(fixture().guest("load")).args(["vfork", EXPAT, PNG]));
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 2, "{who:?}: {outcome}");
        assert!(outcome.succeeded(), "{who:?}: {outcome}");
    }
}
