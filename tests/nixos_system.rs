//! What the NixOS module sets up, put together in the test world's root: enable it, and run a foreign program as a user.
//!
//! The files are those that the module makes, evaluated with the stand-in (`nixos_module`), at the places where NixOS would
//! put them; shim, supervisor and libraries are real ones. There is no index, unless a test says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, LOADER, SONDE, Who, fixture, run};
use crate::nixos_module;

const HELLO: &str = "/opt/programs/hello/usr/bin/hello";
/// In the list of the option, and in no index.
const SONAME: &str = "libseeded.so.1";
const ENDS: [&str; 2] = ["exit", "0"];

/// A machine with this configuration. The folder must outlive the runs.
fn machine(scenario: &str, who: Who) -> (tempfile::TempDir, RootBuilder) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let root = RootBuilder::new(&fixture().world)
        .state(state)
        .user(who == Who::Alice)
        .shim(fixture().shim())
        .sonde(fixture().sonde())
        .interp(fixture().shim())
        .bind(fixture().guests(), "/guests");
    let root = set_up(scenario, &folder, root);
    (folder, root)
}

/// A root with the files of this configuration.
fn set_up(scenario: &str, folder: &tempfile::TempDir, mut root: RootBuilder) -> RootBuilder {
    let system = fixture().world.system_path().unwrap();
    let at = |path: &str| folder.path().join(path);
    for path in ["etc", "store", "libraries", "share"] {
        fs::create_dir(at(path)).unwrap();
    }
    symlink(nixos_module::SEEDS, at("share/lib")).unwrap();
    root = root
        .bind(at("libraries"), nixos_module::SEEDS)
        .bind(at("share"), Path::new(nixos_module::INSTALLED).parent().unwrap())
        .bind(at("etc"), "/etc/sonde");
    fixture().library(&at("libraries").join(SONAME), SONAME);
    let loader = format!("{system}/lib/ld-linux-x86-64.so.2");
    symlink(&loader, at("libraries/ld.so")).unwrap();
    // /etc is made of links into the store.
    let files = nixos_module::scenario(scenario)["files"].as_object().unwrap();
    for (file, text) in files {
        let name = file.trim_start_matches("sonde/");
        let place = format!("/nix/store/00000000000000000000000000000000-sonde-{name}");
        let text = text.as_str().unwrap().replace(nixos_module::LOADER, &loader);
        fs::write(at("store").join(name), text).unwrap();
        symlink(&place, at("etc").join(name)).unwrap();
        root = root.bind(at("store").join(name), place);
    }
    root
}

/// What starts programs, and which environment they then have.
fn starts(root: &RootBuilder, who: Who) -> Vec<(&'static str, RootBuilder)> {
    let bare = || root.clone().env_clear();
    let variables = nixos_module::scenario("enabled")["variables"].as_object().unwrap();
    let session =
        variables.iter().fold(root.clone(), |root, (name, value)| root.env(name, value.as_str().unwrap()));
    let home = if who == Who::Root { "/root" } else { "/home/alice" };
    let cron =
        bare().env("HOME", home).env("LOGNAME", "alice").env("SHELL", "/bin/sh").env("PATH", "/usr/bin:/bin");
    // systemd.exec(5), "Environment Variables in Spawned Processes", of a system service with DynamicUser=
    let unit = bare()
        .env("LANG", "C.UTF-8")
        .env("PATH", "/nix/store/none/bin")
        .env("INVOCATION_ID", "0123456789abcdef0123456789abcdef")
        .env("JOURNAL_STREAM", "8:1234")
        .env("SYSTEMD_EXEC_PID", "1");
    vec![
        ("a session", session),
        ("a session without the variables", root.clone()),
        ("env -i", bare()),
        ("cron", cron),
        ("systemd", unit),
    ]
}

