//! The architecture's rules that a grep can check (docs/architecture.md).

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust files below a folder of the project, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten()
        {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

fn all() -> Vec<(String, String)> {
    ["policy", "resolve", "interp", "supervisor", "tests", "fuzz"].into_iter().flat_map(sources).collect()
}

#[test]
fn unsafe_code_stands_only_in_its_folders() {
    for (name, text) in ["policy", "resolve", "supervisor"].into_iter().flat_map(sources) {
        let fenced = name.starts_with("supervisor/src/sys/");
        assert!(fenced || !text.contains("allow(unsafe_code)"), "{name} allows unsafe code outside of sys/");
    }
}

#[test]
fn unsafe_blocks_are_argued_wherever_they_stand() {
    let text = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    for lints in ["Cargo.toml", "interp/Cargo.toml"] {
        assert!(text(lints).contains("undocumented_unsafe_blocks = \"deny\""), "{lints}");
    }
    for member in ["policy", "resolve", "supervisor"] {
        let manifest = text(&format!("{member}/Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member} has lints of its own");
    }
    for (name, text) in all() {
        let lifted = ["allow", "expect", "warn"].map(|level| format!("{level}(clippy::undocumented_unsafe"));
        assert!(!lifted.iter().any(|level| text.contains(level)), "{name} need not argue");
    }
}

#[test]
fn dependencies_point_one_way() {
    // Nobody names what stands behind it.
    let order = [
        "sys", "settings", "rules", "guest", "store", "index", "report", "plan", "pipeline", "engine",
        "serve", "doctor", "cli",
    ];
    for (index, room) in order.iter().enumerate() {
        for (name, text) in sources("supervisor/src") {
            let inside = name.starts_with(&format!("supervisor/src/{room}/"));
            if !inside && name != format!("supervisor/src/{room}.rs") {
                continue;
            }
            for upper in &order[index + 1..] {
                let named = text.contains(&format!("crate::{upper}::"));
                assert!(!named, "{name} names {upper}, which stands above {room}");
            }
        }
    }
}

#[test]
fn leaves_know_nobody() {
    for leaf in ["policy", "resolve", "interp"] {
        let manifest = fs::read_to_string(root().join(leaf).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        assert!(!dependencies.contains("sonde"), "{leaf} depends on another part of Sonde");
    }
}

#[test]
fn every_file_says_why_it_exists() {
    for (name, text) in all() {
        assert!(text.starts_with("//!"), "{name} does not begin with a module comment");
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for (name, text) in all() {
        let lines = text.lines().count();
        assert!(lines <= 550, "{name} has {lines} lines");
    }
}

#[test]
fn nothing_is_left_for_later_without_a_number() {
    let marks = ["TO", "FIX", "XX"].map(|mark| {
        mark.to_owned()
            + if mark == "XX" {
                "X"
            } else if mark == "TO" {
                "DO"
            } else {
                "ME"
            }
    });
    for (name, text) in all() {
        for mark in &marks {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(mark.as_str())) {
                assert!(line.contains('#'), "{name}:{}: {mark} without an issue's number", number + 1);
            }
        }
    }
}
