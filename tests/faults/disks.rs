//! Folders that cannot be written: full, or read-only. Programs are served all the same, or told what is the matter, and
//! when there is room again nothing has to be mended.

use sonde_world::RootBuilder;

use crate::harness::{Engine, Outcome, Who, fixture, run};

const LIBRARIES: &str = "libpng16.so.16 libexpat.so.1";

/// Where Sonde writes, below the home folder, and whether packages can be had without it.
const FOLDERS: [(&str, bool); 7] = [
    (".cache/sonde/served", true),
    (".cache/sonde/plans", true),
    (".cache/sonde/symbols", true),
    // Nothing would protect what is fetched from garbage collection.
    (".local/state/sonde/roots", false),
    (".local/state/sonde", false),
    // Door and lock.
    ("runtime/sonde", true),
    (".cache/sonde/index", true),
];

/// What is the matter with a folder, as commands that make it so of a small disk in its place.
const MATTERS: [(&str, &str); 3] = [
    (
        "no room",
        "$disk mount $folder size=8k,mode=700 && { cp -a $kept/. $folder; head -c 100k /dev/zero >$folder/full; } 2>/dev/null; \
         ! echo more >>$folder/full 2>/dev/null",
    ),
    ("no inode", "$disk mount $folder nr_inodes=1,mode=700 && ! mkdir $folder/new 2>/dev/null"),
    (
        "read-only",
        "$disk mount $folder mode=700 && cp -a $kept/. $folder && $disk read-only $folder && ! mkdir $folder/new 2>/dev/null",
    ),
];

fn shell(root: &RootBuilder, script: &str) -> Outcome {
    run(root.command("/bin/sh").args(["-c", script]))
}

#[test]
fn a_folder_that_is_full_or_read_only_costs_nobody_their_program() {
    let fixture = fixture();
    let load = fixture.guest("load");
    let disk = fixture.compile("disk", "disk", &["-static"]);
    for engine in [Engine::Seccomp, Engine::Inline] {
        let (_state, root) = fixture.cold(Who::Root);
        let root =
            fixture.under(engine, root).env("XDG_RUNTIME_DIR", "/root/runtime").env("SONDE_LOG", "warn");
        let first = shell(&root, &format!("mkdir -m 700 ~/runtime; {load} here {LIBRARIES}"));
        assert!(first.succeeded(), "{first}");
        for (folder, is_served) in FOLDERS {
            for (matter, make_it_so) in MATTERS {
                // A full index folder is one in which the index is missing.
                if folder.ends_with("index") && matter != "read-only" {
                    continue;
                }
                let script = format!(
                    "cd ~; disk={disk} folder=$PWD/{folder} kept=$(mktemp -d); mkdir -p $folder; cp -a $folder/. $kept; \
                     {{ {make_it_so}; }} || echo not so; rm -rf .cache/sonde/plans/* .cache/sonde/served/* 2>/dev/null; \
                     for start in 1 2; do {load} here {LIBRARIES}; echo status $?; done; $disk unmount $folder || echo not so; \
                     echo next; rm -rf .cache/sonde/plans/*; {load} here {LIBRARIES}; grep -h panicked .local/state/sonde/*.log"
                );
                let outcome = shell(&root, &script);
                let case = format!("{folder}, {matter}, under {engine:?}: {outcome}");
                assert!(!outcome.stdout.contains("not so"), "{case}");
                let (meanwhile, next) = outcome.stdout.split_once("next\n").unwrap();
                let served = meanwhile.matches(": map /nix/store/").count();
                assert!(served == 4 || !is_served && outcome.stderr.contains("sonde: "), "{case}");
                assert_eq!(next.matches(": map /nix/store/").count(), 2, "afterwards, {case}");
                assert!(!next.contains("panicked"), "{case}");
            }
        }
    }
}

#[test]
fn an_embedded_store_that_is_full_or_read_only_says_so_and_goes_on_when_it_is_not() {
    let fixture = fixture();
    let load = fixture.guest("load");
    let disk = fixture.compile("disk", "disk", &["-static"]);
    let (_state, root) = fixture.embedded(Who::Root, &fixture.server.url());
    let matters = [
        ("No space left on device", "! head -c 300m /dev/zero >$folder/full 2>/dev/null", "rm $folder/full"),
        ("Read-only file system", "$disk read-only $folder", "$disk writable $folder"),
    ];
    for (words, begins, ends) in matters {
        let script = format!(
            "cd ~; disk={disk} folder=$PWD/.local/share/sonde/store; rm -rf .cache/sonde/plans .local/state/sonde; \
             mkdir -p $folder; $disk mount $folder size=200m && {begins} || echo not so; \
             {load} here {LIBRARIES}; echo status $?; {ends}; sleep 2; echo next; {load} here {LIBRARIES}; \
             $disk unmount $folder"
        );
        let outcome = shell(&root, &script);
        let (meanwhile, next) = outcome.stdout.split_once("next\n").unwrap();
        assert_eq!(meanwhile, "status 127\n", "{outcome}");
        assert!(outcome.stderr.contains("sonde: ") && outcome.stderr.contains(words), "{outcome}");
        assert_eq!(next.matches(": map ").count(), 2, "{outcome}");
    }
}