#[test]
fn enable_it_and_run_a_foreign_program_as_a_user() {
    let program = fixture().guest_that_needs(SONAME);
    let load = fixture().guest("load");
    for who in EVERYBODY {
        let (_machine, root) = machine("enabled", who);
        for (start, root) in starts(&root, who) {
            let hello = run(&mut root.command(HELLO));
            assert_eq!(
                (&*hello.stdout, &*hello.stderr),
                ("Hello, world!\n", ""),
                "{start} as {who:?}: {hello}"
            );
            let needs = run(root.command(&program).args(ENDS));
            assert!(needs.succeeded() && needs.stderr.is_empty(), "{start} as {who:?}: {needs}");
            let opens = run(root.command(&load).args(["here", SONAME]));
            let place = format!("map {}/{SONAME}", nixos_module::SEEDS);
            assert!(opens.stdout.contains(&place), "{start} as {who:?}: {opens}");
        }
    }
}

/// What nix-ld's own tests show of it, in the module's root.
#[test]
fn what_nix_ld_does_is_done_here() {
    let hidden = "libonly-in-the-variable.so.1";
    let needs = fixture().guest_that_needs(hidden);
    let (load, print) = (fixture().guest("load"), fixture().guest("environment"));
    for who in EVERYBODY {
        let (machine, root) = machine("enabled", who);
        let folder = machine.path().join("own");
        fs::create_dir(&folder).unwrap();
        fixture().library(&folder.join(hidden), hidden);
        let root = root.bind(folder, "/own");
        for (start, root) in starts(&root, who) {
            let case = format!("{start} as {who:?}");
            // What it is linked against, and what it opens; a relative folder is of no use and no harm.
            let without = run(root.command(&needs).args(ENDS));
            assert_eq!(without.code(), Some(127), "{case}: {without}");
            let root = root.env("NIX_LD_LIBRARY_PATH", "/own:POISON");
            let with = run(root.command(&needs).args(ENDS));
            assert!(with.succeeded() && with.stderr.is_empty(), "{case}: {with}");
            let opens = run(root.command(&load).args(["here", hidden, SONAME]));
            assert!(opens.stdout.contains(&format!("{hidden}: map /own/")), "{case}: {opens}");
            assert!(opens.stdout.contains(&format!("{SONAME}: map {}/", nixos_module::SEEDS)), "{case}");
            // The variable of the loader's own is neither made, lost nor changed, here and in a child.
            for library_path in [None, Some("NEEDLE")] {
                let root =
                    library_path.iter().fold(root.clone(), |root, path| root.env("LD_LIBRARY_PATH", path));
                let outcome = run(root.command(&print).args(["Y=2", &print]));
                let lines = outcome.stdout.lines();
                let seen: Vec<&str> =
                    lines.filter_map(|line| line.strip_prefix("LD_LIBRARY_PATH=")).collect();
                assert_eq!(seen, library_path.into_iter().collect::<Vec<_>>(), "{case}: {outcome}");
            }
            // The shim as a command.
            let command = run(root.command(LOADER).arg(&needs).args(ENDS));
            assert!(command.succeeded() && command.stderr.is_empty(), "{case}: {command}");
        }
    }
}

/// Environments that say little, or something that is not so: what is run and as whom.
const ODD: [(&str, &str); 7] = [
    (
        "a user whom nobody knows, and nothing said",
        "setpriv --reuid 61234 --regid 61234 --clear-groups env -i",
    ),
    ("the root folder for a home", "setpriv --reuid 61234 --regid 61234 --clear-groups env -i HOME=/"),
    ("a home that is not there", "env -i HOME=/nonexistent"),
    ("a home that may not be entered", "setpriv --reuid 1000 --regid 100 --clear-groups env HOME=/root"),
    (
        "folders that are no folders",
        "env -i HOME=/etc/passwd XDG_RUNTIME_DIR=/etc/passwd XDG_CACHE_HOME=/dev/null",
    ),
    ("folders of root's", "setpriv --reuid 1000 --regid 100 --clear-groups env XDG_RUNTIME_DIR=/run/user/0"),
    ("root in a user's session", "env HOME=/home/alice XDG_RUNTIME_DIR=/run/user/1000"),
];

