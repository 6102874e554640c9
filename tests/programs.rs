//! Foreign programs that nobody here built, straight from Debian, npm and PyPI packages.

use sonde_world::{Program, RootBuilder};

use crate::harness::{EVERYBODY, Outcome, SONDE, Who, fixture, output, proves, starts_foreign_programs};

/// Runs a program of the world, behind these words.
fn run(program: &Program, mut root: RootBuilder, before: &[&str]) -> Outcome {
    for (name, value) in &program.env {
        root = root.env(name, value);
    }
    let words: Vec<&str> = before.iter().copied().chain([program.executable.as_str()]).collect();
    output::run_with(root.command(words[0]).args(&words[1..]).args(&program.args), &program.stdin)
}

#[track_caller]
fn assert_as_native(program: &Program, native: &Outcome, outcome: &Outcome, how: &str) {
    let name = &program.name;
    assert!(
        proves(program, &outcome.stdout),
        "{name} {how} did not print what proves that it ran: {outcome}"
    );
    assert_eq!(outcome.stdout, native.stdout, "{name} {how} printed something else than natively");
    assert_eq!(outcome.stderr, native.stderr, "{name} {how} complained");
    assert_eq!(outcome.status, native.status, "{name} {how}");
}

#[test]
fn no_program_runs_without_us() {
    for program in fixture().world.programs() {
        let outcome = run(program, fixture().without_shim(Who::Root), &[]);
        assert!(!proves(program, &outcome.stdout), "{} ran without Sonde: {outcome}", program.name);
        assert_ne!(outcome.code(), Some(0), "{}", program.name);
    }
}

#[test]
fn every_program_runs_through_lib64_as_it_does_natively() {
    for who in EVERYBODY {
        for program in fixture().world.programs() {
            let native = run(program, fixture().native(who), &[]);
            let outcome = run(program, fixture().root(who), &[]);
            assert_as_native(program, &native, &outcome, &format!("through /lib64 as {who:?}"));
        }
    }
}

#[test]
fn every_program_runs_through_sonde_run_as_it_does_natively() {
    for who in EVERYBODY {
        for program in fixture().world.programs() {
            // A foreign program that starts foreign programs needs the shim for those.
            let root = if starts_foreign_programs(program) {
                fixture().root(who)
            } else {
                fixture().without_shim(who)
            };
            let native = run(program, fixture().native(who), &[]);
            let outcome = run(program, root, &[SONDE, "run", "--"]);
            assert_as_native(program, &native, &outcome, &format!("through sonde run as {who:?}"));
        }
    }
}

#[test]
fn a_program_runs_in_a_store_where_nothing_was_ever_realised() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let program = fixture().world.program("ffmpeg").unwrap();
        let native = run(program, fixture().native(who), &[]);
        let outcome = run(program, root, &[]);
        assert_as_native(program, &native, &outcome, &format!("cold, as {who:?}"));
    }
}

#[test]
fn a_program_built_by_nix_is_left_its_own_loader() {
    let outcome =
        output::run(fixture().root(Who::Alice).command(SONDE).args(["run", "sh", "-c", "echo $0 $((6*7))"]));
    assert_eq!(outcome.stdout, "sh 42\n", "{outcome}");
    assert!(outcome.succeeded());
}
