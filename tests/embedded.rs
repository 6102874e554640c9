//! Programs that get their libraries from the embedded store, which nothing has mounted at `/nix/store`.

use sonde_world::RootBuilder;
use sonde_world::serve::CacheServer;

use crate::harness::{Conversation, EVERYBODY, SONDE, Who, fixture, output, proves, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

#[test]
fn every_program_runs_as_it_does_natively() {
    for who in EVERYBODY {
        let (_state, root) = fixture().embedded(who, &fixture().server.url());
        let in_nix_store = || run(root.command("/bin/sh").args(["-c", "echo /nix/store/*"])).stdout;
        let before = in_nix_store();
        for program in fixture().world.programs() {
            let with = |mut root: RootBuilder| {
                for (name, value) in &program.env {
                    root = root.env(name, value);
                }
                output::run_with(root.command(&program.executable).args(&program.args), &program.stdin)
            };
            let (native, outcome) = (with(fixture().native(who)), with(root.clone()));
            assert!(proves(program, &outcome.stdout), "{} as {who:?}: {outcome}", program.name);
            assert_eq!(outcome.stdout, native.stdout, "{} as {who:?}", program.name);
            assert_eq!(outcome.stderr, native.stderr, "{} as {who:?}", program.name);
        }
        assert_eq!(before, in_nix_store(), "something came into the Nix store");
    }
}

#[test]
fn libraries_say_that_they_lie_in_the_store() {
    let (_state, root) = fixture().embedded(Who::Alice, &fixture().server.url());
    let libraries = ["libpng16.so.16", "libsqlite3.so.0", "libxml2.so.2"];
    for way in ["here", "fork", "threads", "alarms"] {
        let outcome = run(root.command(fixture().guest("load")).arg(way).args(libraries));
        assert!(outcome.succeeded(), "{way}: {outcome}");
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), libraries.len(), "{way}: {outcome}");
    }
}

#[test]
fn a_module_is_found_by_its_path() {
    let module = "/usr/lib/x86_64-linux-gnu/krb5/plugins/preauth/spake.so";
    for who in EVERYBODY {
        let (_state, root) = fixture().embedded(who, &fixture().server.url());
        let outcome = run(root.command(fixture().guest("load")).args(["here", module]));
        assert!(outcome.stdout.starts_with(&format!("{module}: map {module} ")), "{outcome}");
    }
}

#[test]
fn the_trace_has_the_same_libraries_as_with_nix() {
    let libraries = |root: &RootBuilder| {
        let outcome = run(root.command(SONDE).args(["trace", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{outcome}");
        let lines = outcome.stderr.lines().filter_map(|line| Some(&line[line.find("/nix/store/")?..]));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (_state, root) = fixture().embedded(Who::Alice, &fixture().server.url());
    let embedded = libraries(&root);
    assert!(embedded.len() > 20, "{embedded:?}");
    assert_eq!(embedded, libraries(&fixture().without_shim(Who::Alice)));
}

#[test]
fn a_cache_that_goes_away_and_comes_back_spoils_nothing() {
    let server = CacheServer::start(&fixture().world.cache(), 0).unwrap();
    let (_state, root) = fixture().embedded(Who::Alice, &server.url());
    let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut guest = Conversation::with(root.command(fixture().guest("load")).arg("asked"));
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
    drop(server);
    let gone = guest.ask("libsqlite3.so.0");
    assert!(gone.contains("cannot open shared object file: No such file or directory"), "{gone}");
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"), "what is there stays");
    let _server = CacheServer::start(&fixture().world.cache(), port).unwrap();
    guest.ask_until("libsqlite3.so.0", ": map /nix/store/");
    let verified = run(root.command(SONDE).args(["store", "verify"]));
    assert!(verified.succeeded(), "{verified}");
}

#[test]
fn offline_nothing_is_fetched_and_what_is_there_is_had() {
    let (_state, root) = fixture().embedded(Who::Alice, &fixture().server.url());
    for command in ["run", "trace"] {
        let outcome = run(root.command(SONDE).args([command, "--offline", CURL, "--version"]));
        assert!(outcome.stderr.contains("offline: /nix/store/"), "{command}: {outcome}");
        assert_eq!(outcome.stdout, "", "{command}: {outcome}");
    }
    assert_eq!(run(root.command(SONDE).args(["store", "list"])).stdout, "");
    assert!(run(root.command(SONDE).args(["run", CURL, "--version"])).succeeded());
    for command in ["run", "trace"] {
        let outcome = run(root.command(SONDE).args([command, "--offline", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{command}: {outcome}");
    }
    let environment = run(root.command(SONDE).args(["run", "--offline", "/run/current-system/sw/bin/env"]));
    assert!(!environment.stdout.contains("OFFLINE"), "{environment}");
}
