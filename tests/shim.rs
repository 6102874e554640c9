//! The shim as a command, and as an interpreter that finds no supervisor.

use crate::harness::{COMPILED_IN_LOADER, EVERYBODY, LOADER, SHIM, Who, fixture, run};

const HELLO: &str = "/opt/programs/hello/usr/bin/hello";

/// The loader of the world's glibc, once it is realised.
fn loader() -> String {
    let root = fixture().root(Who::Alice);
    assert!(run(&mut root.command(HELLO)).succeeded());
    let glibc = fixture()
        .world
        .packages()
        .unwrap()
        .into_iter()
        .find(|one| one.attr == "glibc" && one.output == "out");
    format!("{}/lib/ld-linux-x86-64.so.2", glibc.unwrap().store_path)
}

#[test]
fn version_and_help_are_printed_on_standard_output() {
    let root = fixture().root(Who::Alice);
    for path in [SHIM, LOADER] {
        let version = run(root.command(path).arg("--version"));
        let lines: Vec<&str> = version.stdout.lines().collect();
        assert_eq!(lines[0], concat!("sonde-interp ", env!("CARGO_PKG_VERSION")), "{version}");
        assert!(lines[1].starts_with("supervisor /") && lines[2].starts_with("loader /"), "{version}");
        let help = run(root.command(path).arg("--help"));
        assert!(help.succeeded() && help.stdout.contains("Usage: sonde-interp"), "{help}");
    }
}

#[test]
fn run_without_or_with_wrong_arguments_it_says_so() {
    let root = fixture().root(Who::Alice);
    for arguments in [&[][..], &["--no-such-option"], &["--exec"], &["--supervisor-fd", "x", HELLO]] {
        let outcome = run(root.command(LOADER).args(arguments));
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.contains("--help"), "{outcome}");
    }
}

#[test]
fn it_runs_a_program_as_ld_so_does() {
    for who in EVERYBODY {
        let outcome = run(fixture().root(who).command(LOADER).arg(HELLO));
        assert_eq!(outcome.stdout, "Hello, world!\n", "{outcome}");
    }
}

#[test]
fn a_program_that_cannot_be_run_is_named() {
    let root = fixture().root(Who::Alice);
    let cases = [("/no/such/file", 127, "No such file"), ("/etc/passwd", 126, "denied"), ("/tmp", 126, "")];
    for (path, code, words) in cases {
        let outcome = run(root.command(SHIM).arg(path));
        assert_eq!(outcome.code(), Some(code), "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: cannot run {path}: ")), "{outcome}");
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
}

#[test]
fn without_a_supervisor_it_falls_back_to_nix_ld_in_one_line() {
    let loader = loader();
    for supervisor in ["/no/such/sonde", "/run/current-system/sw/bin/false"] {
        let root = fixture().root(Who::Alice).env("SONDE_SUPERVISOR", supervisor).env("NIX_LD", &loader);
        // The world's glibc has Debian's search path, so the loader finds libc.so.6 by this alone.
        let libraries = loader.rsplit_once('/').unwrap().0;
        let outcome = run(&mut root.env("LD_LIBRARY_PATH", libraries).command(HELLO));
        assert_eq!(outcome.stdout, "Hello, world!\n", "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: no supervisor at {supervisor} (")), "{outcome}");
    }
}

/// As after a garbage collection: what a shell has been told is gone.
#[test]
fn a_loader_that_is_gone_is_made_up_for_by_the_compiled_in_one() {
    let root = fixture().root(Who::Alice).bind(fixture().system_loader(), COMPILED_IN_LOADER);
    let root = root.env("SONDE_SUPERVISOR", "/no/such/sonde").env("NIX_LD", "/nix/store/gone/ld.so");
    let libraries = loader().rsplit_once('/').unwrap().0.to_owned();
    let outcome = run(&mut root.env("LD_LIBRARY_PATH", libraries).command(HELLO));
    assert_eq!(outcome.stdout, "Hello, world!\n", "{outcome}");
    let line = format!(
        "sonde: no supervisor at /no/such/sonde (No such file or directory); {HELLO} runs under {COMPILED_IN_LOADER}, "
    );
    assert!(outcome.stderr.starts_with(&line) && outcome.stderr.lines().count() == 1, "{outcome}");
}

#[test]
fn the_per_system_variable_replaces_the_generic_one() {
    let root = fixture().root(Who::Alice).env("SONDE_SUPERVISOR", "/no/such/sonde");
    let root = root.env("NIX_LD", loader()).env("NIX_LD_x86_64_linux", "/no/such/loader");
    let outcome = run(&mut root.command(HELLO));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("/no/such/loader"), "{outcome}");
}

#[test]
fn without_supervisor_and_loader_it_names_the_program_and_ends_with_127() {
    for who in EVERYBODY {
        let root = fixture().with_trees(fixture().root(who)).env("SONDE_SUPERVISOR", "/no/such/sonde");
        let outcome = run(&mut root.command(HELLO));
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: cannot run {HELLO}: ")), "{outcome}");
    }
}

#[test]
fn a_loader_that_is_none_is_refused() {
    let root =
        fixture().root(Who::Alice).env("SONDE_SUPERVISOR", "/no/such/sonde").env("NIX_LD", "/etc/passwd");
    let outcome = run(&mut root.command(HELLO));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("/etc/passwd (not an ELF program)"), "{outcome}");
}

#[test]
fn a_supervisor_that_needs_the_shim_itself_does_not_start_another() {
    // A foreign program as the supervisor: its own interpreter is the shim.
    let root = fixture().with_trees(fixture().root(Who::Alice)).env("SONDE_SUPERVISOR", HELLO);
    let outcome = run(&mut root.command(HELLO));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
}
