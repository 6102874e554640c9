//! Dropping in for nix-ld: its variables mean here what they mean there, and what runs there runs here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use sonde_world::RootBuilder;

use super::nix_built::built_by_nix;
use crate::harness::{EVERYBODY, LOADER, SHIM, SONDE, Who, fixture, run};

const VARIABLE: &str = "NIX_LD_LIBRARY_PATH";
/// Arguments for programs that need something and do nothing.
const ENDS: [&str; 2] = ["exit", "0"];

const HELLO: &str = "/opt/programs/hello/usr/bin/hello";

/// In no package of the world.
const SONAME: &str = "libseeded.so.1";

/// A folder with a library of this name; returns its path inside the root.
fn folder_with(name: &str, soname: &str) -> String {
    let folder = fixture().guests().join("seeds").join(name);
    fs::create_dir_all(&folder).unwrap();
    if !folder.join(soname).exists() {
        let own = folder.join(format!("{soname}.{}", std::process::id()));
        fixture().library(&own, soname);
        // Tests run side by side, and a library is there or is not.
        fs::rename(own, folder.join(soname)).unwrap();
    }
    format!("/guests/seeds/{name}")
}

/// Where `load` finds a library.
#[track_caller]
fn found(root: &RootBuilder, library: &str) -> String {
    let outcome = run(root.command(fixture().guest("load")).args(["here", library]));
    let words: Vec<&str> = outcome.stdout.split_whitespace().collect();
    words.get(2).unwrap_or_else(|| panic!("{outcome}")).to_string()
}

/// The root with a configuration of the machine's.
pub(super) fn configured(root: RootBuilder, name: &str, files: &[(&str, &str)]) -> RootBuilder {
    let folder = fixture().guests().join("configuration").join(name);
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    root.bind(folder, "/etc/sonde")
}

/// A copy of a loader of the root's that says it belongs to another glibc, beside links to the rest of the glibc.
pub(super) fn loader_of_version(version: &str) -> String {
    let system = fixture().world.system_path().unwrap();
    let here = fixture().world.on_host(&system).join("lib");
    let folder = fixture().guests().join(format!("glibc-{version}"));
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(here).unwrap().flatten() {
        let target = PathBuf::from(format!("{system}/lib")).join(entry.file_name());
        let _ = symlink(target, folder.join(entry.file_name()));
    }
    let loader = folder.join("ld-linux-x86-64.so.2");
    let mut bytes = fs::read(fixture().world.on_host(&format!("{system}/lib/ld-linux-x86-64.so.2"))).unwrap();
    let words = b"release version 2.";
    let at = bytes.windows(words.len()).position(|window| window == words).unwrap() + words.len();
    bytes[at..at + 2].copy_from_slice(&version.as_bytes()[2..4]);
    fs::remove_file(&loader).unwrap();
    fs::write(&loader, bytes).unwrap();
    format!("/guests/glibc-{version}/ld-linux-x86-64.so.2")
}

#[test]
fn a_library_that_a_program_is_linked_against_comes_from_the_folder() {
    let program = fixture().guest_that_needs(SONAME);
    let folder = folder_with("needed", SONAME);
    for who in EVERYBODY {
        let root = fixture().root(who);
        let without = run(root.command(&program).args(ENDS));
        assert_eq!(without.code(), Some(127), "{without}");
        for name in [VARIABLE, "NIX_LD_LIBRARY_PATH_x86_64_linux"] {
            let with = run(root.clone().env(name, &folder).command(&program).args(ENDS));
            assert!(with.succeeded() && with.stderr.is_empty(), "{with}");
        }
        // The name for the system stands in place of the general one.
        let both = root.env(VARIABLE, &folder).env("NIX_LD_LIBRARY_PATH_x86_64_linux", "/none");
        assert_eq!(run(both.command(&program).args(ENDS)).code(), Some(127));
    }
}

#[test]
fn dlopen_finds_it_too_by_name_and_where_distributions_have_it() {
    let folder = folder_with("opened", SONAME);
    for who in EVERYBODY {
        let root = fixture().root(who).env(VARIABLE, &folder);
        assert_eq!(found(&root, SONAME), format!("{folder}/{SONAME}"));
        let by_path = format!("/usr/lib/x86_64-linux-gnu/{SONAME}");
        assert_eq!(found(&root, &by_path), by_path);
        let outcome = run(root.command(fixture().guest("load")).args(["fork", SONAME]));
        assert!(outcome.stdout.contains(&format!("map {folder}/{SONAME}")), "{outcome}");
    }
}

#[test]
fn it_comes_before_the_index_and_after_what_the_program_finds_itself() {
    let folder = folder_with("order", "libz.so.1");
    let own = folder_with("own", "libz.so.1");
    for who in EVERYBODY {
        let root = fixture().root(who);
        assert!(found(&root, "libz.so.1").starts_with("/nix/store/"));
        let root = root.env(VARIABLE, &folder);
        assert_eq!(found(&root, "libz.so.1"), format!("{folder}/libz.so.1"));
        let root = root.env("LD_LIBRARY_PATH", &own);
        assert_eq!(found(&root, "libz.so.1"), format!("{own}/libz.so.1"));
    }
}

