//! Importing databases: real ones become the index, everything else leaves it as it was.

use std::fs;

use crate::harness::{Outcome, SONDE, Who, fixture, run};

/// Imports a file with these bytes as alice, with a cache folder of its own.
fn import(name: &str, bytes: &[u8]) -> Outcome {
    fs::write(fixture().guests().join(name), bytes).unwrap();
    let root = fixture().without_shim(Who::Alice).env("XDG_CACHE_HOME", format!("/tmp/import-{name}"));
    run(root.command(SONDE).args(["index", "import", &format!("/guests/{name}")]))
}

#[test]
fn a_database_is_imported_and_counted() {
    let database = fs::read(fixture().world.index().join("files")).unwrap();
    let outcome = import("whole", &database);
    assert!(outcome.succeeded(), "{outcome}");
    assert!(outcome.stdout.contains("/tmp/import-whole/sonde/index/default.index: "), "{outcome}");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn what_is_no_database_is_refused_with_its_name() {
    let database = fs::read(fixture().world.index().join("files")).unwrap();
    let mut newer = database.clone();
    newer[4] = 9;
    let half = &database[..database.len() / 2];
    for (name, bytes) in [("empty", &b""[..]), ("text", b"hello\n"), ("newer", &newer), ("half", half)] {
        let outcome = import(name, bytes);
        assert_eq!(outcome.code(), Some(1), "{name}: {outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: /guests/{name}: ")), "{outcome}");
    }
}

#[test]
fn a_failed_import_leaves_the_index_as_it_was() {
    let root = fixture().without_shim(Who::Alice);
    let outcome = run(root.command(SONDE).args(["index", "import", "/etc/passwd"]));
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    let outcome = run(root.command(SONDE).args(["run", "/opt/programs/hello/usr/bin/hello"]));
    assert!(outcome.succeeded(), "{outcome}");
}

#[test]
fn folders_devices_and_missing_files_are_refused() {
    let root = fixture().without_shim(Who::Alice);
    for path in ["/tmp", "/dev/zero", "/no/such/file"] {
        let outcome = run(root.command(SONDE).args(["index", "import", path]));
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: {path}: ")), "{outcome}");
    }
}

#[test]
fn a_damaged_index_is_refused_with_what_to_do() {
    let alice = fixture().without_shim(Who::Alice).env("XDG_CACHE_HOME", "/tmp/damaged");
    let import = run(alice.command(SONDE).args(["index", "import", "/index/files"]));
    assert!(import.succeeded(), "{import}");
    let damage = "for f in /tmp/damaged/sonde/index/*.index; do head -c 5000 $f > $f.x && mv $f.x $f; done";
    assert!(run(alice.command("/bin/sh").args(["-c", damage])).succeeded());
    let outcome = run(alice.command(SONDE).args(["run", "/opt/programs/hello/usr/bin/hello"]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("import the database again"), "{outcome}");
}
