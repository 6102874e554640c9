//! The embedded store by its commands: filled from the world's signed cache, looked after, and hard to break.

mod limits;
mod middle;
mod network;
mod policy;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use sonde_world::RootBuilder;

use crate::harness::{Outcome, SONDE, Who, fixture, run};

/// A store of its own for each test, filled by alice from the world's cache.
struct Embedded {
    root: RootBuilder,
}

impl Embedded {
    fn new(name: &str) -> Self {
        Self::trusting(name, &fixture().cache_key())
    }

    fn trusting(name: &str, key: &str) -> Self {
        Self::filled_from(name, key, &fixture().server.url(), "")
    }

    /// From a cache that says nothing for three seconds, and is then given up.
    fn slow(name: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
        let key = fixture().world.public_key().unwrap();
        Self::filled_from(name, key.trim(), &url, "attempts = 1\nstall-timeout = 3\n")
    }

    fn filled_from(name: &str, key: &str, url: &str, settings: &str) -> Self {
        let folder = fixture().guests().join(format!("store-{name}/sonde"));
        fixture().configure_embedded(&folder, url, key, settings);
        let root = fixture()
            .without_shim(Who::Alice)
            .env("XDG_CONFIG_HOME", format!("/guests/store-{name}"))
            .env("XDG_DATA_HOME", format!("/tmp/store-{name}/data"))
            .env("XDG_STATE_HOME", format!("/tmp/store-{name}/state"));
        Self { root }
    }

    fn store(&self, arguments: &[&str]) -> Outcome {
        run(self.root.command(SONDE).arg("store").args(arguments))
    }

    fn shell(&self, script: &str) -> Outcome {
        run(self.root.command("/bin/sh").args(["-c", script]))
    }
}

/// The same outside of the world, where nothing but folders is needed.
struct Direct {
    home: tempfile::TempDir,
}

impl Direct {
    /// `settings` are further lines of the section.
    fn new(cache: &str, settings: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let key = fixture().world.public_key().unwrap();
        fs::create_dir_all(home.path().join(".config/sonde")).unwrap();
        let text = format!(
            "[store]\nkind = \"embedded\"\ncaches = [\"{cache}\"]\ntrusted-public-keys = [\"{}\"]\n{settings}\n",
            key.trim()
        );
        fs::write(home.path().join(".config/sonde/config.toml"), text).unwrap();
        Self { home }
    }

    /// `sonde store` with what is added to the command, in an environment of nothing else.
    fn store(&self, add: impl FnOnce(&mut Command) -> &mut Command) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sonde"));
        command.env_clear().env("HOME", self.home.path()).arg("store");
        run(add(&mut command))
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // Objects are read-only, which stops whoever is not root.
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(self.home.path()).status();
    }
}

/// A package that foreign programs are given, with a closure of some size.
fn libcurl() -> String {
    let text = fs::read_to_string(fixture().world.cache().with_file_name("packages.json")).unwrap();
    let packages: serde_json::Value = serde_json::from_str(&text).unwrap();
    let curl = packages.as_array().unwrap().iter().find(|package| package["attr"] == "curl").unwrap();
    curl["store_path"].as_str().unwrap().to_owned()
}

#[test]
fn a_closure_is_fetched_verified_kept_while_rooted_and_removed() {
    let (store, curl) = (Embedded::new("life"), libcurl());
    let fetched = store.store(&["fetch", &curl]);
    assert!(fetched.succeeded(), "{fetched}");
    let location = format!("/tmp/store-life/data/sonde/store{curl}");
    assert_eq!((fetched.stdout.trim(), &*fetched.stderr), (&*location, ""));
    let data = store.shell(&format!("stat -c '%a %Y' {location} {location}/lib/libcurl.so.4"));
    assert_eq!(data.stdout, "555 1\n777 1\n", "{data}");

    let listed = store.store(&["list"]);
    assert!(listed.stdout.contains("-glibc-") && listed.stdout.contains(&curl), "{listed}");
    let verified = store.store(&["verify"]);
    assert!(
        verified.stdout.ends_with(&format!("{} objects are sound\n", listed.stdout.lines().count())),
        "{verified}"
    );
    let kept = store.store(&["gc"]);
    assert_eq!(kept.stdout, "0 removed, 0 bytes\n", "{kept}");

    assert!(store.shell("rm /tmp/store-life/state/sonde/roots/fetched/*").succeeded());
    let dry = store.store(&["gc", "--dry-run"]);
    assert!(dry.stdout.contains(&curl) && dry.stdout.contains(" would be removed, "), "{dry}");
    assert_eq!(store.store(&["list"]).stdout, listed.stdout);
    let removed = store.store(&["gc"]);
    assert!(removed.succeeded(), "{removed}");
    assert_eq!(store.store(&["list"]).stdout, "");
    assert_eq!(store.shell("ls -A /tmp/store-life/data/sonde/store/nix/store").stdout, "");
}