#[test]
fn whoever_it_is_and_whatever_the_environment_says() {
    let program = fixture().guest_that_needs(SONAME);
    let (_machine, root) = machine("enabled", Who::Root);
    for (odd, start) in ODD {
        // By the second start there may be a plan.
        for _ in 0..2 {
            let script = format!("{start} {HELLO} && {start} {program} exit 7; echo $?");
            let outcome = run(root.command("/bin/sh").args(["-c", &script]));
            assert_eq!((&*outcome.stdout, &*outcome.stderr), ("Hello, world!\n7\n", ""), "{odd}: {outcome}");
        }
    }
    // What root has left in the user's folders is not in the user's way.
    let user =
        "setpriv --reuid 1000 --regid 100 --clear-groups env HOME=/home/alice XDG_RUNTIME_DIR=/run/user/1000";
    let outcome = run(root.command("/bin/sh").args(["-c", &format!("{user} {HELLO}")]));
    assert_eq!((&*outcome.stdout, &*outcome.stderr), ("Hello, world!\n", ""), "{outcome}");
}

/// A unit with `DynamicUser=`: it has no home, and what it needs is fetched by Nix's daemon.
#[test]
fn a_user_without_a_home_gets_packages_by_the_index_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (_state, root) = fixture().cold(Who::Root);
    let root = set_up("enabled", &folder, root).with_daemon();
    let unknown = "setpriv --reuid 61234 --regid 61234 --clear-groups env -i";
    let script = format!(
        "sonde index import /index/files --system > /dev/null; chmod 755 /var/cache/sonde /var/cache/sonde/index;
         {unknown} /opt/programs/curl/usr/bin/curl --version && {unknown} /opt/programs/curl/usr/bin/curl --version"
    );
    let outcome = run(root.command("/bin/sh").args(["-c", &script]));
    assert_eq!(outcome.stdout.matches("libcurl/").count(), 2, "{outcome}");
}

/// What `ldso32.libraries` makes of the loader for 32-bit programs. No such glibc is at hand here: it is done to the 64-bit
/// one, which differs in nothing that matters to it.
#[test]
fn a_loader_with_a_cache_of_its_own_finds_libraries_without_any_variable() {
    let folder = tempfile::tempdir().unwrap();
    let [out, libraries, tools] = ["out", "libraries", "tools"].map(|name| folder.path().join(name));
    for folder in [&out, &libraries, &tools] {
        fs::create_dir(folder).unwrap();
    }
    fixture().library(&libraries.join(SONAME), SONAME);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nixos-module/loader-with-libraries.sh");
    fs::copy(script, tools.join("script")).unwrap();
    let ldconfig = ["/usr/sbin/ldconfig", "/sbin/ldconfig"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(ldconfig.unwrap_or_else(|| panic!("there is no ldconfig")), tools.join("ldconfig")).unwrap();
    let system = fixture().world.system_path().unwrap();
    // nixpkgs's finds its own glibc by itself; the world's does not know where it is.
    for member in ["libc.so.6", "libm.so.6"] {
        symlink(format!("{system}/lib/{member}"), libraries.join(member)).unwrap();
    }
    let root = RootBuilder::new(&fixture().world)
        .state(folder.path())
        .bind(fixture().guests(), "/guests")
        .bind(&out, "/ld")
        .bind(&libraries, "/libraries")
        .bind(&tools, "/tools");
    let make = |out: &str| {
        let loader = format!("{system}/lib/ld-linux-x86-64.so.2");
        let script = format!("PATH=/tools:$PATH sh /tools/script {loader} /libraries {out}");
        run(root.command("/bin/sh").args(["-c", &script]))
    };
    let made = make("/ld");
    assert!(made.succeeded() && made.stderr.is_empty(), "{made}");
    let program = fixture().guest_that_needs(SONAME);
    let load = fixture().guest("load");
    let with = root.clone().bind(out.join("ld.so"), LOADER);
    let needs = run(with.env_clear().command(&program).args(ENDS));
    assert!(needs.succeeded() && needs.stderr.is_empty(), "{needs}");
    let with = root.clone().bind(out.join("ld.so"), LOADER).env_clear();
    let opens = run(with.command(&load).args(["here", SONAME, "libnone.so.1"]));
    assert!(opens.stdout.contains(&format!("map /libraries/{SONAME}")), "{opens}");
    assert!(opens.stdout.contains("libnone.so.1: cannot open shared object file"), "{opens}");
    // A path that is too long for the place of the old one.
    let long = make("/ld/longer-than-that");
    assert!(!long.succeeded() && long.stderr.contains("cannot be replaced"), "{long}");
}

#[test]
fn the_environment_is_the_programs_own() {
    let print = fixture().guest("environment");
    let (_machine, root) = machine("enabled", Who::Alice);
    let root = root.env_clear().env("LD_LIBRARY_PATH", "/tmp/own").env("X", "1");
    let own = run(&mut root.command(&print));
    let child = run(root.command(&print).args(["Y=2", &print]));
    assert!(own.stdout.contains("LD_LIBRARY_PATH=/tmp/own\n"), "{own}");
    assert_eq!(format!("{}Y=2\n", own.stdout), child.stdout);
}

#[test]
fn the_shim_stands_at_its_place_and_runs_programs_by_itself() {
    let (_machine, root) = machine("enabled", Who::Alice);
    assert_eq!(run(root.command(LOADER).arg(HELLO)).stdout, "Hello, world!\n");
    assert!(run(root.command(LOADER).arg("--version")).stdout.starts_with("sonde-interp "));
}

#[test]
fn what_is_missing_is_told_with_the_way_to_an_index() {
    let (_machine, root) = machine("enabled", Who::Alice);
    let outcome = run(root.command(fixture().guest_that_needs("libunseeded.so.1")).args(ENDS));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.starts_with("sonde: libunseeded.so.1, needed by /guests/needs-"), "{outcome}");
    assert!(outcome.stderr.contains("sonde index update"), "{outcome}");
}

