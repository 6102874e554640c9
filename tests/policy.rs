//! `sonde policy`: what is wrong with a policy is told with its place, what it decides with every rule that took part,
//! and the machine's file is believed only if it is root's alone.

use std::fs;

use sonde_world::RootBuilder;

use crate::harness::{Outcome, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const HEAD: &str = "version = 1\ndefault = 'allow'\n";

/// A root in which alice has this policy.
fn users(name: &str, policy: &str) -> RootBuilder {
    let folder = fixture().guests().join(format!("policy-{name}/sonde"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("policy.toml"), policy).unwrap();
    fixture().without_shim(Who::Alice).env("XDG_CONFIG_HOME", format!("/guests/policy-{name}"))
}

fn sonde(root: &RootBuilder, arguments: &[&str]) -> Outcome {
    run(root.command(SONDE).args(arguments))
}

fn shell(root: &RootBuilder, script: &str) -> Outcome {
    run(root.command("/bin/sh").args(["-c", script]))
}

#[test]
fn a_mistake_is_shown_with_its_place_and_what_was_meant() {
    let root = users("mistake", &format!("{HEAD}[[package]]\nrule = 'deny'\natribute = 'cuda*'\n"));
    let outcome = sonde(&root, &["policy", "check"]);
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    let line = "policy.toml:5:1: unknown key `atribute` in a package rule; did you mean `attribute`?";
    let caret = "5 | atribute = 'cuda*'\n  | ^^^^^^^^\n";
    assert!(outcome.stdout.contains(line) && outcome.stdout.contains(caret), "{outcome}");
    assert!(outcome.stdout.contains("/etc/sonde/policy.toml: there is none"), "{outcome}");
    // It refuses everything, and says so in one line wherever it is asked.
    let explained = sonde(&root, &["policy", "explain", "libz.so.1"]);
    assert_eq!(explained.code(), Some(1), "{explained}");
    assert!(
        explained.stdout.contains(line) && explained.stdout.contains("nothing is provided"),
        "{explained}"
    );
}

#[test]
fn a_sound_file_is_counted_and_what_has_no_effect_is_told() {
    let deny = "[[package]]\nrule = 'deny'\nattribute = 'cuda*'\n";
    let root = users("sound", &format!("{HEAD}{deny}[[package]]\nrule = 'allow'\nattribute = 'cudart'\n"));
    let outcome = sonde(&root, &["policy", "check"]);
    assert!(outcome.succeeded(), "{outcome}");
    assert!(
        outcome.stdout.contains(":6:1: warning: the rule can never permit anything: line 3"),
        "{outcome}"
    );
    assert!(outcome.stdout.contains("sound; 2 rules, 0 sections, 1 warning"), "{outcome}");
    let named = sonde(&root, &["policy", "check", "/guests/policy-sound/sonde/policy.toml", "/nonexistent"]);
    assert_eq!(named.code(), Some(1), "a file that is named must be there: {named}");
}

#[test]
fn what_begins_a_policy_is_sound_and_permits_everything() {
    let root = users("none", HEAD);
    let script = format!("{SONDE} policy init > /tmp/starter.toml && {SONDE} policy check /tmp/starter.toml");
    let outcome = shell(&root, &script);
    assert!(outcome.succeeded() && outcome.stdout.ends_with("sound; 0 rules, 0 sections\n"), "{outcome}");
    let explained = shell(&root, &format!("{SONDE} policy explain --policy /tmp/starter.toml libz.so.1"));
    assert!(explained.succeeded() && explained.stdout.contains("may be provided"), "{explained}");
}

#[test]
fn the_narrowest_policy_permits_what_a_program_needs_and_nothing_else() {
    let root = users("narrow", HEAD);
    let made = shell(&root, &format!("{SONDE} policy init --for {CURL} > /tmp/narrow.toml"));
    assert!(made.succeeded(), "{made}");
    let explain = |arguments: &str| {
        shell(&root, &format!("{SONDE} policy explain --policy /tmp/narrow.toml {arguments}"))
    };
    for (arguments, words, code) in [
        (format!("--program {CURL} libcurl.so.4"), "may be provided: /tmp/narrow.toml:", 0),
        (format!("--program {CURL} libssl.so.3"), "forbidden: /tmp/narrow.toml:8: default = \"deny\"", 1),
        ("libcurl.so.4".to_owned(), "forbidden: /tmp/narrow.toml:4: default = \"deny\"", 1),
    ] {
        let outcome = explain(&arguments);
        assert_eq!(outcome.code(), Some(code), "{outcome}");
        assert!(outcome.stdout.contains(words), "{outcome}");
    }
    let rivals = explain(&format!("--program {CURL} libcurl.so.4")).stdout;
    assert!(rivals.contains("curlMinimal") && rivals.matches("forbidden: ").count() >= 1, "{rivals}");
}

#[test]
fn the_narrowest_policy_from_a_plan_permits_what_was_asked_for_at_run_time_too() {
    let (_state, root) = fixture().cold(Who::Alice);
    let program = fixture().guest("load");
    let script = format!(
        "{SONDE} policy init --from-plan {program}; echo status $?; mkdir -p ~/.config/sonde;
         {program} here libpng16.so.16 && sleep 1; until {SONDE} plans show {program} | grep -q libpng; do sleep 0.1; done;
         {SONDE} policy init --from-plan {program} | tee ~/.config/sonde/policy.toml;
         {program} here libpng16.so.16 libexpat.so.1"
    );
    let outcome = shell(&root, &script);
    assert!(outcome.stdout.starts_with("status 1\n"), "{outcome}");
    assert!(outcome.stderr.contains("no plan is kept of it"), "{outcome}");
    assert!(outcome.stdout.contains("soname = [\"libpng16.so.16\"]"), "{outcome}");
    assert_eq!(outcome.stdout.matches("libpng16.so.16: map /nix/store/").count(), 2, "{outcome}");
    assert!(outcome.stdout.contains("libexpat.so.1: libexpat.so.1: cannot open"), "{outcome}");
}

#[test]
fn every_rule_that_takes_part_is_shown() {
    let rules = "[[package]]\nrule = 'deny'\nattribute = 'zlib'\nreason = 'because'\n\
                 [[program]]\npath = '/opt/programs/curl/**'\n[[program.package]]\nrule = 'allow'\nname = 'zlib*'\n";
    let root = users("parts", &format!("{HEAD}{rules}"));
    let general = sonde(&root, &["policy", "explain", "--limit", "0", "libz.so.1"]);
    assert!(
        general.stdout.contains("policy.toml:3: deny package attribute = \"zlib\" (because)"),
        "{general}"
    );
    let curl = sonde(&root, &["policy", "explain", "--program", CURL, "libz.so.1"]);
    assert!(curl.succeeded(), "{curl}");
    for words in ["section by glob  decides", "general          overruled", "may be provided: /guests"] {
        assert!(curl.stdout.contains(words), "{words}: {curl}");
    }
    let package = sonde(&root, &["policy", "explain", "zlib"]);
    assert_eq!(package.code(), Some(1), "{package}");
    assert!(package.stdout.contains("zlib.out libz.so.1"), "{package}");
    let nobody = sonde(&root, &["policy", "explain", "no-such-package"]);
    assert!(nobody.stdout.contains("no package has a library or an attribute of this name"), "{nobody}");
}

#[test]
fn find_says_what_is_forbidden() {
    let root = users("find", &format!("{HEAD}[[package]]\nrule = 'deny'\nattribute = 'zlib-lite'\n"));
    let outcome = sonde(&root, &["find", "libz.so.1"]);
    assert!(outcome.succeeded(), "{outcome}");
    assert_eq!(
        outcome.stdout.matches("forbidden by /guests/policy-find/sonde/policy.toml:3: ").count(),
        1,
        "{outcome}"
    );
}

#[test]
fn the_machines_file_is_believed_if_it_is_roots_alone_and_narrows_everybodys() {
    let (_state, root) = fixture().cold(Who::Root);
    let machine = format!("{HEAD}[[soname]]\nname = 'libz.so.*'\nrule = 'deny'\n").replace('\n', "\\n");
    let write = |more: &str| {
        let user = "version = 1\\ndefault = 'allow'\\n[[soname]]\\nname = 'libz.so.*'\\nrule = 'allow'\\n";
        shell(
            &root,
            &format!(
                "mkdir -p /etc/sonde /tmp/config/sonde && printf \"{machine}\" > /etc/sonde/policy.toml && \
                 printf \"{user}\" > /tmp/config/sonde/policy.toml && {more} && \
                 XDG_CONFIG_HOME=/tmp/config {SONDE} policy explain libz.so.1"
            ),
        )
    };
    let sound = write("chmod 644 /etc/sonde/policy.toml");
    assert_eq!(sound.code(), Some(1), "{sound}");
    assert!(sound.stdout.contains("forbidden: /etc/sonde/policy.toml:3: deny soname"), "{sound}");
    for (more, words) in [
        ("chmod 666 /etc/sonde/policy.toml", "others than root can write it (mode 0666)"),
        ("chown 1000 /etc/sonde/policy.toml", "belongs to user 1000; it must be root's"),
        (
            "chown 0 /etc/sonde/policy.toml && chmod 644 /etc/sonde/policy.toml && chmod 777 /etc/sonde",
            "/etc/sonde: others",
        ),
        ("chmod 755 /etc/sonde && rm /etc/sonde/policy.toml && mkfifo /etc/sonde/policy.toml", "is a FIFO"),
    ] {
        let refused = write(more);
        assert_eq!(refused.code(), Some(1), "{refused}");
        assert!(
            refused.stdout.contains(words) && refused.stdout.contains("nothing is provided"),
            "{refused}"
        );
        let checked = sonde(&root, &["policy", "check", "/etc/sonde/policy.toml"]);
        assert_eq!(checked.code(), Some(1), "{checked}");
        assert!(checked.stdout.contains(words), "{checked}");
    }
}
