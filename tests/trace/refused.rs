//! What is there and what the loader does not take: each is recognised by its file, and told in a sentence.

use std::fs;
use std::process::Command;

use super::{load_of, traced};
use crate::harness::{Who, fixture};

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
    assert!(
        reason.contains("needs OURS_2, and /guests/versioned/libtraced-versioned.so.1 does not"),
        "{reason}"
    );
}
