//! Where the host's drivers lie: the folders that `config.toml` names, and that plans depend on them.

use std::fs;

use sonde_world::RootBuilder;

use super::nix_ld::configured;
use crate::harness::{EVERYBODY, SONDE, Who, fixture, run};

/// Where WSL has them.
const FOLDER: &str = "/usr/lib/wsl/lib";
/// A driver by the lists, a library that no package has, and one that a package has.
const DRIVER: &str = "libcuda.so.1";
const UNKNOWN: &str = "libdxcore.so";
const PACKAGED: &str = "libz.so.1";

/// A host's folder with these libraries; its path on this machine.
fn folder_with(name: &str, libraries: &[&str]) -> std::path::PathBuf {
    let folder = fixture().guests().join("drivers").join(name);
    fs::create_dir_all(&folder).unwrap();
    for library in libraries {
        fixture().library(&folder.join(library), library);
    }
    folder
}

/// Where each of these is found, or what the loader says.
fn loads(root: &RootBuilder, libraries: &[&str]) -> String {
    run(root.command(fixture().guest("load")).arg("here").args(libraries)).stdout
}

#[test]
fn they_come_from_the_folders_that_are_configured() {
    let folder = folder_with("configured", &[DRIVER, UNKNOWN, PACKAGED]);
    let text = format!("[drivers]\nfolders = ['/none', '{FOLDER}']\n");
    for who in EVERYBODY {
        let bare = fixture().root(who).bind(&folder, FOLDER);
        let root = configured(bare.clone(), "drivers", &[("config.toml", &text)]);
        // Anew, and by the plan; without the configuration the plan does not hold.
        for _ in 0..2 {
            let found = loads(&root, &[DRIVER, UNKNOWN, PACKAGED]);
            for library in [DRIVER, UNKNOWN] {
                assert!(found.contains(&format!("{library}: map {FOLDER}/{library} ")), "{who:?}: {found}");
            }
            assert!(found.contains(&format!("{PACKAGED}: map /nix/store/")), "{who:?}: {found}");
            let by_path = format!("/usr/lib/x86_64-linux-gnu/{UNKNOWN}");
            assert!(loads(&root, &[&by_path]).starts_with(&format!("{by_path}: map ")), "{who:?}");
        }
        let without = loads(&bare, &[DRIVER, UNKNOWN]);
        assert!(!without.contains(FOLDER) && without.contains("No such file"), "{who:?}: {without}");
    }
}

#[test]
fn what_a_program_is_linked_against_is_known_beforehand() {
    let folder = folder_with("linked", &[DRIVER, UNKNOWN]);
    let text = format!("[drivers]\nfolders = ['{FOLDER}']\n");
    let root = fixture().root(Who::Alice).bind(&folder, FOLDER);
    let root = configured(root, "drivers-linked", &[("config.toml", &text)]);
    for library in [DRIVER, UNKNOWN] {
        let program = fixture().guest_that_needs(library);
        let outcome = run(root.command(&program).args(["exit", "0"]));
        assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{outcome}");
        let plan = run(root.command(SONDE).args(["plan", &program]));
        let row = plan.stdout.lines().find(|line| line.trim_start().starts_with(library)).unwrap();
        assert!(plan.succeeded() && row.contains(" host "), "{plan}");
        let doctor = run(root.command(SONDE).args(["doctor", &program]));
        assert!(!doctor.stdout.contains(&format!("{library}, needed by")), "{doctor}");
        let trace = run(root.command(SONDE).args(["trace", &program, "exit", "0"]));
        let row = trace.stderr.lines().find(|line| line.contains(&format!(" {library} "))).unwrap();
        assert!(row.contains(" host ") && row.contains(FOLDER), "{trace}");
    }
}

#[test]
fn a_driver_that_comes_or_goes_is_noticed() {
    let folder = folder_with("changing", &["libother.so.1"]);
    let text = format!("[drivers]\nfolders = ['{FOLDER}']\n");
    for who in EVERYBODY {
        let root = fixture().root(who).bind(&folder, FOLDER);
        let root = configured(root, "drivers-changing", &[("config.toml", &text)]);
        for _ in 0..2 {
            assert!(loads(&root, &[DRIVER]).contains("No such file"), "{who:?}");
        }
        fixture().library(&folder.join(DRIVER), DRIVER);
        assert!(loads(&root, &[DRIVER]).contains(&format!("map {FOLDER}/{DRIVER} ")), "{who:?}");
        fs::remove_file(folder.join(DRIVER)).unwrap();
        assert!(loads(&root, &[DRIVER]).contains("No such file"), "{who:?}");
    }
}

#[test]
fn a_mistake_in_the_section_is_told() {
    let text = "[drivers]\nfolders = ['drivers']\n";
    let root = configured(fixture().root(Who::Alice), "drivers-mistake", &[("config.toml", text)]);
    let words = "/etc/sonde/config.toml: `drivers` in [drivers] must be an absolute path";
    let hello = run(&mut root.command("/opt/programs/hello/usr/bin/hello"));
    assert!(hello.stderr.contains(words), "{hello}");
    let doctor = run(root.command(SONDE).arg("doctor"));
    assert!(doctor.stdout.contains(words), "{doctor}");
}
