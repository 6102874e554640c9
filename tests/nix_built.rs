//! Programs that were built by Nix, and what they load that was not: their loader is their own, and is served.

use std::process::Command;

use sonde_world::{Program, RootBuilder};

use crate::harness::{EVERYBODY, Outcome, SONDE, TREE_ENGINES, Who, fixture, run};

/// Makes a foreign program look as if Nix had built it: with the loader and the C library of the root's system. Returns
/// its path inside the root.
pub(super) fn built_by_nix(inside: &str, name: &str) -> String {
    let fixture = fixture();
    let target = fixture.guests().join(name);
    if !target.exists() {
        let source = match inside.strip_prefix("/guests/") {
            Some(guest) => fixture.guests().join(guest),
            None => fixture.world.path().join(inside.trim_start_matches("/opt/")),
        };
        let system = fixture.world.system_path().unwrap();
        let unfinished = target.with_extension(format!("{:?}", std::thread::current().id()));
        std::fs::copy(source, &unfinished).unwrap();
        let status = Command::new("patchelf")
            .args(["--set-interpreter", &format!("{system}/lib/ld-linux-x86-64.so.2")])
            .args(["--set-rpath", &format!("{system}/lib")])
            .arg(&unfinished)
            .status();
        assert!(status.unwrap().success());
        std::fs::rename(unfinished, &target).unwrap();
    }
    format!("/guests/{name}")
}

fn with_environment(program: &Program, mut root: RootBuilder) -> RootBuilder {
    for (name, value) in &program.env {
        root = root.env(name, value);
    }
    root
}

#[track_caller]
fn assert_loaded(outcome: &Outcome, libraries: usize) {
    assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), libraries, "{outcome}");
    assert!(outcome.succeeded(), "{outcome}");
}

#[test]
fn what_it_opens_at_run_time_is_provided() {
    let guest = built_by_nix(&fixture().guest("load"), "nix-load");
    for who in EVERYBODY {
        let root = fixture().without_shim(who);
        let outcome =
            run(root.command(SONDE).args(["run", &guest, "here", "libpng16.so.16", "libexpat.so.1"]));
        assert_loaded(&outcome, 2);
    }
}

#[test]
fn so_it_is_to_its_children_which_the_kernel_starts() {
    let guest = built_by_nix(&fixture().guest("load"), "nix-load");
    let script = format!(
        "{guest} here libpng16.so.16; env -i {guest} fork libsqlite3.so.0; sh -c '{guest} threads libxml2.so.2 libexpat.so.1'"
    );
    for who in EVERYBODY {
        for engine in TREE_ENGINES {
            let root = fixture().under(engine, fixture().without_shim(who));
            let outcome = run(root.command(SONDE).args(["run", "sh", "-c", &script]));
            assert_loaded(&outcome, 4);
        }
    }
}

#[test]
fn a_child_in_a_store_where_nothing_was_ever_realised_waits() {
    let guest = built_by_nix(&fixture().guest("load"), "nix-load");
    let (_state, root) = fixture().cold(Who::Alice);
    let root = fixture().with_trees(root);
    let script = format!("{guest} here libpng16.so.16 libxml2.so.2");
    assert_loaded(&run(root.command(SONDE).args(["run", "sh", "-c", &script])), 2);
}

#[test]
fn wheels_find_their_libraries_in_python_and_in_its_children() {
    let program = fixture().world.program("opencv").unwrap();
    let python = built_by_nix(&program.executable, "nix-python");
    let import = "import cv2, numpy; print('cv2', int(cv2.norm(numpy.ones(4))))";
    let script =
        format!("{import}\nimport subprocess, sys\nsubprocess.run([sys.executable, '-B', '-c', {import:?}])");
    for who in EVERYBODY {
        let root = with_environment(program, fixture().with_trees(fixture().without_shim(who)));
        // Where it lies it would find its own; this one is a copy.
        let root = root.env("PYTHONHOME", "/opt/programs/python3/usr");
        let without = run(root.command(&python).args(["-B", "-c", &script]));
        assert!(!without.stdout.contains("cv2 2"), "it runs without Sonde: {without}");
        let outcome = run(root.command(SONDE).args(["run", &python, "-B", "-c", &script]));
        assert_eq!(outcome.stdout, "cv2 2\ncv2 2\n", "{outcome}");
    }
}

#[test]
fn what_it_opens_itself_is_its_own_business() {
    // A shell reads a file that no package has, where distributions have libraries: it gets the kernel's own answer.
    let script = "cat /usr/lib/libpng16.so.16; cat /lib64/libz.so.1; echo $?";
    let outcome = run(fixture().without_shim(Who::Alice).command(SONDE).args(["run", "sh", "-c", script]));
    assert_eq!(outcome.stdout, "1\n", "{outcome}");
    assert_eq!(outcome.stderr.matches("No such file or directory").count(), 2, "{outcome}");
}
