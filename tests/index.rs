//! Databases: real ones become indexes, several are asked in order, published ones are fetched; everything else leaves
//! what there is as it was.

mod server;

use std::fs;

use serde_json::Value;
use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, SONDE, Who, fixture, run};
use server::{Answer, Server, bodiless, ok, status, tiny_database};

const HELLO: &str = "/opt/programs/hello/usr/bin/hello";

/// Alice with a cache folder of her own, in which nothing is.
fn alice(name: &str) -> RootBuilder {
    let root = fixture().without_shim(Who::Alice).env("XDG_CACHE_HOME", format!("/tmp/cache-{name}"));
    assert!(run(root.command("/bin/sh").args(["-c", &format!("rm -rf /tmp/cache-{name}")])).succeeded());
    root
}

fn index(root: &RootBuilder, arguments: &[&str]) -> Outcome {
    run(root.command(SONDE).arg("index").args(arguments))
}

fn info(root: &RootBuilder) -> Vec<Value> {
    let outcome = index(root, &["info", "--json"]);
    match serde_json::from_str(&outcome.stdout) {
        Ok(Value::Array(databases)) => databases,
        _ => panic!("{outcome}"),
    }
}

fn names(root: &RootBuilder) -> Vec<String> {
    info(root).iter().map(|database| database["name"].as_str().unwrap().to_owned()).collect()
}

/// A file that all roots see.
fn file(name: &str, bytes: &[u8]) -> String {
    fs::write(fixture().guests().join(name), bytes).unwrap();
    format!("/guests/{name}")
}

fn world_database() -> Vec<u8> {
    fs::read(fixture().world.index().join("files")).unwrap()
}

/// One line that names what it is about, status 1.
fn assert_refused(outcome: &Outcome, about: &str, words: &str) {
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    assert!(outcome.stderr.starts_with(&format!("sonde: {about}")), "{outcome}");
    assert!(outcome.stderr.contains(words), "{words}: {outcome}");
}

#[test]
fn a_database_is_imported_counted_and_readable_by_everybody() {
    let root = alice("whole");
    let outcome = index(&root, &["import", "/index/files"]);
    assert!(outcome.succeeded(), "{outcome}");
    assert!(outcome.stdout.contains("/tmp/cache-whole/sonde/index/default.index: "), "{outcome}");
    assert_eq!(outcome.stderr, "");
    let mode = run(root.command("/run/current-system/sw/bin/stat").args([
        "-c",
        "%a",
        "/tmp/cache-whole/sonde/index/default.index",
    ]));
    assert_eq!(mode.stdout, "644\n", "{mode}");
}

#[test]
fn what_is_no_database_is_refused_with_its_name() {
    let database = world_database();
    let mut newer = database.clone();
    newer[4] = 9;
    let half = &database[..database.len() / 2];
    let small = tiny_database("/bin/hello");
    let cases = [
        ("empty", &b""[..], "NIXI"),
        ("text", b"hello\n", "NIXI"),
        ("newer", &newer, "format version 9"),
        ("half", half, "fetch it again"),
        ("small", &small, "without `-small`"),
    ];
    let root = alice("refused");
    for (name, bytes, words) in cases {
        let path = file(&format!("database-{name}"), bytes);
        assert_refused(&index(&root, &["import", &path]), &format!("{path}: "), words);
    }
    assert!(info(&root).is_empty());
}

#[test]
fn a_failed_import_leaves_the_index_as_it_was() {
    let root = fixture().without_shim(Who::Alice);
    assert_refused(&index(&root, &["import", "/etc/passwd"]), "/etc/passwd: ", "NIXI");
    let outcome = run(root.command(SONDE).args(["run", HELLO]));
    assert!(outcome.succeeded(), "{outcome}");
}

#[test]
fn folders_devices_and_missing_files_are_refused() {
    let root = fixture().without_shim(Who::Alice);
    for path in ["/tmp", "/dev/zero", "/no/such/file"] {
        let outcome = index(&root, &["import", path]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.starts_with(&format!("sonde: {path}: ")), "{outcome}");
    }
}

