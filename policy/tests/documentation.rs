//! Every example of `docs/policy.md` is read, and decides what the table behind it says.
#![allow(clippy::unwrap_used)] // a test that panics has failed, which is what is wanted

use std::fs;
use std::path::Path;

use sonde_policy::{Circumstances, Decision, Package, Policy, Request, Source};

/// An example: its text, and the rows of the table that follows it.
type Example<'d> = (&'d str, Vec<Vec<&'d str>>);

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap()
}

fn examples(document: &str) -> Vec<Example<'_>> {
    let blocks = document.split("```toml\n").skip(1).map(|rest| rest.split_once("```\n").unwrap());
    blocks
        .map(|(text, after)| {
            let rows = after.lines().take_while(|line| line.starts_with('|')).skip(2);
            (text, rows.map(cells).collect())
        })
        .collect()
}

/// The cells of a row, without the marks of code.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
}

#[test]
fn every_example_decides_what_its_table_says() {
    let document = document();
    let mut asked = 0;
    for (text, rows) in examples(&document) {
        let (policy, warnings) =
            Policy::parse("policy.toml", text).unwrap_or_else(|errors| panic!("{}", errors[0]));
        assert!(warnings.is_empty(), "{}", warnings[0]);
        for row in rows {
            let [program, soname, package, index, decided] = row.as_slice() else { panic!("{row:?}") };
            let (attribute, name) = package.split_once("` `").unwrap();
            let store_path = format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}");
            let request = Request {
                program: program.as_bytes(),
                soname: soname.as_bytes(),
                package: Package { attribute, output: "out", store_path: &store_path },
                source: Source::Needed,
            };
            let circumstances = Circumstances { build_id: Some(&[]), index: Some(index), realised: true };
            let told = match policy.decide_with(&request, &circumstances) {
                Decision::Provide => "provided".to_owned(),
                Decision::Refuse { rule } => format!("refused by line {}", rule.split(':').nth(1).unwrap()),
            };
            assert_eq!(told, *decided, "{row:?}\n{text}");
            asked += 1;
        }
    }
    assert!(asked >= 15, "{asked}");
}

#[test]
fn the_users_example_takes_from_the_machines_and_adds_nothing() {
    let document = document();
    let (_, section) = document.split_once("## A machine and its user").unwrap();
    let [(machine, _), (user, _)] = examples(section)[..] else { panic!("{section}") };
    let read = |name, text| Policy::parse(name, text).unwrap_or_else(|errors| panic!("{}", errors[0])).0;
    let both = read("machine", machine).narrowed_by(read("user", user));
    for (attribute, soname, refused) in [
        ("zlib", "libz.so.1", None),
        ("curl", "libcurl.so.4", Some("user:4: deny soname")),
        ("ffmpeg", "libavcodec.so.60", Some("machine:2: default = \"deny\"")),
    ] {
        let package = Package { attribute, output: "out", store_path: "/nix/store/x" };
        let request =
            Request { program: b"/opt/app/app", soname: soname.as_bytes(), package, source: Source::Needed };
        match (both.decide(&request), refused) {
            (Decision::Provide, None) => {}
            (Decision::Refuse { rule }, Some(line)) => assert!(rule.starts_with(line), "{rule}"),
            (decision, _) => panic!("{attribute}: {decision:?}"),
        }
    }
}
