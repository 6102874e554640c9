//! The book's commands do what it says: each console block of the pages for users is run, and what it shows is seen.
//! What cannot be run here says why in the page itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use sonde_world::RootBuilder;

use crate::harness::{Outcome, Who, fixture, run};

const PAGES: [&str; 3] = ["getting-started.md", "troubleshooting.md", "faq.md"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// A command of a page, and what it is said to print.
struct Step<'p> {
    command: &'p str,
    shown: Vec<&'p str>,
}

/// The steps of a page, in order; and why the others are not run.
fn steps(page: &str) -> (Vec<Step<'_>>, Vec<&str>) {
    let (mut steps, mut reasons) = (Vec::new(), Vec::new());
    let mut before = page;
    while let Some((text, rest)) = before.split_once("```console\n") {
        let (block, behind) = rest.split_once("```").unwrap();
        before = behind;
        let note = text.trim_end().lines().last().unwrap_or_default();
        if let Some(reason) = note.strip_prefix("<!-- not run: ") {
            reasons.push(reason.trim_end_matches(" -->"));
            continue;
        }
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command, shown: Vec::new() }),
                None => steps.last_mut().unwrap().shown.push(line),
            }
        }
    }
    (steps, reasons)
}

/// What a page shows as a pattern: `…` stands for anything in a line, and alone for any lines.
fn pattern(shown: &[&str]) -> Regex {
    let lines = shown.iter().map(|line| match *line {
        "…" => "(?:.*\n)*".to_owned(),
        line => {
            let words = line.split_whitespace().map(|word| regex::escape(word).replace('…', ".*"));
            format!(r"\s*{}\n", words.collect::<Vec<_>>().join(r"\s*"))
        }
    });
    Regex::new(&format!("^{}$", lines.collect::<String>())).unwrap()
}

fn shell(root: &RootBuilder, script: &str) -> Outcome {
    run(root.command("/bin/sh").args(["-c", script]))
}

#[test]
fn what_the_book_shows_is_what_is_seen() {
    let root = fixture().without_shim(Who::Alice);
    let mut count = 0;
    for name in PAGES {
        let page = fs::read_to_string(docs().join(name)).unwrap();
        let (steps, reasons) = steps(&page);
        for reason in reasons {
            println!("{name}: not run: {reason}");
        }
        for Step { command, shown } in steps {
            let script = format!(
                "mkdir -p /tmp/book && cd /tmp/book && cp -f /opt/programs/curl/usr/bin/curl . && {{ {command}\n}} 2>&1"
            );
            let outcome = shell(&root, &script);
            let (expected, said) = (pattern(&shown), outcome.stdout.trim_end().to_owned() + "\n");
            assert!(expected.is_match(&said), "{name}: $ {command}\n{said}is not {expected}");
            count += 1;
        }
    }
    assert!(count > 12, "{count}");
}

#[test]
fn every_page_is_in_the_contents_and_every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^):#]+)(?:#[^)]*)?\)").unwrap();
    let links = |text: &str| -> BTreeSet<String> {
        link.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let contents = links(&fs::read_to_string(docs().join("README.md")).unwrap());
    let files = fs::read_dir(docs()).unwrap().flatten();
    for name in files.map(|file| file.file_name().into_string().unwrap()).filter(|name| name.ends_with(".md"))
    {
        assert!(name == "README.md" || contents.contains(&name), "{name} is not in the contents");
        for target in links(&fs::read_to_string(docs().join(&name)).unwrap()) {
            assert!(docs().join(&target).exists(), "{name} links to {target}");
        }
    }
}
