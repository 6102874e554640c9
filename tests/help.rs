//! Help, manual pages and completions agree with each other, and a real bash understands its completions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::harness::{Outcome, run};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "nushell", "zsh"];

/// As on any machine: nothing of the world is needed to say what the command is.
fn sonde(words: &[&str]) -> Outcome {
    run(Command::new(env!("CARGO_BIN_EXE_sonde")).args(words).env_remove("CLICOLOR_FORCE"))
}

/// The manual pages, by the words behind `sonde` of the command that each is of.
fn pages(folder: &Path) -> Vec<(Vec<String>, String)> {
    let outcome = sonde(&["man", folder.to_str().unwrap()]);
    assert!(outcome.succeeded() && outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{outcome}");
    let files = fs::read_dir(folder).unwrap().flatten();
    files
        .map(|file| {
            let name = file.file_name().into_string().unwrap();
            let words = name.strip_suffix(".1").unwrap().split('-').skip(1).map(str::to_owned).collect();
            (words, fs::read_to_string(file.path()).unwrap().replace("\\-", "-"))
        })
        .collect()
}

/// Long options at the beginning of lines that describe one.
fn options(text: &str, line: &str) -> BTreeSet<String> {
    let pattern = Regex::new(line).unwrap();
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// What bash offers behind a command line whose last word is begun.
fn completed(words: &[&str]) -> BTreeSet<String> {
    let script = format!(
        "source <({sonde} completions bash) && COMP_WORDS=({words}) COMP_CWORD={last} && \
         _sonde sonde '{current}' '{previous}' && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        sonde = env!("CARGO_BIN_EXE_sonde"),
        words = words.join(" "),
        last = words.len() - 1,
        current = words[words.len() - 1],
        previous = words[words.len() - 2],
    );
    let outcome = run(Command::new("bash").args(["--norc", "-c", &script]));
    assert!(outcome.stderr.is_empty(), "{words:?}: {outcome}");
    outcome.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn each_option_is_in_help_page_and_completion_and_in_none_alone() {
    let folder = tempfile::tempdir().unwrap();
    let pages = pages(folder.path());
    assert!(pages.len() > 20, "{}", pages.len());
    for (words, page) in &pages {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let help = sonde(&[&words[..], &["--help"]].concat());
        assert!(help.succeeded(), "{help}");
        let helped = options(&help.stdout, r"(?m)^ +(?:-\w, )?(--[a-z][a-z-]*)");
        let described = options(page, r"(?m)^(?:\\fB-\w\\fR, )?\\fB(--[a-z][a-z-]*)\\fR");
        assert_eq!(helped, described, "{words:?}");
        let offered = completed(&[&["sonde"], &words[..], &["--"]].concat());
        assert_eq!(helped, offered, "{words:?}");
    }
}

#[test]
fn each_command_is_in_help_page_and_completion_and_in_none_alone() {
    let folder = tempfile::tempdir().unwrap();
    let pages = pages(folder.path());
    for (words, page) in &pages {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let all = pages.iter().map(|(other, _)| other);
        let below = all.filter(|other| other.len() == words.len() + 1 && other[..words.len()] == words[..]);
        let below: BTreeSet<String> = below.map(|other| other[words.len()].clone()).collect();
        if below.is_empty() {
            continue;
        }
        let help = sonde(&[&words[..], &["--help"]].concat()).stdout;
        let listed = options(&help, r"(?m)^  ([a-z]+)  ");
        assert_eq!(
            listed.iter().filter(|name| *name != "help").cloned().collect::<BTreeSet<_>>(),
            below,
            "{help}"
        );
        let offered = completed(&[&["sonde"], &words[..], &[""]].concat());
        let offered: BTreeSet<String> = offered.into_iter().filter(|word| !word.starts_with('-')).collect();
        assert_eq!(offered, below, "{words:?}");
        assert!(below.iter().all(|name| page.contains(&format!("-{name}(1)"))), "{page}");
    }
}

#[test]
fn every_shell_has_completions_and_what_is_hidden_is_in_none() {
    for shell in SHELLS {
        let outcome = sonde(&["completions", shell]);
        assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{outcome}");
        assert!(outcome.stdout.contains("store-mode") && !outcome.stdout.contains("supervise"), "{outcome}");
    }
    let unknown = sonde(&["completions", "csh"]);
    assert!(
        unknown.code() == Some(2) && unknown.stderr.contains("bash, elvish, fish, nushell, zsh"),
        "{unknown}"
    );
}

/// What package.nix runs for them, with nixpkgs' functions replaced by ones that look at what they are given.
#[test]
fn the_nix_package_installs_a_page_of_each_command_and_completions_for_each_shell() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nixos-module/package.nix");
    let package = fs::read_to_string(path).unwrap();
    let (_, behind) = package.split_once("canExecute stdenv.hostPlatform) ''\n").unwrap();
    let (script, _) = behind.split_once("'';").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sonde"), out.join("bin/sonde")).unwrap();
    let functions = "set -eu; installManPage() { echo \"pages $#\"; }; installShellCompletion() { shift 2; \
                     while [ $# -gt 0 ]; do echo \"$1 $(wc -l < \"$2\")\"; shift 2; done; }";
    let script =
        format!("{functions}\n{script}\ncd \"$out\"; wc -l share/*/*/*/sonde.nu share/*/lib/sonde.elv");
    let outcome = run(Command::new("bash").args(["-c", &script]).current_dir(folder.path()).env("out", &out));
    assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{outcome}");
    let counts =
        Regex::new(r"(?m)^(?:pages|--bash|--fish|--zsh) (\d+)$|^ *(\d+) share/.*/sonde\.(?:nu|elv)$")
            .unwrap();
    let counts: Vec<u32> = counts
        .captures_iter(&outcome.stdout)
        .map(|found| found.get(1).or(found.get(2)).unwrap().as_str().parse().unwrap())
        .collect();
    assert!(counts.len() == 6 && counts.iter().all(|count| *count > 20), "{outcome}");
}

#[test]
fn alone_it_says_what_to_try_and_colours_are_for_terminals() {
    let alone = sonde(&[]);
    assert!(alone.succeeded() && alone.stderr.is_empty(), "{alone}");
    for line in ["sonde index update", "sonde run ./program", "sonde doctor ./program", "sonde --help"] {
        assert!(alone.stdout.contains(line), "{alone}");
    }
    let terminal = |variables: &str| {
        let line = format!("{variables} {} run --help", env!("CARGO_BIN_EXE_sonde"));
        run(Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR"))
    };
    assert!(terminal("").stdout.contains("\x1b["), "{}", terminal(""));
    for nothing in [terminal("NO_COLOR=1"), sonde(&["run", "--help"]), sonde(&["--help"]), alone] {
        assert!(nothing.succeeded() && !nothing.stdout.contains('\x1b'), "{nothing}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let outcome = sonde(&["man", "/proc/none"]);
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(outcome.stderr.starts_with("sonde: /proc/none: "), "{outcome}");
}
