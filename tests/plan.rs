//! `sonde plan` and `sonde prefetch`: where libraries would come from, said without running anything, and fetched ahead of
//! the first start.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::Value;
use sonde_world::RootBuilder;
use sonde_world::serve::CacheServer;

use crate::harness::{EVERYBODY, Outcome, SONDE, Who, cc, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const NIX_INSTANTIATE: &str = "/run/current-system/sw/bin/nix-instantiate";
const HEAD: &str = "version = 1\ndefault = 'allow'\n";

fn sonde(root: &RootBuilder, arguments: &[&str]) -> Outcome {
    run(root.command(SONDE).args(arguments))
}

fn json(root: &RootBuilder, arguments: &[&str]) -> Value {
    let outcome = sonde(root, &[&["plan", "--json"], arguments].concat());
    let plans: Value =
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    assert_eq!(plans["version"], 1);
    assert_eq!(outcome.code().map(i64::from), plans["status"].as_i64(), "{outcome}");
    plans
}

/// Soname and origin of each library of a file.
fn origins<'p>(plans: &'p Value, file: &str) -> Vec<(&'p str, &'p str)> {
    let all = plans["files"].as_array().unwrap();
    let file = all.iter().find(|one| one["file"] == file).unwrap_or_else(|| panic!("no {file}: {plans}"));
    let libraries = file["libraries"].as_array().unwrap().iter();
    libraries.map(|one| (one["soname"].as_str().unwrap(), one["origin"].as_str().unwrap())).collect()
}

/// What there is in both stores.
fn stores(root: &RootBuilder) -> String {
    let script =
        "ls -d /nix/store/* ~/.local/share/sonde/store/nix/store/* ~/.local/state/sonde/roots/* 2>/dev/null";
    run(root.command("/bin/sh").args(["-c", script])).stdout
}

