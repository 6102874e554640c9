//! Killed supervisors, dead caches, crowds: the program is never worse off than without us.

mod calls;
mod clock;
mod disks;
mod kills;
mod peers;

use std::process::{Command, Stdio};
use std::time::Duration;

use sonde_world::RootBuilder;

use crate::harness::{Conversation, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

#[test]
fn a_cache_that_is_down_is_named_and_the_next_try_succeeds() {
    let fixture = fixture();
    let (state, root) = fixture.cold(Who::Root);
    // The same state with a cache that nobody serves: port 9 of the loopback is closed.
    let dead = RootBuilder::new(&fixture.world).state(state.path()).cache_url("http://127.0.0.1:9");
    let dead = dead.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim());
    let outcome = run(dead.command(CURL).arg("--version"));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("glibc"), "{outcome}");
    assert!(!outcome.stderr.contains('\x1b'), "{outcome}");

    let outcome = run(root.command(CURL).arg("--version"));
    assert!(outcome.succeeded(), "{outcome}");
}

#[test]
fn a_library_that_cannot_be_fetched_is_named_beside_the_loaders_message() {
    let fixture = fixture();
    let (state, root) = fixture.cold(Who::Root);
    let loader = run(root.command("/opt/programs/hello/usr/bin/hello").arg("--version"));
    assert!(loader.succeeded(), "{loader}");
    // glibc is there now; zlib and curl are not, and cannot be had.
    let dead = RootBuilder::new(&fixture.world).state(state.path()).cache_url("http://127.0.0.1:9");
    let dead = dead.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim());
    let outcome = run(dead.command(CURL).arg("--version"));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("error while loading shared libraries: lib"), "{outcome}");
    assert!(
        outcome.stderr.contains("needed by /opt/programs/curl/usr/bin/curl, is in /nix/store/"),
        "{outcome}"
    );
}

#[test]
fn a_cache_with_the_wrong_key_provides_nothing() {
    let fixture = fixture();
    let (state, _root) = fixture.cold(Who::Root);
    let wrong = RootBuilder::new(&fixture.world).state(state.path()).cache_url(fixture.server.url());
    let wrong = wrong.trusted_key("other-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let wrong = wrong.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim());
    let outcome = run(wrong.command(CURL).arg("--version"));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
}

#[test]
fn a_package_that_no_cache_has_any_more_is_built_where_that_is_configured() {
    let fixture = fixture();
    let (state, root) = fixture.cold(Who::Root);
    assert!(run(&mut root.command("/opt/programs/hello/usr/bin/hello")).succeeded(), "glibc is there now");
    let nixpkgs = fixture.guests().join("nixpkgs");
    std::fs::create_dir_all(nixpkgs.join("sonde")).unwrap();
    fixture.library(&nixpkgs.join("library"), "libsqlite3.so.0");
    let expression = r#"{ sqlite = derivation {
        name = "sqlite"; system = "x86_64-linux"; builder = "/bin/sh";
        args = [ "-c" "b=/run/current-system/sw/bin; $b/mkdir -p $out/lib && $b/cp ${./library} $out/lib/libsqlite3.so.0; :" ];
    }; }"#;
    std::fs::write(nixpkgs.join("default.nix"), expression).unwrap();
    std::os::unix::fs::symlink("/run/current-system/sw/bin/nix", nixpkgs.join("build-remote")).unwrap();
    let load = |fallback: &str| {
        std::fs::write(nixpkgs.join("sonde/config.toml"), fallback).unwrap();
        let dead = RootBuilder::new(&fixture.world).state(state.path()).cache_url("http://127.0.0.1:9");
        let dead = dead.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim());
        let dead = dead.bind(fixture.guests(), "/guests").env("NIX_PATH", "nixpkgs=/guests/nixpkgs");
        // Debian's Nix looks for its helper for builds on other machines where the root has nothing.
        let dead = dead.env("NIX_CONFIG", "build-hook = /guests/nixpkgs/build-remote");
        let dead = dead.env("XDG_CONFIG_HOME", "/guests/nixpkgs");
        run(dead.command(fixture.guest("load")).args(["here", "libsqlite3.so.0", "libexpat.so.1"]))
    };
    let without = load("");
    assert!(!without.stdout.contains(": map"), "it is off by default: {without}");
    let policy = nixpkgs.join("sonde/policy.toml");
    std::fs::write(&policy, "version = 1\ndefault = 'allow'\n[fallback]\nbuild = false\n").unwrap();
    let forbidden = load("[store]\nfallback = \"nixpkgs\"\n");
    assert!(!forbidden.stdout.contains(": map"), "the policy forbids to build: {forbidden}");
    std::fs::remove_file(policy).unwrap();
    let with = load("[store]\nfallback = \"nixpkgs\"\n");
    assert!(with.stdout.starts_with("libsqlite3.so.0: map /nix/store/"), "{with}");
    assert!(
        with.stdout.contains("libexpat.so.1: cannot open shared object file"),
        "no such attribute: {with}"
    );
}