#[test]
fn damage_is_found_named_and_repaired() {
    let (store, curl) = (Embedded::new("damage"), libcurl());
    let fetched = store.store(&["fetch", &curl]);
    let library = format!("{}/lib/libcurl.so.4", fetched.stdout.trim());
    assert!(store.shell(&format!("f=$(readlink -f {library}) && chmod +w $f && echo x >> $f")).succeeded());
    let damaged = store.store(&["verify"]);
    assert_eq!(damaged.code(), Some(1), "{damaged}");
    assert!(damaged.stdout.starts_with(&format!("{curl}: its hash is sha256:")), "{damaged}");
    assert!(damaged.stderr.contains("--repair"), "{damaged}");
    let repaired = store.store(&["verify", "--repair"]);
    assert!(repaired.succeeded() && repaired.stdout.contains(&format!("{curl}: repaired")), "{repaired}");
    assert!(store.store(&["verify"]).succeeded());
}

#[test]
fn who_is_not_trusted_fills_no_store() {
    let key = "sonde-world-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
    let store = Embedded::trusting("forged", key);
    let forged = store.store(&["fetch", &libcurl()]);
    assert_eq!(forged.code(), Some(1), "{forged}");
    assert!(forged.stderr.contains("the signature by sonde-world-1 is not"), "{forged}");
    let key = key.replace("sonde-world-1", "somebody-1");
    let store = Embedded::trusting("unknown", &key);
    let unknown = store.store(&["fetch", &libcurl()]);
    assert!(unknown.stderr.contains("signed by sonde-world-1, which is not trusted"), "{unknown}");
    assert_eq!(store.store(&["list"]).stdout, "");
}

#[test]
fn a_mistake_is_named() {
    let store = Embedded::new("mistakes");
    for wrong in ["/nix/store/zlib", "zlib", "/nix/store/../etc"] {
        let outcome = store.store(&["fetch", wrong]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: {wrong}: not a store path")), "{outcome}");
    }
    let nobody = "/nix/store/00000000000000000000000000000000-nothing";
    let outcome = store.store(&["fetch", nobody]);
    assert!(outcome.stderr.contains(&format!("{nobody}: no cache has it")), "{outcome}");
    fs::write(fixture().guests().join("store-mistakes/sonde/config.toml"), "[store]\ncache = 1\n").unwrap();
    let outcome = store.store(&["list"]);
    assert!(
        outcome.stderr.contains("sonde/config.toml: ") && outcome.stderr.contains("`cache`"),
        "{outcome}"
    );
}

#[test]
fn processes_that_ask_at_once_share_the_work() {
    let (store, curl) = (Embedded::new("crowd"), libcurl());
    thread::scope(|scope| {
        let crowd: Vec<_> = (0..12).map(|_| scope.spawn(|| store.store(&["fetch", &curl]))).collect();
        for member in crowd {
            let outcome = member.join().unwrap();
            assert!(outcome.succeeded(), "{outcome}");
        }
    });
    assert!(store.store(&["verify"]).succeeded());
    let garbage = store.store(&["gc"]);
    assert_eq!(garbage.stdout, "0 removed, 0 bytes\n", "{garbage}");
}

#[test]
fn whoever_is_killed_leaves_a_store_that_the_next_one_completes() {
    let (store, curl) = (Embedded::new("killed"), libcurl());
    let mut killed = 0;
    for delay in [10, 20, 40, 60, 80, 120, 160, 240] {
        let mut child = store.root.command(SONDE);
        let mut child = child
            .args(["store", "fetch", &curl])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        killed += usize::from(child.wait().unwrap().signal() == Some(9));
        let verified = store.store(&["verify"]);
        assert!(verified.succeeded(), "after {delay} ms: {verified}");
    }
    assert!(killed > 0, "it was always done in time");
    let fetched = store.store(&["fetch", &curl]);
    assert!(fetched.succeeded(), "{fetched}");
    assert!(store.store(&["verify"]).succeeded());
    store.store(&["gc"]);
    let left = store.shell("ls -A /tmp/store-killed/data/sonde/store/nix/store | grep partial");
    assert_eq!(left.stdout, "");
}