#[test]
fn a_link_into_the_store_is_followed_to_the_package() {
    let root = fixture().root(Who::Alice);
    let real = found(&root, "libexpat.so.1");
    let folder = fixture().guests().join("seeds/links");
    fs::create_dir_all(&folder).unwrap();
    let _ = symlink(&real, folder.join("libexpat.so.1"));
    let root = root.env(VARIABLE, "/guests/seeds/links");
    assert_eq!(found(&root, "libexpat.so.1"), real, "so that $ORIGIN is the package's");
}

#[test]
fn the_environment_of_programs_and_their_children_stays_as_it_was() {
    let folder = folder_with("environment", SONAME);
    let print = fixture().guest("environment");
    for who in EVERYBODY {
        let native = fixture().native(who).env(VARIABLE, &folder).env("LD_LIBRARY_PATH", "/tmp/own");
        let root = fixture().root(who).env(VARIABLE, &folder).env("LD_LIBRARY_PATH", "/tmp/own");
        let expected = run(&mut native.command(&print));
        let library_paths = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains("LIBRARY_PATH")).map(str::to_owned).collect()
        };
        assert_eq!(library_paths(&expected.stdout).len(), 2, "{expected}");
        let own = run(&mut root.command(&print));
        assert_eq!(library_paths(&own.stdout), library_paths(&expected.stdout));
        // A foreign child, and one that was built by Nix.
        for child in [&*print, "/run/current-system/sw/bin/env"] {
            let outcome = run(root.command(&print).args(["X=1", child]));
            assert_eq!(library_paths(&outcome.stdout), library_paths(&expected.stdout), "{outcome}");
        }
    }
}

#[test]
fn children_with_another_environment_have_other_folders() {
    let folder = folder_with("children", SONAME);
    let load = fixture().guest("load");
    for who in EVERYBODY {
        let root = fixture().root(who);
        let change = |variables: &[&str]| {
            let command: Vec<&str> = variables.iter().copied().chain([&*load, "here", SONAME]).collect();
            run(root.command(fixture().guest("environment")).args(command)).stdout
        };
        let set = format!("{VARIABLE}={folder}");
        assert!(change(&["X=1"]).contains("cannot open shared object file"));
        assert!(change(&[&set]).contains(&format!("map {folder}/{SONAME}")));
        // The same program once more in one tree, without.
        let unset = format!("{VARIABLE}=");
        let twice = [&*set, &*fixture().guest("environment"), &*unset];
        assert!(change(&twice).contains("cannot open shared object file"));
    }
}

#[test]
fn an_empty_environment_is_enough_for_what_is_configured() {
    let folder = folder_with("configured", SONAME);
    let config = format!("[libraries]\npaths = ['{folder}']\n");
    for who in EVERYBODY {
        let root = configured(fixture().root(who), "folder", &[("config.toml", &config)]).env_clear();
        assert_eq!(run(&mut root.command(HELLO)).stdout, "Hello, world!\n");
        assert_eq!(found(&root, SONAME), format!("{folder}/{SONAME}"));
        let other = folder_with("preferred", SONAME);
        let root = root.env(VARIABLE, &other);
        assert_eq!(found(&root, SONAME), format!("{other}/{SONAME}"), "the program's own come first");
    }
}

#[test]
fn a_program_that_was_built_by_nix_has_them_as_well() {
    let folder = folder_with("nix", SONAME);
    let load = built_by_nix(&fixture().guest("load"), "nix-load");
    let root = fixture().root(Who::Root).env(VARIABLE, &folder);
    let alone = run(root.command(&load).args(["here", SONAME]));
    assert!(alone.stdout.contains("cannot open shared object file"), "{alone}");
    let outcome = run(root.command(SONDE).args(["run", &load, "here", SONAME]));
    assert!(outcome.stdout.contains(&format!("map {folder}/{SONAME}")), "{outcome}");
}

#[test]
fn nix_ld_names_the_loader_unless_the_index_has_a_newer_one() {
    for who in EVERYBODY {
        let root = fixture().root(who);
        let indexs = found(&root, "libm.so.6");
        for (version, wins) in [("2.99", true), ("2.11", false)] {
            let loader = loader_of_version(version);
            let root = root.clone().env("NIX_LD", &loader);
            let libm = found(&root, "libm.so.6");
            assert_eq!(libm != indexs, wins, "{version}: {libm}");
            assert!(!wins || libm == loader.replace("ld-linux-x86-64.so.2", "libm.so.6"), "{libm}");
            // What is chosen from the index runs under it.
            assert!(found(&root, "libz.so.1").starts_with("/nix/store/"));
        }
        let alone = fixture().guests().join("alone");
        fs::create_dir_all(&alone).unwrap();
        let newest = fixture().guests().join("glibc-2.99/ld-linux-x86-64.so.2");
        fs::copy(newest, alone.join("ld.so")).unwrap();
        for unusable in ["/no/such/loader", "/guests/alone/ld.so", "/guests/load"] {
            let root = root.clone().env("NIX_LD", unusable);
            assert_eq!(found(&root, "libm.so.6"), indexs, "{unusable} is passed over");
        }
    }
}

