//! The log: nothing unless it is asked for, never on a program's standard error, and never in a program's way.

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

/// A root whose log is this test's and this user's alone; returns its folder, too.
fn logging(test: &str, who: Who, directives: &str) -> (RootBuilder, String) {
    let state = format!("/tmp/log-{test}-{who:?}");
    let root =
        fixture().with_trees(fixture().root(who)).env("XDG_STATE_HOME", &state).env("SONDE_LOG", directives);
    (root, format!("{state}/sonde"))
}

fn shell(root: &RootBuilder, script: &str) -> Outcome {
    let outcome = run(root.command("/bin/sh").args(["-c", script]));
    assert!(outcome.succeeded(), "{outcome}");
    outcome
}

/// It has run as if nobody logged anything.
#[track_caller]
fn assert_undisturbed(outcome: &Outcome) {
    assert!(outcome.succeeded() && outcome.stdout.starts_with("curl "), "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn what_is_logged_of_a_program_is_in_a_file_with_its_tree_and_load() {
    for who in EVERYBODY {
        let (root, folder) = logging("spans", who, "sonde=debug");
        for start in [&[CURL, "--version"][..], &[SONDE, "run", CURL, "--version"]] {
            shell(&root, &format!("rm -rf {folder}/sonde.log"));
            assert_undisturbed(&run(root.command(start[0]).args(&start[1..])));
            let log = shell(&root, &format!("cat {folder}/sonde.log; stat -c %a {folder}/sonde.log")).stdout;
            assert!(log.ends_with("600\n"), "it is its user's alone: {log}");
            let tree = format!("tree{{program={CURL}}}");
            assert!(log.lines().any(|line| line.contains(&tree) && line.contains("a tree begins")), "{log}");
            let load = format!("{tree}:load{{path=");
            assert!(log.lines().any(|line| line.contains(&load) && line.contains("/libz.so.1")), "{log}");
            assert!(!log.contains('\x1b'), "{log}");
        }
    }
}

#[test]
fn nothing_is_logged_unless_it_is_asked_for() {
    let (root, folder) = logging("none", Who::Alice, "");
    assert_undisturbed(&run(root.command(CURL).arg("--version")));
    shell(&root, &format!("test ! -e {folder}/sonde.log"));
}

#[test]
fn a_log_that_is_full_becomes_the_old_one() {
    let (root, folder) = logging("full", Who::Alice, "sonde=trace");
    shell(&root, &format!("mkdir -p {folder} && head -c 4194300 /dev/zero > {folder}/sonde.log"));
    assert_undisturbed(&run(root.command(CURL).arg("--version")));
    let sizes = shell(&root, &format!("stat -c '%s' {folder}/sonde.log.old {folder}/sonde.log")).stdout;
    let sizes: Vec<u64> = sizes.lines().map(|line| line.parse().unwrap()).collect();
    assert!(sizes[0] == 4_194_300 && (1..1 << 20).contains(&sizes[1]), "{sizes:?}");
}

#[test]
fn a_log_that_cannot_be_written_is_not_missed() {
    for (name, script) in [
        ("folder", "mkdir -p $F/sonde.log"),
        ("fifo", "mkdir -p $F && mkfifo $F/sonde.log"),
        ("device", "mkdir -p $F && ln -s /dev/full $F/sonde.log"),
        ("loop", "mkdir -p $F && ln -s sonde.log $F/sonde.log"),
    ] {
        let (root, folder) = logging(name, Who::Alice, "trace");
        shell(&root, &format!("rm -rf {folder}; F={folder}; {script}"));
        assert_undisturbed(&run(root.command(CURL).arg("--version")));
    }
    // The file must not grow by a byte, as on a disk that is full; others may, for the supervisor makes some in memory.
    let (root, folder) = logging("no-room", Who::Alice, "trace");
    shell(&root, &format!("mkdir -p {folder} && head -c 3145728 /dev/zero > {folder}/sonde.log"));
    let script = format!("ulimit -f 2048; exec {CURL} --version");
    assert_undisturbed(&run(root.command("/bin/sh").args(["-c", &script])));
    let size = shell(&root, &format!("ls {folder}; stat -c %s {folder}/sonde.log")).stdout;
    assert!(size.ends_with("\n3145728\n") && !size.contains("old"), "{size}");
}

#[test]
fn a_mistake_in_what_is_asked_for_is_said_where_it_does_not_disturb() {
    let (root, folder) = logging("mistake", Who::Alice, "sonde=loud");
    let found = run(root.command(SONDE).args(["find", "libz.so.1"]));
    assert!(found.succeeded(), "{found}");
    assert!(
        found.stderr.starts_with("sonde: SONDE_LOG=sonde=loud: ") && found.stderr.lines().count() == 1,
        "{found}"
    );
    assert_undisturbed(&run(root.command(CURL).arg("--version")));
    let log = shell(&root, &format!("cat {folder}/sonde.log")).stdout;
    assert!(log.contains("SONDE_LOG=sonde=loud: ") && log.contains("only warnings are logged"), "{log}");
}

#[test]
fn who_traces_sees_the_log_at_once() {
    let (root, folder) = logging("trace", Who::Alice, "sonde=debug");
    let traced = run(root.command(SONDE).args(["trace", CURL, "--version"]));
    assert!(traced.succeeded() && traced.stderr.contains("a tree begins"), "{traced}");
    shell(&root, &format!("test ! -e {folder}/sonde.log"));
}
