//! Programs that use seccomp themselves. Of several filters the kernel takes the strictest action (seccomp(2)), so that
//! what the program forbids or traps itself is never seen by Sonde, and what it allows is served as before.

use crate::harness::{EVERYBODY, Outcome, Who, fixture, run};

const EXPAT: &str = "libexpat.so.1";
const PNG: &str = "libpng16.so.16";

/// Opens expat, installs the filter, opens libpng and a library of its own.
fn filtered(who: Who, way: &str) -> Outcome {
    let own = fixture().guests().join("libfiltered.so.1");
    fixture().library(&own, "libfiltered.so.1");
    let (_state, root) = fixture().cold(who);
    // Inline it is otherwise: see `inline`.
    let root = fixture().with_trees(root);
    let guest = fixture().guest("filters");
    let outcome = run(root.command(guest).args([way, EXPAT, PNG, "/guests/libfiltered.so.1"]));
    assert!(outcome.succeeded(), "{outcome}");
    assert!(outcome.stdout.starts_with("libexpat.so.1: opened\n"), "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
    outcome
}

#[test]
fn a_filter_that_leaves_opens_alone_changes_nothing() {
    for who in EVERYBODY {
        let expected = "libexpat.so.1: opened\nfilter: installed\nlibpng16.so.16: opened\n\
                        /guests/libfiltered.so.1: opened\n";
        assert_eq!(filtered(who, "harmless").stdout, expected);
    }
}

#[test]
fn opens_that_the_program_traps_are_its_own() {
    for who in EVERYBODY {
        let outcome = filtered(who, "trap");
        // Its handler opens what there is, as without Sonde; the rest is not there.
        assert!(outcome.stdout.contains("libpng16.so.16: cannot open shared object file"), "{outcome}");
        assert!(outcome.stdout.contains("/guests/libfiltered.so.1: opened\n"), "{outcome}");
        assert!(outcome.stdout.ends_with("opens were trapped by the program\n"), "{outcome}");
    }
}

#[test]
fn opens_that_the_program_forbids_are_forbidden() {
    for who in EVERYBODY {
        let outcome = filtered(who, "errno");
        assert_eq!(outcome.stdout.matches(": opened\n").count(), 1, "{outcome}");
        // The number that glibc says may be that of any place in which it looked last.
        assert_eq!(outcome.stdout.matches(": cannot open shared object file: ").count(), 2, "{outcome}");
    }
}

#[test]
fn a_program_that_wants_a_listener_is_told_that_there_is_one() {
    for who in EVERYBODY {
        let expected = "libexpat.so.1: opened\nfilter: Device or resource busy\nlibpng16.so.16: opened\n\
                        /guests/libfiltered.so.1: opened\n";
        assert_eq!(filtered(who, "listener").stdout, expected);
    }
}