#[test]
fn without_an_index_there_is_what_the_folders_have() {
    let state = tempfile::tempdir().unwrap();
    let system = fixture().world.system_path().unwrap();
    let program = fixture().guest_that_needs(SONAME);
    let folder = folder_with("offline", SONAME);
    let root = RootBuilder::new(&fixture().world)
        .state(state.path())
        .shim(fixture().shim())
        .sonde(fixture().sonde())
        .bind(fixture().guests(), "/guests");
    let without = run(&mut root.clone().command(HELLO));
    assert_eq!(without.code(), Some(127), "{without}");
    assert!(without.stderr.starts_with("sonde: there is no index in /root/.cache/sonde/index;"), "{without}");

    let config = format!("[libraries]\nloader = '{system}/lib/ld-linux-x86-64.so.2'\npaths = ['{folder}']\n");
    let root = configured(root, "no-index", &[("config.toml", &config)]);
    assert_eq!(run(&mut root.command(HELLO)).stdout, "Hello, world!\n");
    // A variable of a session, in a root that has no such path.
    let elsewhere = root.clone().env("NIX_LD", "/run/current-system/sw/share/no/ld.so");
    assert_eq!(run(&mut elsewhere.command(HELLO)).stdout, "Hello, world!\n");
    let outcome = run(root.command(&program).args(ENDS));
    assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{outcome}");
    let outcome = run(root.command(fixture().guest_that_needs("libunseeded.so.1")).args(ENDS));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
}

#[test]
fn of_gccs_runtime_the_newest_is_taken() {
    let program = fixture().guest_that_needs("libstdc++.so.6");
    let package = |version: &str| format!("/nix/store/00000000000000000000000000000000-gcc-{version}-lib");
    for (version, wins) in [("1.0", false), ("99.0", true)] {
        let folder = folder_with(&format!("gcc-{version}"), "libstdc++.so.6");
        let folder = fixture().guests().join(folder.trim_start_matches("/guests/"));
        let place = format!("{}/lib", package(version));
        let root = fixture().root(Who::Root).bind(folder, &place).env(VARIABLE, &place);
        let outcome = run(root.env("LD_DEBUG", "libs").command(&program).args(ENDS));
        let own = format!("trying file={place}/libstdc++.so.6");
        assert!(outcome.succeeded(), "{outcome}");
        assert_eq!(outcome.stderr.contains(&own), wins, "{version}: {outcome}");
    }
}

#[test]
fn the_policy_is_about_packages_and_not_about_these() {
    let folder = folder_with("policy", SONAME);
    let root = fixture().root(Who::Alice).env(VARIABLE, &folder);
    let expat = found(&root, "libexpat.so.1");
    let files = [("policy.toml", "version = 1\ndefault = \"deny\"\n")];
    let root = configured(root, "policy", &files);
    assert!(!found(&root, "libexpat.so.1").starts_with("/nix/store/"), "the policy forbids it");
    assert_eq!(found(&root, SONAME), format!("{folder}/{SONAME}"));
    // The very package that it forbids, if somebody names it.
    let links = fixture().guests().join("seeds/policy-links");
    fs::create_dir_all(&links).unwrap();
    symlink(&expat, links.join("libexpat.so.1")).unwrap();
    assert_eq!(found(&root.env(VARIABLE, "/guests/seeds/policy-links"), "libexpat.so.1"), expat);
}

#[test]
fn the_shim_as_a_command_does_the_same() {
    let folder = folder_with("command", SONAME);
    let program = fixture().guest_that_needs(SONAME);
    for path in [SHIM, LOADER] {
        let root = fixture().root(Who::Alice).env(VARIABLE, &folder);
        let outcome = run(root.command(path).arg(&program).args(ENDS));
        assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{outcome}");
    }
}

#[test]
fn nix_ld_log_asks_for_a_log() {
    let root = fixture().root(Who::Alice).env("XDG_STATE_HOME", "/tmp/nix-ld-log");
    let root = root.env("NIX_LD_LOG", "info");
    assert!(run(&mut root.command(HELLO)).succeeded());
    let log = run(root.command("/bin/sh").args(["-c", "cat /tmp/nix-ld-log/sonde/sonde.log"]));
    assert!(log.stdout.contains("a tree begins"), "{log}");
}

#[test]
fn a_mistake_in_the_configuration_is_told_in_one_line() {
    let files = [("config.toml", "[libraries]\npaths = ['lib']\n")];
    let root = configured(fixture().root(Who::Alice), "mistake", &files);
    let outcome = run(&mut root.command(HELLO));
    let told = "sonde: /etc/sonde/config.toml: `lib` in [libraries] must be an absolute path";
    assert!(outcome.stderr.starts_with(told), "{outcome}");
}
