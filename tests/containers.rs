//! Sandboxes inside of a tree and around one: other roots, other stores, hidden folders. The tools that make them are
//! bubblewrap and Debian's util-linux, as foreign programs.

use std::fs;

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, fixture, run};

const BWRAP: &str = "/bwrap";
const LOAD: &str = "/guests/load";
const EXPAT: &str = "libexpat.so.1";

fn with_tools(root: RootBuilder) -> RootBuilder {
    let _ = fixture().guest("load");
    root.bind(fixture().world.fhs().join("usr/bin"), "/debian").bind("/usr/bin/bwrap", BWRAP)
}

/// The same, where what begins outside of a sandbox and goes on inside is one tree.
fn with_tools_and_trees(root: RootBuilder) -> RootBuilder {
    with_tools(fixture().with_trees(root))
}

/// Runs a program in a sandbox of bubblewrap's that begins as a copy of the root.
fn boxed(root: &RootBuilder, options: &[&str], program: &[&str]) -> Outcome {
    let own = ["--bind", "/", "/", "--dev-bind", "/dev", "/dev"];
    run(root.command(BWRAP).args(own).args(options).args(program))
}

#[track_caller]
fn assert_expat_from_the_store(outcome: &Outcome) {
    assert!(outcome.stdout.starts_with(&format!("{EXPAT}: map /nix/store/")), "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn in_a_sandbox_without_run_and_home_the_tree_is_still_served() {
    let hidden =
        ["--tmpfs", "/run", "--tmpfs", "/home", "--tmpfs", "/root", "--tmpfs", "/tmp", "--tmpfs", "/etc"];
    for who in EVERYBODY {
        for unshared in [&[][..], &["--unshare-all"], &["--unshare-user", "--proc", "/proc", "--new-session"]]
        {
            let (_state, root) = fixture().cold(who);
            let options: Vec<&str> = hidden.iter().chain(unshared).copied().collect();
            assert_expat_from_the_store(&boxed(
                &with_tools_and_trees(root),
                &options,
                &[LOAD, "here", EXPAT],
            ));
        }
    }
}

#[test]
fn a_sandbox_without_run_and_home_still_starts_programs() {
    // Nobody of a tree is outside of it: the sandbox is made by a static program, or by Nix's.
    let system = fixture().world.system_path().unwrap();
    let program = fixture().compile("raised", "with-runpath", &[&format!("-Wl,-rpath,{system}/lib")]);
    let static_hide = fixture().compile("hide", "hide", &["-static"]);
    for who in EVERYBODY {
        let root = fixture().root(who).env("NIX_LD", format!("{system}/lib/ld-linux-x86-64.so.2"));
        let outcome = run(root.command(&static_hide).args(["/run", "/home", "/root", "--", &program]));
        assert!(outcome.succeeded() && outcome.stdout.contains("seccomp 0"), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.contains("no supervisor at /run/current-system/sw/bin/sonde"), "{outcome}");
    }
}

#[test]
fn a_sandbox_with_another_store_is_left_alone() {
    let system = fixture().world.system_path().unwrap();
    let loader = format!("{system}/lib/ld-linux-x86-64.so.2");
    let program = fixture().compile("raised", "with-runpath", &[&format!("-Wl,-rpath,{system}/lib")]);
    for who in EVERYBODY {
        let root = with_tools_and_trees(fixture().root(who)).env("NIX_LD", &loader);
        let other_store = ["--tmpfs", "/nix", "--ro-bind", &system, &system];
        let outcome = boxed(&root, &other_store, &[&program]);
        assert!(outcome.stdout.starts_with("secure 0 "), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert!(outcome.stderr.contains("its /nix/store is another one"), "{outcome}");
        // With none at all there is no loader either.
        let outcome = boxed(&root, &["--tmpfs", "/nix"], &[&program]);
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        let last = outcome.stderr.lines().last().unwrap_or_default();
        assert!(last.contains("cannot run /guests/with-runpath: no loader at"), "{outcome}");
    }
}

#[test]
fn with_the_embedded_store_a_sandbox_needs_to_see_none() {
    for who in EVERYBODY {
        let (_state, root) = fixture().embedded(who, &fixture().server.url());
        let hidden = ["--tmpfs", "/nix", "--tmpfs", "/home", "--tmpfs", "/root"];
        assert_expat_from_the_store(&boxed(&with_tools(root), &hidden, &[LOAD, "here", EXPAT]));
    }
}

#[test]
fn a_root_of_another_distribution_is_left_alone() {
    for who in EVERYBODY {
        let root = with_tools(fixture().root(who)).bind(fixture().world.fhs(), "/fhs");
        let words = ["--user", "--map-root-user", "--mount", "--root", "/fhs", "/usr/bin/ls", "/"];
        let outcome = run(root.command("/debian/unshare").args(words));
        assert_eq!(outcome.stdout, "bin\netc\nlib\nlib64\nsbin\nusr\nvar\n", "{outcome}");
        assert_eq!(outcome.stderr, "", "{outcome}");
    }
}

#[test]
fn paths_are_resolved_in_the_programs_root_and_folder() {
    let needy = fixture().guest_that_needs("libnothere.so.9");
    let own = fixture().guests().join("jail-libraries");
    fs::create_dir_all(&own).unwrap();
    for name in [EXPAT, "libown.so.1"] {
        fixture().library(&own.join(name), name);
    }
    for who in EVERYBODY {
        let (state, root) = fixture().cold(who);
        let root = with_tools_and_trees(root)
            .bind(fixture().shim(), "/jail/lib64/ld-linux-x86-64.so.2")
            .bind(state.path().join("nix"), "/jail/nix")
            .bind(fixture().guests(), "/jail/guests")
            .bind(&own, "/jail/usr/lib")
            .bind("/dev/null", "/jail/dev/null");
        let jailed = |program: &[&str]| {
            let words = ["--user", "--map-root-user", "--root", "/jail", "--wd", "/usr/lib"];
            run(root.command("/debian/unshare").args(words).args(program))
        };
        // What the jail has at such a path is opened, and what it lacks is provided.
        let named = [format!("/usr/lib/{EXPAT}"), "./libown.so.1".into(), "/usr/lib/libz.so.1".into()];
        let outcome = jailed(&[LOAD, "here", &named[0], &named[1], &named[2], "libpng16.so.16"]);
        assert!(outcome.succeeded(), "{outcome}");
        assert!(outcome.stdout.contains("libpng16.so.16: map /nix/store/"), "{outcome}");
        for own in &named {
            assert!(outcome.stdout.contains(&format!("{own}: map {own} ")), "{outcome}");
        }
        // The program is called as in its own root.
        let outcome = jailed(&[&needy, "exit", "0"]);
        assert!(
            outcome.stderr.starts_with(&format!("sonde: libnothere.so.9, needed by {needy}")),
            "{outcome}"
        );
    }
}
