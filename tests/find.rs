//! `sonde find`: who has a library, who would be chosen, and why. Every rival of the world loses, and it is said to what.

use std::sync::OnceLock;

use serde_json::Value;
use sonde_world::RootBuilder;

use crate::harness::{Outcome, SONDE, Who, fixture, run};

const NIX_STORE: &str = "/run/current-system/sw/bin/nix-store";
const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const GIT: &str = "/opt/programs/git/usr/bin/git";
const PYTHON: &str = "/opt/programs/python3/usr/bin/python3.11";
const SSL: &str = "/opt/programs/python3/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so";

/// A root in whose store all rivals are, and those whom they rival.
fn realised() -> &'static RootBuilder {
    static ROOT: OnceLock<(tempfile::TempDir, RootBuilder)> = OnceLock::new();
    let (_, root) = ROOT.get_or_init(|| {
        let (state, root) = fixture().cold(Who::Root);
        let packages = fixture().world.packages().unwrap();
        let right = ["zlib", "openssl", "curl", "expat"];
        let wanted = packages
            .iter()
            .filter(|package| package.rival.is_some() || right.contains(&package.attr.as_str()))
            .map(|package| package.store_path.as_str());
        let outcome = run(root.command(NIX_STORE).arg("--realise").args(wanted));
        assert!(outcome.succeeded(), "{outcome}");
        (state, root)
    });
    root
}

fn find(root: &RootBuilder, arguments: &[&str]) -> Outcome {
    run(root.command(SONDE).arg("find").args(arguments))
}

/// The answers in JSON.
fn answers(root: &RootBuilder, arguments: &[&str]) -> Vec<Value> {
    let outcome = find(root, &[&["--json"], arguments].concat());
    match serde_json::from_str(&outcome.stdout) {
        Ok(Value::Array(answers)) => answers,
        _ => panic!("{outcome}"),
    }
}

fn candidates(answer: &Value) -> &[Value] {
    answer["candidates"].as_array().unwrap()
}

fn attributes(answer: &Value) -> Vec<&str> {
    candidates(answer).iter().map(|candidate| candidate["attribute"].as_str().unwrap()).collect()
}

/// Program, soname, who is right; the rivals, and what is held against each.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

#[test]
fn each_rival_loses_to_the_right_provider_and_it_is_said_to_what() {
    let cases: [Case; 5] = [
        (CURL, "libcurl.so.4", "curl", &[("curlMinimal", "CURL_OPENSSL_4"), ("steam-run", "own-file")]),
        (
            CURL,
            "libz.so.1",
            "zlib",
            &[
                ("zlib-lite", "inflateInit2_"),
                ("pkgsCross.foo.zlib", "main-set"),
                ("steam-run", "own-file"),
                ("blender-bundle", "public-folder"),
                ("cudaPackages.cuda_cudart", "usable"),
            ],
        ),
        (GIT, "libz.so.1", "zlib", &[("zlib-lite", "ZLIB_1.2.0")]),
        (SSL, "libssl.so.3", "openssl", &[("openssl_legacy", "OPENSSL_3.0.0"), ("steam-run", "own-file")]),
        (PYTHON, "libexpat.so.1", "expat", &[("haskellPackages.expat-bindings", "main-set")]),
    ];
    for (program, soname, right, rivals) in cases {
        let answers = answers(realised(), &["--for", program, soname]);
        let [answer] = answers.as_slice() else { panic!("{answers:?}") };
        let first = &candidates(answer)[0];
        assert_eq!((answer["provided"].as_bool(), first["attribute"].as_str()), (Some(true), Some(right)));
        assert_eq!((&first["chosen"], &first["coverage"]["share"]), (&true.into(), &1.0.into()), "{first}");
        assert!(first["coverage"]["needed"].as_u64().unwrap() > 0, "{first}");
        for (rival, held) in rivals {
            let loser = candidates(answer).iter().find(|candidate| candidate["attribute"] == *rival).unwrap();
            assert_eq!(loser["chosen"], false);
            let against = [&loser["beaten_by"], &loser["coverage"]].map(Value::to_string).concat();
            assert!(against.contains(held), "{program} {soname} {rival}: {loser}");
        }
        // The same in words.
        let text = find(realised(), &["--for", program, soname]).stdout;
        assert!(rivals.iter().all(|(rival, held)| text.contains(rival) && text.contains(held)), "{text}");
    }
}

#[test]
fn all_rivals_of_the_world_lose_every_soname_that_they_have() {
    for package in fixture().world.packages().unwrap().iter().filter(|package| package.rival.is_some()) {
        for (path, _) in &package.libraries {
            let soname = path.rsplit('/').next().unwrap();
            let answer = &answers(realised(), &[soname])[0];
            let chosen = candidates(answer).iter().find(|candidate| candidate["chosen"] == true);
            let store_path = chosen.map_or(&Value::Null, |candidate| &candidate["store_path"]);
            assert_ne!(*store_path, package.store_path.as_str(), "{soname}: {}", package.attr);
        }
    }
}