#[test]
fn the_policy_of_the_configuration_is_believed() {
    for who in EVERYBODY {
        let (_machine, root) = machine("configured", who);
        let check = run(root.command(SONDE).args(["policy", "check"]));
        assert!(check.succeeded(), "{check}");
        let doctor = run(root.command(SONDE).args(["doctor", "--json"]));
        let report: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
        let is_about_it = |finding: &&serde_json::Value| {
            finding["level"] == "error" && finding["id"].as_str().unwrap().contains("configuration")
        };
        assert_eq!(report["findings"].as_array().unwrap().iter().find(is_about_it), None);
        // Offline, with an engine of its own and everything forbidden: what the libraries option has is still there.
        let outcome = run(root.command(fixture().guest_that_needs(SONAME)).args(ENDS));
        assert!(outcome.succeeded() && outcome.stderr.is_empty(), "{who:?}: {outcome}");
        let trace = run(root.command(SONDE).args(["trace", HELLO]));
        assert!(trace.stderr.contains("ptrace"), "{trace}");
    }
}

#[test]
fn drivers_come_from_the_folders_of_the_option() {
    for who in EVERYBODY {
        let (machine, root) = machine("drivers", who);
        let folder = machine.path().join("drivers");
        fs::create_dir(&folder).unwrap();
        fixture().library(&folder.join("libcuda.so.1"), "libcuda.so.1");
        let root = root.bind(folder, "/usr/lib/wsl/lib");
        for (start, root) in starts(&root, who) {
            let load = run(root.command(fixture().guest("load")).args(["here", "libcuda.so.1"]));
            assert!(
                load.stdout.contains(": map /usr/lib/wsl/lib/libcuda.so.1 "),
                "{start} as {who:?}: {load}"
            );
        }
    }
}