#[test]
fn a_damaged_index_is_refused_with_what_to_do() {
    let root = alice("damaged");
    assert!(index(&root, &["import", "/index/files"]).succeeded());
    let damage =
        "for f in /tmp/cache-damaged/sonde/index/*.index; do head -c 5000 $f > $f.x && mv $f.x $f; done";
    assert!(run(root.command("/bin/sh").args(["-c", damage])).succeeded());
    let outcome = run(root.command(SONDE).args(["run", HELLO]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("import the database again"), "{outcome}");
    let outcome = index(&root, &["info"]);
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(
        outcome.stdout.contains("damaged") && outcome.stderr.contains("import the database again"),
        "{outcome}"
    );
}

#[test]
fn damage_that_only_a_checksum_sees_is_told_by_info() {
    let root = alice("bit");
    assert!(index(&root, &["import", "/index/files"]).succeeded());
    assert_eq!(info(&root)[0]["problem"], Value::Null);
    let damage = "printf x | dd of=/tmp/cache-bit/sonde/index/default.index bs=1 seek=30000 conv=notrunc";
    assert!(run(root.command("/bin/sh").args(["-c", damage])).succeeded());
    let outcome = index(&root, &["info", "default"]);
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(outcome.stderr.contains("is damaged (its "), "{outcome}");
}

#[test]
fn several_databases_are_asked_in_their_order() {
    let root = alice("several");
    let tiny = file("tiny", &tiny_database("/lib/libtiny.so.1"));
    for name in ["default", "nixos-23.05", "nixos-23.11"] {
        assert!(index(&root, &["import", &tiny, "--name", name]).succeeded());
    }
    assert_eq!(names(&root), ["default", "nixos-23.05", "nixos-23.11"]);
    assert!(index(&root, &["import", &tiny, "--name", "nixos-23.11", "--before", "nixos-23.05"]).succeeded());
    assert!(index(&root, &["import", &tiny, "--name", "own", "--first"]).succeeded());
    assert_eq!(names(&root), ["own", "default", "nixos-23.11", "nixos-23.05"]);
    let outcome = index(&root, &["import", &tiny, "--before", "nobody"]);
    assert_refused(&outcome, "there is no database `nobody`; there are `own`, `default`", "nixos-23.05");

    assert!(index(&root, &["remove", "own"]).succeeded());
    assert_refused(&index(&root, &["remove", "own"]), "there is no database `own`", "`default`");
    assert_refused(&index(&root, &["info", "own"]), "there is no database `own`", "`default`");
    assert_eq!(names(&root), ["default", "nixos-23.11", "nixos-23.05"]);
}

#[test]
fn a_program_runs_with_what_only_the_second_database_has() {
    let root = alice("second");
    let tiny = file("tiny-first", &tiny_database("/lib/libtiny.so.1"));
    assert!(index(&root, &["import", &tiny]).succeeded());
    let outcome = run(root.command(SONDE).args(["run", HELLO]));
    assert_eq!(outcome.code(), Some(127), "the first has no glibc: {outcome}");
    assert!(index(&root, &["import", "/index/files", "--name", "world"]).succeeded());
    for program in [HELLO, "/opt/programs/curl/usr/bin/curl"] {
        let outcome = run(root.command(SONDE).args(["run", program, "--version"]));
        assert!(outcome.succeeded(), "{outcome}");
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn the_systems_databases_are_everybodys_to_read_and_not_to_change() {
    let root = fixture().without_shim(Who::Root).env("XDG_CACHE_HOME", "/tmp/cache-of-root");
    // The root's /var is made anew for each command.
    let script = format!(
        "umask 077; cd /tmp; {SONDE} index import /index/files --system && {SONDE} index info --json && \
         stat -c '%a %n' /var/cache/sonde /var/cache/sonde/index /var/cache/sonde/index/default.index >&2 && \
         ! {SONDE} index remove default && {SONDE} index remove default --system"
    );
    let outcome = run(root.command("/bin/sh").args(["-c", &script]));
    assert!(outcome.succeeded(), "{outcome}");
    assert!(outcome.stdout.contains("\"system\": true"), "{outcome}");
    for expected in [
        "755 /var/cache/sonde\n",
        "755 /var/cache/sonde/index\n",
        "644 /var/cache/sonde/index/default.index\n",
    ] {
        assert!(outcome.stderr.contains(expected), "{outcome}");
    }
    assert!(outcome.stderr.contains("the database `default` is the system's"), "{outcome}");
}

#[test]
fn a_published_database_is_fetched_once_and_then_only_if_it_has_changed() {
    let database = world_database();
    let server = Server::start(move |head| match head {
        _ if head.starts_with("GET /latest ") => bodiless("302 Found", "Location: /index\r\n"),
        _ if head.to_lowercase().contains("if-none-match: \"one\"") => status("304 Not Modified"),
        _ => ok("ETag: \"one\"\r\nLast-Modified: Sat, 01 Nov 2025 00:00:00 GMT\r\n", &database),
    });
    let url = server.url().replace("/index", "/latest");
    for who in EVERYBODY {
        let root = fixture().without_shim(who).env("XDG_CACHE_HOME", format!("/tmp/cache-update-{who:?}"));
        let first = index(&root, &["update", &url]);
        assert!(first.succeeded() && first.stdout.contains(" libraries in "), "{first}");
        let before = info(&root);
        assert_eq!(before[0]["url"], url.as_str());
        let second = index(&root, &["update"]);
        assert!(second.succeeded(), "{second}");
        assert_eq!(second.stdout, format!("default: still what {url} has\n"));
        assert_eq!(info(&root), before);

        // Whoever imports something else in between is not told that nothing has changed.
        assert!(index(&root, &["import", &file("between", &tiny_database("/lib/libtiny.so.1"))]).succeeded());
        let third = index(&root, &["update", &url]);
        assert!(third.succeeded() && third.stdout.contains(" libraries in "), "{third}");
    }
    assert!(server.requests().iter().any(|head| head.to_lowercase().contains("user-agent: sonde/")));
}

#[test]
fn a_fetch_that_fails_is_explained_and_leaves_the_database_as_it_was() {
    let root = alice("faults");
    assert!(index(&root, &["import", "/index/files"]).succeeded());
    let before = info(&root);
    let database = world_database();
    let small = tiny_database("/bin/hello");
    let server = Server::start(move |head| {
        let mut whole = ok("", &database).bytes;
        match head.split(' ').nth(1).unwrap_or_default() {
            "/missing" => status("404 Not Found"),
            "/broken" => status("503 Service Unavailable"),
            "/page" => ok("", b"<html>please log in to this network</html>"),
            "/small" => ok("", &small),
            "/silent" => Answer { bytes: Vec::new(), hang: true },
            "/nonsense" => Answer { bytes: b"\x16\x03\x01 nonsense\r\n\r\n".into(), hang: false },
            "/stalled" | "/cut" => {
                whole.truncate(whole.len() / 2);
                Answer { bytes: whole, hang: head.starts_with("GET /stalled") }
            }
            _ => {
                // Two whole databases' worth of promise, one of delivery: what arrives reads well.
                let promised = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", database.len() * 2);
                Answer { bytes: [promised.as_bytes(), &database].concat(), hang: false }
            }
        }
    });
    let cases = [
        ("missing", "there is nothing at this address (404)"),
        ("broken", "the server answered 503"),
        ("page", "this is not a nix-index database"),
        ("small", "without `-small`"),
        ("silent", "nothing has arrived for 1 seconds"),
        ("stalled", "nothing has arrived for 1 seconds"),
        ("cut", "the connection ended after "),
        ("half-of-two", "the connection ended after "),
        ("nonsense", "is a proxy needed"),
    ];
    for (name, words) in cases {
        let url = server.url().replace("/index", &format!("/{name}"));
        let outcome = index(&root, &["update", &url, "--timeout", "1"]);
        assert_refused(&outcome, &format!("{url}: "), words);
    }
    let nobody = "http://127.0.0.1:1/index";
    assert_refused(&index(&root, &["update", nobody]), &format!("{nobody}: "), "is the network there");
    for wrong in ["ftp://x/y", "/index/files", "nonsense"] {
        assert_refused(&index(&root, &["update", wrong]), &format!("{wrong}: "), "https://");
    }
    assert_refused(&index(&root, &["update", "file:///no/such"]), "/no/such: ", "No such file");
    assert_eq!(info(&root), before);
    let left =
        run(root.command("/run/current-system/sw/bin/ls").args(["-A", "/tmp/cache-faults/sonde/index"]));
    assert_eq!(left.stdout, ".lock\ndefault.index\norder\n", "nothing is left behind: {left}");
}

#[test]
fn a_proxy_is_taken_from_the_environment() {
    let server = Server::start(|_| ok("", &tiny_database("/lib/libtiny.so.1")));
    let proxy = format!("http://127.0.0.1:{}", server.port);
    let root = alice("proxy").env("http_proxy", &proxy).env("https_proxy", &proxy);
    let outcome = index(&root, &["update", "http://databases.invalid/index"]);
    assert!(outcome.succeeded(), "{outcome}");
    assert!(
        server.requests().iter().any(|head| head.contains("databases.invalid")),
        "{:?}",
        server.requests()
    );
}

#[test]
fn a_file_can_be_fetched_from_too() {
    let root = alice("file");
    let path = file("a file", &tiny_database("/lib/libtiny.so.1"));
    let url = format!("file://{}", path.replace(' ', "%20"));
    let first = index(&root, &["update", &url, "--name", "own"]);
    assert!(first.succeeded() && first.stdout.contains("1 libraries in 1 packages"), "{first}");
    let second = index(&root, &["update", "--name", "own"]);
    assert_eq!(second.stdout, format!("own: still what {url} has\n"), "{second}");
    file("a file", &tiny_database("/lib/libother.so.1"));
    let third = index(&root, &["update", "--name", "own"]);
    assert!(third.stdout.contains("own.index: 1 libraries"), "{third}");
}

#[test]
fn an_older_database_is_not_replaced_by_todays_by_mistake() {
    let root = alice("mistake");
    let tiny = file("mistake", &tiny_database("/lib/libtiny.so.1"));
    assert!(index(&root, &["import", &tiny, "--name", "nixos-23.05"]).succeeded());
    let outcome = index(&root, &["update", "--name", "nixos-23.05"]);
    assert_refused(&outcome, "the database `nixos-23.05` was imported from a file", "--name nixos-23.05");
}