#[test]
fn what_is_not_realised_is_not_compared_and_nothing_is_got_for_it() {
    let (_state, root) = fixture().cold(Who::Root);
    let text = find(&root, &["--for", CURL, "libcurl.so.4"]);
    assert!(text.succeeded() && text.stdout.contains("not realised, symbols unknown"), "{text}");
    let answer = &answers(&root, &["--for", CURL, "libcurl.so.4"])[0];
    assert_eq!(attributes(answer)[0], "curl");
    assert!(candidates(answer).iter().all(|one| one["realised"] == false && one["coverage"] == Value::Null));
}

#[test]
fn without_a_name_everything_that_the_program_misses_is_shown() {
    let answers = answers(realised(), &["--for", CURL]);
    let names: Vec<_> = answers.iter().map(|answer| answer["soname"].as_str().unwrap()).collect();
    assert_eq!(names, ["libcurl.so.4", "libz.so.1"], "libc.so.6 comes with the loader");
    assert!(answers.iter().all(|answer| answer["wanted"]["why"] == "needed"));
    let all = find(realised(), &["--for", "/run/current-system/sw/bin/sh"]);
    assert!(all.succeeded() && all.stdout.contains("brings along everything"), "{all}");
}

#[test]
fn glibcs_own_drivers_and_what_is_never_provided_are_explained() {
    let root = realised();
    let glibc = find(root, &["libc.so.6"]);
    assert!(
        glibc.succeeded() && glibc.stdout.contains("it comes with the loader, from /nix/store/"),
        "{glibc}"
    );
    for (soname, words) in [("libcuda.so.1", "/run/opengl-driver/lib"), ("libnss_sss.so.2", "nsswitch.conf")]
    {
        let outcome = find(root, &[soname]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stdout.contains(words) && !outcome.stdout.contains("cudart"), "{outcome}");
    }
}

#[test]
fn a_name_that_nobody_has_is_answered_with_what_resembles_it() {
    for (asked, meant) in
        [("libcurl.so.5", "libcurl.so.4 in curl"), ("libxepat.so.1", "libexpat.so.1 in expat")]
    {
        let outcome = find(realised(), &[asked]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stdout.contains("no package has it") && outcome.stdout.contains(meant), "{outcome}");
    }
    let outcome = find(realised(), &["libz.so.1", "libquite-unknown.so.1"]);
    assert_eq!(outcome.code(), Some(1), "one of two: {outcome}");
}

#[test]
fn one_candidate_is_one_line_and_a_path_is_taken_for_its_name() {
    for asked in ["libavahi-client.so.3", "/usr/lib/x86_64-linux-gnu/libavahi-client.so.3"] {
        let outcome = find(realised(), &[asked]);
        assert_eq!((outcome.code(), outcome.stdout.lines().count()), (Some(0), 1), "{outcome}");
        assert!(outcome.stdout.starts_with("libavahi-client.so.3: avahi.out, "), "{outcome}");
        assert!(!outcome.stdout.contains('\x1b'), "colours are for terminals: {outcome}");
    }
}

#[test]
fn columns_are_aligned_and_the_rest_is_counted() {
    let outcome = find(realised(), &["--limit", "2", "libz.so.1"]);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let column = lines[1].find("SIZE").unwrap() + "SIZE".len();
    let rows = lines.iter().filter(|line| line.starts_with("  ") && line.contains(" kB"));
    assert!(rows.clone().count() == 2 && rows.clone().all(|row| row[..column].ends_with("kB")), "{outcome}");
    assert_eq!(lines.last().unwrap(), &"… and 4 more; --limit 0 shows all", "{outcome}");
}

#[test]
fn any_library_file_is_found_by_its_path() {
    let root = realised();
    let outcome = find(root, &["--file", "blender/libz.so.1"]);
    assert!(outcome.succeeded() && outcome.stdout.contains("/lib/blender/libz.so.1"), "{outcome}");
    let files = answers(root, &["--file", "lib*/libcurl.so.*"]);
    assert!(
        files.len() >= 3 && files.iter().all(|file| file["file"].as_str().unwrap().contains("libcurl.so."))
    );
    let none = find(root, &["--file", "*/nothing-like-it.so"]);
    assert_eq!(none.code(), Some(1), "{none}");
}

#[test]
fn a_users_lists_are_believed() {
    let script = format!(
        "mkdir -p /tmp/lists/sonde && printf \"[[group]]\\nkind = 'never'\\nreason = 'I said so'\\nsonames = \
         ['libz.so.1']\\n\" > /tmp/lists/sonde/lists.toml && exec {SONDE} find libz.so.1"
    );
    let root = realised().clone().env("XDG_CONFIG_HOME", "/tmp/lists");
    let outcome = run(root.command("/bin/sh").args(["-c", &script]));
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(outcome.stdout.starts_with("libz.so.1: I said so\n"), "{outcome}");
    let broken = format!("echo '[[grop]]' > /tmp/lists/sonde/lists.toml && exec {SONDE} find libz.so.1");
    let outcome = run(root.command("/bin/sh").args(["-c", &broken]));
    assert!(outcome.succeeded(), "{outcome}");
    assert!(
        outcome.stderr.contains("lists.toml") && outcome.stderr.contains("the file is left out"),
        "{outcome}"
    );
}

#[test]
fn what_is_no_program_is_said() {
    for (program, words) in [("/etc/passwd", "not an ELF file"), ("no-such-command", "not found in PATH")] {
        let outcome = find(realised(), &["--for", program]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.contains(program) && outcome.stderr.contains(words), "{outcome}");
    }
}