/// What is there after a life with Sonde and the commands by which it is ended. Prints what was written outside of the
/// store, what Nix is kept from collecting, and what then is still in the store.
const LIFE: &str = "
    wait_for() { n=0; until eval \"$1\"; do sleep 0.05; n=$((n+1)); [ $n -lt 400 ] || { echo \"never: $1\"; exit 99; }; done; }
    roots() { nix-store --gc --print-roots 2>/dev/null | grep -c /sonde/roots/; }
    written() { find / -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -path /nix -prune -o -path /guests -prune \
        -o -path '*/.cache/nix' -prune -o -newer /tmp/start -not -type d -print 2>/dev/null | sort; }
    curl=/opt/programs/curl/usr/bin/curl
    touch /tmp/start
    export SONDE_LOG=info
    $curl --version > /dev/null && sonde trace $curl --version > /dev/null 2>&1 && sonde run -- $curl --version > /dev/null
    sonde plan $curl > /dev/null; sonde find libz.so.1 > /dev/null; sonde prefetch /opt/programs/hello/usr/bin/hello
    wait_for 'ls ~/.cache/sonde/plans/*.plan > /dev/null 2>&1'
    sleep 1
    echo \"before: $(roots)\"
    sonde plans gc --all > /dev/null; sonde store gc > /dev/null
    echo \"after: $(roots)\"
    written
    rm -r ~/.cache/sonde ~/.local/state/sonde
    echo rest:; written
    wait_for 'nix-store --gc > /dev/null 2>&1; ! ls -d /nix/store/*-curl-7* > /dev/null 2>&1'
    echo collected";

#[test]
fn going_leaves_nothing_but_caches_and_roots_that_the_commands_remove() {
    for who in EVERYBODY {
        let folder = tempfile::tempdir().unwrap();
        let (_state, root) = fixture().cold(who);
        let root = fixture().with_trees(set_up("enabled", &folder, root));
        let outcome = run(root.command("/bin/sh").args(["-c", LIFE]));
        let (before, rest) = outcome.stdout.split_once("\nafter: ").unwrap_or_else(|| panic!("{outcome}"));
        let count: u32 = before.trim_start_matches("before: ").trim().parse().unwrap();
        assert!(count > 0, "nothing was kept: {outcome}");
        let (after, rest) = rest.split_once('\n').unwrap();
        let (written, rest) = rest.split_once("rest:\n").unwrap();
        assert_eq!(after, "0", "{who:?}: {outcome}");
        let home = if who == Who::Root { "/root" } else { "/home/alice" };
        let caches = ["index", "symbols"].map(|name| format!("{home}/.cache/sonde/{name}/"));
        let state = format!("{home}/.local/state/sonde/");
        // The session's, and gone with it.
        let is_door = |path: &str| path.starts_with("/run/user/") && path.contains("/sonde/");
        for path in written.lines() {
            let is_cache = caches.iter().any(|folder| path.starts_with(folder));
            assert!(is_cache || path.starts_with(&state) || is_door(path), "{who:?} left {path}: {outcome}");
            assert!(!path.contains("/roots/"), "{outcome}");
        }
        let rest: Vec<&str> = rest.lines().filter(|path| !is_door(path)).collect();
        assert_eq!(rest, ["collected"], "{who:?}: {outcome}");
    }
}

#[test]
fn the_units_keep_an_index_for_everybody() {
    let (machine, root) = machine("enabled", Who::Root);
    let cache = machine.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let root = root.bind(fixture().world.index(), "/index").bind(cache, "/var/cache");
    let service = &nixos_module::scenario("index_of_a_file")["system"]["service"]["sonde-index-update"];
    let command = service["serviceConfig"]["ExecStart"].as_str().unwrap();
    let arguments = command.split_whitespace().skip(1).map(|word| match word {
        "/nix/store/00000000000000000000000000000000-index/files" => "/index/files",
        other => other,
    });
    let outcome = run(root.clone().env_clear().command(SONDE).args(arguments));
    assert!(outcome.succeeded(), "{outcome}");
    let seen = run(root.user(true).command(SONDE).args(["find", "libz.so.1"]));
    assert!(seen.succeeded() && seen.stdout.contains("zlib"), "{seen}");
}