/// Roots with an empty store of each kind.
fn each_store(who: Who, cache: &str) -> [(&'static str, (tempfile::TempDir, RootBuilder)); 2] {
    let (state, root) = fixture().cold(who);
    [("nix", (state, root.cache_url(cache))), ("embedded", fixture().embedded(who, cache))]
}

#[test]
fn the_whole_closure_is_shown_and_nothing_is_fetched_for_it() {
    for who in EVERYBODY {
        for (kind, (_state, root)) in each_store(who, &fixture().server.url()) {
            let before = stores(&root);
            let cold = sonde(&root, &["plan", CURL]);
            assert_eq!((cold.code(), cold.stderr.as_str()), (Some(0), ""), "{kind} as {who:?}: {cold}");
            let row = cold.stdout.lines().find(|line| line.starts_with("  libcurl.so.4 ")).unwrap();
            assert!(row.contains(" to fetch  curl.out ") && row.contains("/nix/store/"), "{cold}");
            let sum = cold.stdout.lines().last().unwrap();
            assert!(
                sum.starts_with("3 packages are to be fetched, ") && sum.contains(" MB to download"),
                "{cold}"
            );
            assert_eq!(stores(&root), before, "{kind} as {who:?}: something was fetched");

            let traced = sonde(&root, &["trace", CURL, "--version"]);
            let path = |line: &str| {
                line.split_whitespace().last().filter(|path| path.starts_with("/nix/")).map(str::to_owned)
            };
            // glibc comes with the loader.
            let given: BTreeSet<String> =
                traced.stderr.lines().filter_map(path).filter(|path| !path.contains("-glibc-")).collect();
            assert!(given.len() > 20, "{traced}");
            let warm = json(&root, &[CURL]);
            let libraries = warm["files"][0]["libraries"].as_array().unwrap();
            let planned: BTreeSet<String> = libraries
                .iter()
                .filter(|one| one["origin"] == "store")
                .map(|one| one["path"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(planned, given, "{kind} as {who:?}");
            assert_eq!((&warm["fetch"]["packages"], &warm["fetch"]["download"]), (&0.into(), &0.into()));
            let tree = sonde(&root, &["plan", CURL]).stdout;
            assert!(tree.contains("\n  libcurl.so.4 ") && tree.contains("\n    libnghttp2.so.14 "), "{tree}");
        }
    }
}

#[test]
fn what_is_missing_is_said_with_who_needs_it() {
    let root = fixture().root(Who::Alice);
    let absent = fixture().guest_that_needs("libplan-absent.so.1");
    let outcome = sonde(&root, &["plan", &absent]);
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    let words = format!("  libplan-absent.so.1, needed by {absent}: no package of the index has it\n");
    assert!(outcome.stdout.ends_with(&format!("1 library is missing:\n{words}")), "{outcome}");
    // A package that was never looked at is not known to lack a version; now it is looked at.
    let unfit = fixture().guest_that_needs_version("libpng16.so.16", "NO_PNG_HAS_THIS_2.0");
    let fetched = sonde(&root, &["prefetch", &unfit]);
    let outcome = sonde(&root, &["plan", &unfit]);
    assert_eq!((fetched.code(), outcome.code()), (Some(127), Some(127)), "{fetched}{outcome}");
    for text in [fetched.stderr, outcome.stdout] {
        assert!(text.contains(&format!("{unfit}: no package has it with NO_PNG_HAS_THIS_2.0")), "{text}");
    }
    let driver = fixture().guest_that_needs("libcuda.so.1");
    let outcome = sonde(&root, &["plan", &driver]);
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(
        outcome.stdout.contains(" excluded ") && outcome.stdout.contains("/run/opengl-driver"),
        "{outcome}"
    );
}

#[test]
fn the_hosts_driver_is_shown() {
    let drivers = fixture().guests().join("plan-drivers/lib");
    fs::create_dir_all(&drivers).unwrap();
    fixture().library(&drivers.join("libcuda.so.1"), "libcuda.so.1");
    let root = fixture().root(Who::Alice).bind(drivers.parent().unwrap(), "/run/opengl-driver");
    let program = fixture().guest_that_needs("libcuda.so.1");
    let plans = json(&root, &[&program]);
    assert!(origins(&plans, &program).contains(&("libcuda.so.1", "host")), "{plans}");
}

#[test]
fn what_cannot_be_run_is_told_apart_from_what_is_not_there() {
    let root = fixture().root(Who::Alice);
    let fifo = fixture().guests().join("plan-fifo");
    let _ = fs::remove_file(&fifo);
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (program, status, words) in [
        ("/guests/plan-fifo", 126, "is not a regular file"),
        ("/etc/passwd", 126, "not an ELF file"),
        ("no-such-command", 127, "not found in PATH"),
        ("/no/such/program", 127, "No such file"),
    ] {
        let outcome = sonde(&root, &["plan", program]);
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (Some(status), ""), "{outcome}");
        assert!(outcome.stderr.contains(program) && outcome.stderr.contains(words), "{outcome}");
        assert_eq!(json(&root, &[program])["files"], Value::Array(Vec::new()));
    }
}

/// An application's folder: a program with its library, a plugin that needs both what lies beside it and a package,
/// links in a circle, and a damaged file.
fn application(name: &str) -> PathBuf {
    let folder = fixture().guests().join(name);
    let _ = fs::remove_dir_all(&folder);
    for inside in ["bin", "lib", "plugins"] {
        fs::create_dir_all(folder.join(inside)).unwrap();
    }
    let own = folder.join("lib/libplan-own.so.1.2");
    fixture().library(&own, "libplan-own.so.1");
    symlink("libplan-own.so.1.2", folder.join("lib/libplan-own.so.1")).unwrap();
    symlink("..", folder.join("lib/circle")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    fixture().library(&scratch.path().join("libz.so"), "libz.so.1");
    fixture().library(&scratch.path().join("libgone.so"), "libplan-gone.so.3");
    let source = scratch.path().join("source.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let own = own.to_str().unwrap();
    let search = format!("-L{}", scratch.path().display());
    let loose = "-Wl,--no-as-needed";
    let (program, plugin) = (folder.join("bin/program"), folder.join("plugins/plugin.so"));
    cc(&source, &program, &[loose, "-Wl,-rpath,$ORIGIN/../lib", own, &search, "-lz"]);
    cc(&source, &plugin, &["-shared", "-fPIC", loose, own, &search, "-lz", "-lgone"]);
    fs::write(folder.join("damaged.so"), b"\x7fELF\x02\x01").unwrap();
    folder
}

#[test]
fn a_folder_is_looked_at_whole() {
    let folder = application("plan-application");
    let root = fixture().root(Who::Alice);
    let inside = "/guests/plan-application";
    let plans = json(&root, &[inside]);
    let files: Vec<&str> =
        plans["files"].as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap()).collect();
    let (program, plugin) = (format!("{inside}/bin/program"), format!("{inside}/plugins/plugin.so"));
    assert_eq!(
        files,
        [program.as_str(), plugin.as_str()],
        "what a program brings along is not looked at again"
    );
    assert!(origins(&plans, &program).contains(&("libplan-own.so.1", "bundled")), "{plans}");
    let of_plugin = origins(&plans, &plugin);
    for expected in [("libplan-own.so.1", "beside"), ("libz.so.1", "store"), ("libplan-gone.so.3", "absent")]
    {
        assert!(of_plugin.contains(&expected), "{expected:?}: {plans}");
    }
    assert_eq!(plans["missing"].as_array().unwrap().len(), 1, "{plans}");
    assert_eq!(plans["missing"][0]["needed_by"][0], plugin.as_str());
    assert_eq!(plans["left_out"][0]["path"], format!("{inside}/damaged.so"));
    let text = sonde(&root, &["plan", inside]);
    assert_eq!(text.code(), Some(127), "{text}");
    assert!(text.stdout.starts_with("1 program, 1 library that no program brings along\n"), "{text}");
    assert_eq!(text.stdout.matches("libz.so.1 ").count(), 1, "each library once: {text}");

    let secret = folder.join("lib/secret");
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let text = sonde(&root, &["plan", inside]);
    assert_eq!(text.code(), Some(126), "{text}");
    assert!(text.stdout.contains(&format!("{inside}/lib/secret: Permission denied")), "{text}");
}

#[test]
fn what_the_policy_forbids_is_said_with_its_rule() {
    let folder = fixture().guests().join("plan-policy");
    fs::create_dir_all(&folder).unwrap();
    let forbidden = |root: &RootBuilder, rule: &str| {
        fs::write(folder.join("policy.toml"), format!("{HEAD}{rule}")).unwrap();
        let policy = ["--policy", "/guests/plan-policy/policy.toml", CURL];
        let prefetched = sonde(root, &[&["prefetch"], policy.as_slice()].concat());
        assert_eq!((prefetched.code(), prefetched.stdout.as_str()), (Some(126), ""), "{prefetched}");
        (json(root, &policy), prefetched.stderr)
    };
    for who in EVERYBODY {
        for (kind, (_state, root)) in each_store(who, &fixture().server.url()) {
            for (rule, soname, words) in [
                ("[[package]]\nrule = 'deny'\nsoname = 'libcurl.so.*'\n", "libcurl.so.4", "curl.out"),
                ("[[package]]\nrule = 'deny'\nattribute = 'nghttp2'\n", "libcurl.so.4", "-nghttp2-"),
                ("[limits]\ndownload-per-start = 1\n", "libcurl.so.4", "would download"),
                ("[limits]\noffline = true\n", "libcurl.so.4", "forbid"),
            ] {
                let (plans, told) = forbidden(&root, rule);
                assert_eq!(plans["status"], 126, "{kind} as {who:?}, {rule}: {plans}");
                assert!(origins(&plans, CURL).contains(&(soname, "forbidden")), "{kind}, {rule}: {plans}");
                let missing = plans["missing"].to_string();
                assert!(
                    missing.contains("/guests/plan-policy/policy.toml:") && missing.contains(words),
                    "{missing}"
                );
                assert!(told.contains("/guests/plan-policy/policy.toml:") && told.contains(words), "{told}");
                assert!(!stores(&root).contains("-curl-7"), "{kind} as {who:?}, {rule}: it was downloaded");
            }
        }
    }
}

#[test]
fn every_form_for_nix_is_an_expression() {
    let root = fixture().root(Who::Root);
    application("plan-export");
    for (format, words) in [
        ("nix-ld", "programs.nix-ld.libraries = [\n    pkgs.curl\n    pkgs.zlib\n  ];"),
        ("nix-inputs", "buildInputs = [\n    pkgs.curl\n    pkgs.zlib\n  ];"),
        ("nix-shell", "pkgs.lib.makeLibraryPath [\n    pkgs.curl\n    pkgs.zlib\n  ];"),
    ] {
        let outcome = sonde(&root, &["plan", "--format", format, CURL, "/guests/plan-export"]);
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        assert!(outcome.stdout.contains(words), "{outcome}");
        assert!(outcome.stdout.contains("# missing: libplan-gone.so.3: "), "{outcome}");
        let file = fixture().guests().join(format!("{format}.nix"));
        fs::write(&file, &outcome.stdout).unwrap();
        let parsed = run(root.command(NIX_INSTANTIATE).args(["--parse", &format!("/guests/{format}.nix")]));
        assert!(parsed.succeeded(), "{format}: {parsed}");
    }
    let cache = sonde(&root, &["plan", "--format", "ldconfig", CURL]);
    let lines: Vec<&str> = cache.stdout.lines().collect();
    assert_eq!(lines[0], format!("{} libs found in cache `/etc/ld.so.cache'", lines.len() - 1), "{cache}");
    assert!(lines[1].starts_with("\tlibz.so.1 (libc6,x86-64) => /nix/store/"), "{cache}");
}

#[test]
fn what_was_prefetched_runs_without_the_cache() {
    let load = fixture().guest("end");
    for who in EVERYBODY {
        for kind in 0..2 {
            let server = CacheServer::start(&fixture().world.cache(), 0).unwrap();
            let (name, (_state, root)) = each_store(who, &server.url()).into_iter().nth(kind).unwrap();
            let offline = |program: &str| sonde(&root, &["run", "--offline", program, "--version"]);
            assert!(!offline(CURL).succeeded(), "{name} as {who:?}: it was there before");
            let before = stores(&root);
            let dry = sonde(&root, &["prefetch", "--dry-run", CURL, &load]);
            assert!(dry.succeeded() && dry.stdout.starts_with("3 packages are to be fetched, "), "{dry}");
            assert_eq!(stores(&root), before, "{name} as {who:?}: a dry run fetched something");

            let fetched = sonde(&root, &["prefetch", CURL, &load]);
            let said = (fetched.code(), fetched.stdout.as_str(), fetched.stderr.as_str());
            assert_eq!(said, (Some(0), "", ""), "{name} as {who:?}");
            assert!(stores(&root).contains("/.local/state/sonde/roots/curl-"), "{name} as {who:?}");
            drop(server);
            let outcome = offline(CURL);
            assert!(outcome.stdout.starts_with("curl 7."), "{name} as {who:?}: {outcome}");
            assert_eq!(outcome.stderr, "", "{name} as {who:?}");
            assert_eq!(sonde(&root, &["plan", "--offline", CURL]).code(), Some(0));
            assert_eq!(sonde(&root, &["prefetch", CURL]).code(), Some(0), "what is there is not asked for");
            let missing = sonde(&root, &["plan", "--offline", "/opt/programs/sqlite3/usr/bin/sqlite3"]);
            assert_eq!(missing.code(), Some(127), "{name} as {who:?}: {missing}");
            assert!(
                missing.stdout.contains(" unavailable ") && missing.stdout.contains("offline: "),
                "{missing}"
            );
        }
    }
}

#[test]
fn a_cache_that_is_out_of_reach_is_no_promise() {
    for (kind, (_state, root)) in each_store(Who::Root, "http://127.0.0.1:9") {
        let outcome = sonde(&root, &["plan", CURL]);
        assert_eq!(outcome.code(), Some(127), "{kind}: {outcome}");
        assert!(outcome.stdout.contains("libcurl.so.4, needed by /opt/programs/curl"), "{kind}: {outcome}");
        assert!(outcome.stdout.contains(" unavailable "), "{kind}: {outcome}");
    }
}
