//! What may be fetched, what is told about it, and what is let go again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sonde_world::RootBuilder;

use super::{Direct, Embedded, libcurl};
use crate::harness::{Who, fixture, run};

fn direct(settings: &str) -> Direct {
    Direct::new(&fixture().server.url(), settings)
}

#[test]
fn a_dry_run_says_what_a_fetch_would_cost_and_costs_nothing() {
    let direct = direct("");
    let dry = direct.store(|sonde| sonde.args(["fetch", "--dry-run", &libcurl()]));
    assert!(dry.succeeded(), "{dry}");
    let (paths, rest) = dry.stdout.split_once(" paths would be fetched: ").expect("a count of paths");
    assert!(rest.contains("iB, ") && rest.ends_with("iB unpacked\n"), "{dry}");
    assert_eq!(direct.store(|sonde| sonde.arg("list")).stdout, "");
    assert!(direct.store(|sonde| sonde.args(["fetch", &libcurl()])).succeeded());
    let listed = direct.store(|sonde| sonde.arg("list")).stdout;
    assert_eq!(listed.lines().count().to_string(), paths);
    let again = direct.store(|sonde| sonde.args(["fetch", "--dry-run", &libcurl()]));
    assert_eq!(again.stdout, "0 paths would be fetched: 0 B, 0 B unpacked\n");
}

#[test]
fn offline_is_said_by_configuration_environment_or_command() {
    let (curl, online) = (libcurl(), direct(""));
    let words = format!("sonde: offline: {curl} is not in the store");
    let configured = direct("offline = true").store(|sonde| sonde.args(["fetch", &curl]));
    let environment = online.store(|sonde| sonde.args(["fetch", &curl]).env("SONDE_OFFLINE", "1"));
    let typed = online.store(|sonde| sonde.args(["fetch", "--offline", &curl]));
    for outcome in [configured, environment, typed] {
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.starts_with(&words), "{outcome}");
    }
    assert!(online.store(|sonde| sonde.args(["fetch", &curl]).env("SONDE_OFFLINE", "0")).succeeded());
    let there = online.store(|sonde| sonde.args(["fetch", "--offline", &curl]));
    assert!(there.succeeded(), "{there}");
}

#[test]
fn what_is_too_much_is_refused_with_both_sizes() {
    let small = direct("max-download-size = \"10 KiB\"").store(|sonde| sonde.args(["fetch", &libcurl()]));
    assert_eq!(small.code(), Some(1), "{small}");
    assert!(small.stderr.starts_with("sonde: would download "), "{small}");
    assert!(small.stderr.contains("iB, max-download-size is 10.0 KiB: "), "{small}");
    let large = direct("max-download-size = \"1 GiB\"").store(|sonde| sonde.args(["fetch", &libcurl()]));
    assert!(large.succeeded(), "{large}");
}

#[test]
fn what_was_dropped_is_garbage() {
    let direct = direct("");
    assert!(direct.store(|sonde| sonde.args(["fetch", &libcurl()])).succeeded());
    let dropped = direct.store(|sonde| sonde.args(["drop", &libcurl()]));
    assert!(dropped.succeeded(), "{dropped}");
    assert!(direct.store(|sonde| sonde.arg("gc")).succeeded());
    assert_eq!(direct.store(|sonde| sonde.arg("list")).stdout, "");
    // There is nothing left to let go of, which is what was wanted.
    assert!(direct.store(|sonde| sonde.args(["drop", &libcurl()])).succeeded());
}

#[test]
fn programs_that_get_theirs_from_nix_are_held_to_the_same_limits() {
    let (_state, root) = fixture().cold(Who::Root);
    let folder = fixture().guests().join("store-nix/sonde");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), "[store]\nmax-download-size = \"10 KiB\"\n").unwrap();
    let curl = |root: &RootBuilder| run(root.command("/opt/programs/curl/usr/bin/curl").arg("--version"));
    let offline = curl(&root.clone().env("SONDE_OFFLINE", "1"));
    assert_eq!(offline.code(), Some(127), "{offline}");
    assert!(offline.stderr.contains("offline: /nix/store/"), "{offline}");
    let small = root.clone().env("XDG_CONFIG_HOME", "/guests/store-nix");
    let refused = curl(&small);
    assert_eq!(refused.code(), Some(127), "{refused}");
    assert!(refused.stderr.contains("iB, max-download-size is 10.0 KiB"), "{refused}");
    let there = curl(&root);
    assert!(there.succeeded(), "{there}");
    // Everything is valid now, so nothing is to be fetched; without the roots all of it is asked for again.
    for limited in [small, root.env("SONDE_OFFLINE", "1")] {
        let forgotten = run(limited.command("/bin/sh").args(["-c", "rm -r ~/.local/state/sonde/roots"]));
        assert!(forgotten.succeeded(), "{forgotten}");
        let again = curl(&limited);
        assert!(again.succeeded(), "{again}");
    }
}

#[test]
fn a_folder_that_is_not_ours_is_named_and_its_mode_mends_it() {
    let (store, curl) = (Embedded::new("forbidden"), libcurl());
    let data = "/tmp/store-forbidden/data";
    assert!(store.shell(&format!("mkdir -p {data} && chmod 555 {data}")).succeeded());
    let refused = store.store(&["fetch", &curl]);
    assert_eq!(refused.code(), Some(1), "{refused}");
    assert!(
        refused.stderr.starts_with(&format!("sonde: creating {data}/sonde/store/nix/store: ")),
        "{refused}"
    );
    assert!(
        refused.stderr.contains("Permission denied") && refused.stderr.contains("is the folder yours?"),
        "{refused}"
    );
    assert!(store.shell(&format!("chmod 755 {data}")).succeeded());
    assert!(store.store(&["fetch", &curl]).succeeded());
    // The same within a store that has been filled.
    let objects = format!("{data}/sonde/store/nix/store");
    assert!(store.shell(&format!("rm -r /tmp/store-forbidden/state && chmod 555 {objects}")).succeeded());
    let stuck = store.store(&["gc"]);
    assert!(
        stuck.stderr.contains(&format!("removing {objects}/")) && stuck.stderr.contains("Permission denied"),
        "{stuck}"
    );
    assert!(store.shell(&format!("chmod 755 {objects}")).succeeded());
    assert!(store.store(&["fetch", &curl]).succeeded());
    assert!(store.store(&["verify"]).succeeded());
}

#[test]
fn a_desktop_is_told_of_a_fetch_that_takes_long_and_of_no_other() {
    // The only notify-send of this machine's that the root has; busctl is not there.
    let store = Embedded::slow("desktop");
    let folder = fixture().guests().join("store-desktop/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("notify-send"), "#!/bin/sh\necho \"$@\" >> /tmp/store-desktop/notes\n").unwrap();
    fs::set_permissions(folder.join("notify-send"), fs::Permissions::from_mode(0o755)).unwrap();
    let fetch = |environment: &str| {
        let script = format!(
            "{environment} PATH=/guests/store-desktop/bin:$PATH exec sonde store fetch {}",
            libcurl()
        );
        let outcome = store.shell(&script);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        store.shell("cat /tmp/store-desktop/notes; rm -f /tmp/store-desktop/notes").stdout
    };
    assert_eq!(fetch(""), "");
    let told = fetch("DISPLAY=:0");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("sonde waits for a download"), "{told}");
}