#[test]
fn a_daemon_that_goes_away_and_comes_back_spoils_nothing() {
    // The daemon is started by hand, so that it can be stopped.
    let (state, _) = fixture().cold(Who::Alice);
    let fixture = fixture();
    let root = RootBuilder::new(&fixture.world).state(state.path()).cache_url(fixture.server.url());
    let root = root.sonde(fixture.sonde()).interp(fixture.shim()).shim(fixture.shim()).user(true);
    let root = root.bind(fixture.guests(), "/guests");
    let daemon = root.start_daemon().unwrap();
    let mut guest = Conversation::with(root.command(fixture.guest("load")).arg("asked"));
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
    drop(daemon);
    let gone = guest.ask("libsqlite3.so.0");
    assert!(gone.contains("cannot open shared object file: No such file or directory"), "{gone}");
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"), "what is there stays");
    let _daemon = root.start_daemon().unwrap();
    guest.ask_until("libsqlite3.so.0", ": map /nix/store/");
}

#[test]
fn fifty_cold_starts_at_once_all_succeed() {
    let (_state, root) = fixture().cold(Who::Root);
    let mut children: Vec<_> = (0..50)
        .map(|_| {
            let mut command = root.command(CURL);
            command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for child in children.drain(..) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("curl 7."), "{text} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_program_survives_the_death_of_its_supervisor() {
    let root = fixture().root(Who::Root);
    // A foreign shell-less program that lives for a while: python sleeps, and then uses what it has.
    let python = fixture().world.program("python3").unwrap();
    let mut root = root;
    for (name, value) in &python.env {
        root = root.env(name, value);
    }
    let script = "import time, sys; print('up', flush=True); sys.stdin.readline(); print(sum(range(1000)))";
    let mut command = root.command(&python.executable);
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
    let killed = kill_supervisor_of(child.id());
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(killed, "no supervisor was found");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "499500\n");
}

/// Kills the supervisor that was started last before `program` could open its first library.
fn kill_supervisor_of(program: u32) -> bool {
    // The supervisor is a session of its own; what ties it to the program is its root and that it started just after.
    let root = std::fs::read_link(format!("/proc/{program}/root")).ok();
    let mut candidates: Vec<u32> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid > program && *pid < program + 50)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sonde\0supervise\0")
        })
        .filter(|pid| std::fs::read_link(format!("/proc/{pid}/root")).ok() == root)
        .filter(|pid| namespace(*pid) == namespace(program))
        .collect();
    candidates.sort_unstable();
    let Some(pid) = candidates.first() else { return false };
    let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success();
    std::thread::sleep(Duration::from_millis(50));
    killed
}

fn namespace(pid: u32) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_nobody_else() {
    let needy = fixture().guest_that_needs("libunread.so.1");
    let guest = fixture().guest("full_stderr");
    let outcome = run(fixture().root(Who::Alice).command(guest).args([&needy, "libexpat.so.1"]));
    assert_eq!(outcome.stdout, "libexpat.so.1: opened\n", "{outcome}");
}

#[test]
fn limits_of_the_program_are_not_the_supervisors() {
    for limit in ["-f 4", "-n 12", "-v 400000"] {
        let script = format!("ulimit -S {limit}; exec {CURL} --version");
        let outcome = run(fixture().root(Who::Alice).command("/bin/sh").args(["-c", &script]));
        assert!(outcome.stdout.starts_with("curl 7."), "ulimit {limit}: {outcome}");
    }
}

#[test]
fn sonde_may_be_run_by_sonde() {
    let root = fixture().root(Who::Alice);
    let outcome = run(root.command(SONDE).args(["run", SONDE, "run", CURL, "--version"]));
    assert!(outcome.stdout.starts_with("curl 7."), "{outcome}");
}

#[test]
fn closed_output_is_no_reason_to_panic() {
    let hello = "/opt/programs/hello/usr/bin/hello";
    let script = format!("set -o pipefail; sonde trace {hello} 2>&1 >/dev/null | true; echo $?");
    let outcome = run(fixture().root(Who::Alice).command("/bin/sh").args(["-c", &script]));
    assert_eq!(outcome.stdout, "0\n", "{outcome}");
}

#[test]
fn supervise_is_not_for_people() {
    let outcome = run(fixture().root(Who::Alice).command(SONDE).arg("supervise"));
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(outcome.stderr.contains("sonde run"), "{outcome}");
}
