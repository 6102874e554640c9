//! What is there and what the loader does not take: each is recognised by its file, and told in a sentence.

use std::fs;
use std::process::Command;

use sonde_world::RootBuilder;

use super::{load_of, traced};
use crate::harness::{SONDE, Who, cc, fixture, run};

/// Opens a file of the guests' folder at run time; what is told of it, and what dlerror(3) said.
fn refused(name: &str) -> (serde_json::Value, String) {
    let root = fixture().root(Who::Alice);
    let path = format!("/guests/{name}");
    let (outcome, events) = traced(&root, &[&fixture().guest("load"), "here", &path]);
    (load_of(&events, name).clone(), outcome.stdout)
}

#[test]
fn a_file_that_is_no_library_or_for_another_machine() {
    let guests = fixture().guests();
    fs::write(guests.join("libscript.so"), "/* GNU ld script */\nGROUP ( libwide.so )\n".repeat(4)).unwrap();
    fixture().library(&guests.join("libwide.so"), "libwide.so");
    let library = fs::read(guests.join("libwide.so")).unwrap();
    // EI_CLASS and e_machine (elf(5)).
    for (name, at, byte) in [("libnarrow.so", 4, 1), ("libarm.so", 18, 183)] {
        let mut bytes = library.clone();
        bytes[at] = byte;
        fs::write(guests.join(name), bytes).unwrap();
    }
    for (name, loaders, words) in [
        ("libscript.so", "invalid ELF header", "is no ELF library"),
        ("libnarrow.so", "wrong ELF class", "is a 32-bit library"),
        ("libarm.so", "cannot open shared object file", "is for AArch64"),
    ] {
        let (load, said) = refused(name);
        assert!(said.contains(loaders), "{name}: {said}");
        assert_eq!(load["outcome"], "refused", "{load:#}");
        assert!(load["reason"].as_str().unwrap().contains(words), "{load:#}");
    }
    let (load, said) = refused("libwide.so");
    assert!(said.contains(": map /guests/libwide.so"), "{said}");
    assert_eq!(load["outcome"], "loaded", "{load:#}");
}

#[test]
fn a_library_without_the_version_that_is_needed() {
    let program = fixture().guest_that_needs_version("libtraced-versioned.so.1", "OURS_2");
    let folder = fixture().guests().join("versioned");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("old.c"), "int provided(void) { return 0; }\n").unwrap();
    fs::write(folder.join("old.map"), "OURS_1 { global: provided; };\n").unwrap();
    let built = Command::new("cc")
        .current_dir(&folder)
        .args(["-shared", "-fPIC", "-Wl,-soname,libtraced-versioned.so.1", "-Wl,--version-script,old.map"])
        .args(["old.c", "-o", "libtraced-versioned.so.1"])
        .status();
    assert!(built.unwrap().success());
    let root = fixture().root(Who::Alice).env("LD_LIBRARY_PATH", "/guests/versioned");
    let (outcome, events) = traced(&root, &[&program]);
    assert!(outcome.stderr.contains("version `OURS_2' not found"), "{outcome}");
    let load = load_of(&events, "libtraced-versioned.so.1");
    assert_eq!((&load["outcome"], &load["how"]), (&"refused".into(), &"library-path".into()), "{load:#}");
    let reason = load["reason"].as_str().unwrap();
    let words = "needs OURS_2, and /guests/versioned/libtraced-versioned.so.1 does not define it";
    assert!(reason.contains(words), "{reason}");
    // Whoever does not trace it is told the same, each time, before the loader's own words.
    for _ in 0..2 {
        let outcome = run(&mut root.command(&program));
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{outcome}");
        assert!(lines[0].starts_with(&format!("sonde: {program} {words}")), "{outcome}");
        assert!(lines[1].contains("version `OURS_2' not found"), "{outcome}");
    }
    assert_foreseen(&root, &program, words);
}

#[test]
fn a_program_for_a_newer_glibc() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // A libc.so.6 to link with that has what will be in a glibc some day.
    fs::write(path("libc.c"), "int provided(void) { return 0; }\n").unwrap();
    fs::write(path("libc.map"), "GLIBC_2.99 { global: provided; };\n").unwrap();
    fs::write(path("program.c"), "int provided(void);\nvoid _start(void) { provided(); }\n").unwrap();
    let script = format!("-Wl,--version-script,{}", path("libc.map").display());
    let stub = path("libnewer.so");
    cc(&path("libc.c"), &stub, &["-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libc.so.6", &script]);
    let program = fixture().guests().join("newer");
    cc(&path("program.c"), &program, &["-nostdlib", &stub.display().to_string()]);
    let root = fixture().root(Who::Alice);
    let (outcome, events) = traced(&root, &["/guests/newer"]);
    assert!(outcome.stderr.contains("version `GLIBC_2.99' not found"), "{outcome}");
    let load = load_of(&events, "libc.so.6");
    assert_eq!(load["outcome"], "refused", "{load:#}");
    assert!(load["reason"].as_str().unwrap().contains("/guests/newer needs GLIBC_2.99, and "), "{load:#}");
    for _ in 0..2 {
        let outcome = run(&mut root.command("/guests/newer"));
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(lines.len() == 2 && lines[1].contains("version `GLIBC_2.99' not found"), "{outcome}");
        assert!(
            lines[0].starts_with("sonde: /guests/newer needs GLIBC_2.99, and the glibc that"),
            "{outcome}"
        );
        assert!(lines[0].contains("sonde index update"), "{outcome}");
    }
    assert_foreseen(&root, "/guests/newer", "needs GLIBC_2.99, and the glibc that");
}

/// `sonde plan` says it before the program is started.
#[track_caller]
fn assert_foreseen(root: &RootBuilder, program: &str, words: &str) {
    let outcome = run(root.command(SONDE).args(["plan", program]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    let last = outcome.stdout.lines().last().unwrap();
    assert!(last.starts_with(&format!("  {program} {words}")), "{outcome}");
}
