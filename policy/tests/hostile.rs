//! Files that are meant to do harm, and valid ones that were damaged: each is refused with a message, or means what it
//! says; none takes long, grows without bounds, or ends the process.
#![allow(clippy::unwrap_used)] // a test that panics has failed, which is what is wanted

use std::time::{Duration, Instant};

use sonde_policy::{Decision, Package, Policy, Request, Source, starter, starter_for};

const HEAD: &str = "version = 1\ndefault = 'allow'\n";

/// Far more than any of them takes where tests are not optimised.
const PATIENCE: Duration = Duration::from_secs(20);

fn refused(what: &str, text: &str) {
    let start = Instant::now();
    let errors = Policy::parse("p.toml", text).err().unwrap_or_else(|| panic!("{what} is accepted"));
    let shown: String = errors.iter().map(ToString::to_string).collect();
    assert!(!errors.is_empty() && shown.contains("p.toml") && shown.len() < 20_000, "{what}: {shown}");
    assert!(!shown.chars().any(|letter| letter.is_control() && letter != '\n'), "{what}: {shown:?}");
    assert!(start.elapsed() < PATIENCE, "{what} took {:?}", start.elapsed());
}

#[test]
fn hostile_files_are_refused() {
    let deep = 100_000;
    let rule = |key: &str, pattern: &str| format!("{HEAD}[[package]]\nrule = 'deny'\n{key} = '{pattern}'\n");
    for (what, text) in [
        ("deep arrays", format!("{HEAD}engines = {}", "[".repeat(deep))),
        ("deep tables", format!("{HEAD}store = {}", "{a=".repeat(deep))),
        ("deep keys", format!("{HEAD}{}x = 1", "a.".repeat(deep))),
        ("deep headings", format!("{HEAD}[{}x]", "a.".repeat(deep))),
        ("a huge key", format!("{HEAD}{} = 1", "k".repeat(4 << 20))),
        ("a huge quoted key", format!("{HEAD}\"{}\" = 1", "k\\u0000".repeat(100_000))),
        ("a huge value", format!("version = 1\ndefault = '{}'", "v".repeat(4 << 20))),
        (
            "many unknown keys",
            format!("{HEAD}{}", (0..50_000).map(|at| format!("k{at} = 1\n")).collect::<String>()),
        ),
        ("a NUL", format!("{HEAD}dlopen = \"\0\"")),
        ("a NUL in a key", format!("{HEAD}dl\0open = 'deny'")),
        ("control characters", format!("{HEAD}\"\\u001b[2J\" = \"\\u001b[2J\"")),
        ("a duplicate key", format!("{HEAD}default = 'deny'")),
        ("a duplicate table", format!("{HEAD}[limits]\n[limits]\n")),
        ("a table and a list", format!("{HEAD}[package]\n[[package]]\n")),
        ("a byte order mark in the middle", format!("{HEAD}\u{feff}dlopen = 'deny'")),
        ("an endless string", format!("{HEAD}dlopen = \"\"\"deny")),
        ("a number that is too great", format!("{HEAD}limits.candidates = 99999999999999999999999")),
        ("an octal version", "version = 0o2\ndefault = 'allow'".to_owned()),
        ("a pattern of braces", rule("attribute", &"{".repeat(500))),
        (
            "a pattern of nested braces",
            rule("attribute", &format!("{}{}", "{a,".repeat(100), "}".repeat(100))),
        ),
        ("a huge pattern", rule("attribute", &"a*".repeat(100_000))),
        ("an unclosed class", rule("store-path", "/nix/[a-")),
        ("a file that is too long", format!("{HEAD}#{}", "x".repeat(sonde_policy::LONGEST))),
        ("nothing", String::new()),
        ("only spaces", " \n\t\r\n".repeat(1000)),
        ("a binary", (0..5000_u32).filter_map(|at| char::from_u32(at * 7919 % 0x10000)).collect()),
    ] {
        refused(what, &text);
    }
}

#[test]
fn what_is_only_large_is_read_in_time() {
    let start = Instant::now();
    let attributes: Vec<String> = (0..100_000).map(|at| format!("'set{}.package{at}'", at % 100)).collect();
    let globs: String =
        (0..1000).map(|at| format!("[[package]]\nrule = 'deny'\nattribute = '*a{at}*b?'\n")).collect();
    let text = format!("{HEAD}{globs}[[package]]\nrule = 'deny'\nattribute = [{}]\n", attributes.join(","));
    let (policy, _) = Policy::parse("p.toml", &text).unwrap();
    let decide = |attribute| {
        let package = Package { attribute, output: "out", store_path: "/nix/store/x" };
        policy.decide(&Request { program: b"/p", soname: b"l", package, source: Source::Needed })
    };
    assert_ne!(decide("set99.package99999"), Decision::Provide);
    assert_ne!(decide("xa77xbx"), Decision::Provide);
    assert_eq!(decide("set1.package2"), Decision::Provide);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn damaged_files_are_refused_or_mean_something() {
    let mut whole = starter().replace("\n#[", "\n[").replace("\n#", "\n");
    whole = whole.lines().filter(|line| !line.starts_with(' ')).collect::<Vec<_>>().join("\n");
    let (_, warnings) =
        Policy::parse("p.toml", &whole).unwrap_or_else(|errors| panic!("{}\n{whole}", errors[0]));
    assert!(warnings.is_empty(), "{}", warnings[0]);
    for text in [whole, starter_for("/opt/ä", &[], &[])] {
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            let (before, after) = text.split_at(at);
            let rest = after.chars().next().map_or("", |letter| &after[letter.len_utf8()..]);
            for damaged in [
                before.to_owned(),
                format!("{before}{rest}"),
                format!("{before}\"{after}"),
                format!("{before}[{rest}"),
                format!("{before}é{rest}"),
            ] {
                if let Err(errors) = Policy::parse("p.toml", &damaged) {
                    assert!(errors.iter().all(|error| error.to_string().contains("p.toml")), "{damaged}");
                    assert!(!errors.is_empty(), "{damaged}");
                }
            }
        }
    }
}
