//! What a decision of the policy costs, over a hundred thousand packages, and what reading a policy does.
//!
//! The library itself is asked: a decision is a function that no command makes often enough to be
//! measured from outside.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use sonde_policy::{Circumstances, Decision, Package, Policy, Problem, Request, Source, starter};

use crate::Bench;
use crate::measure::page::mark;
use crate::measure::words::{count, spread};
use crate::measure::{Table, interleave, time};

const PACKAGES: usize = 100_000;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(4);
/// Decisions that are measured together.
const BATCH: usize = 500;

/// In nanoseconds.
const DECISION_GOAL: f64 = 2000.0;

const HEAD: &str = "version = 1\ndefault = 'allow'\n";
const PROGRAM: &[u8] = b"/opt/vendor7/player/bin/player";
const BUILD_ID: &[u8] = &[7; 20];

/// A package of a nixpkgs that is made up.
struct Made {
    attribute: String,
    store_path: String,
    soname: String,
}

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("The policy");
    let packages = packages();
    let (rules, list) = (many_rules(), long_list(&packages));
    let small = starter().replace("\n#[", "\n[").replace("\n#", "\n");
    let small = small.lines().filter(|line| !line.starts_with(' ')).collect::<Vec<_>>().join("\n");
    let each: Vec<String> = (0..3).map(|file| hundred_thousand_rules(&packages, file)).collect();
    let texts: [(&str, Vec<&str>); 5] = [
        ("a few rules of each kind", vec![&small]),
        ("1,000 rules with globs, 100 sections", vec![&rules]),
        ("a list of 100,000 attributes", vec![&list]),
        ("all three, as files of one policy", vec![&small, &rules, &list]),
        ("three files of 100,000 rules each", each.iter().map(String::as_str).collect()),
    ];
    let policies = texts.iter().map(|(_, texts)| read(texts)).collect::<Result<Vec<_>>>()?;
    let ways: Vec<usize> = (0..policies.len()).collect();
    let patience = bench.effort.patience(PATIENCE);
    let deciding = interleave(bench.effort.rounds(ROUNDS), patience, &ways, |way| {
        Ok(decide_all(&policies[*way], &packages))
    })?;
    let reading = interleave(3, patience, &ways, |way| {
        let start = Instant::now();
        black_box(read(&texts[*way].1)?);
        Ok(vec![start.elapsed().as_nanos() as f64])
    })?;

    let mut table = Table::new(1, ["the policy", "one decision", "", "wanted", "", "reading it", "refused"]);
    for (((name, _), policy), (deciding, reading)) in
        texts.iter().zip(&policies).zip(deciding.iter().zip(&reading))
    {
        table.row([
            (*name).to_owned(),
            time(deciding.median()),
            spread(deciding),
            format!("under {}", time(DECISION_GOAL)),
            mark(deciding.median() < DECISION_GOAL).into(),
            time(reading.median()),
            count(refused(policy, &packages)),
        ]);
    }
    bench.page.table(&table);
    bench.page.say(&format!(
        "Each of {} packages is decided about once a round, for a program with a build id; medians of batches of {BATCH}.",
        count(PACKAGES)
    ));
    Ok(())
}

fn packages() -> Vec<Made> {
    let made = |at: usize| Made {
        attribute: format!("set{}.package{at}", at % 300),
        store_path: format!("/nix/store/{at:032}-package{at}-{}.{}", at % 7, at % 31),
        soname: format!("libpackage{at}.so.{}", at % 7),
    };
    (0..PACKAGES).map(made).collect()
}

/// Rules of each shape that people write, and sections of which two hold.
fn many_rules() -> String {
    let mut text = HEAD.to_owned();
    for at in 0..250 {
        let _ = write!(text, "[[package]]\nrule = 'deny'\nattribute = 'set{at}.package{at}*'\n");
        let _ = write!(text, "[[package]]\nrule = 'deny'\nname = 'package{at}'\nversion = '>=2, <5'\n");
        let _ = write!(text, "[[package]]\nrule = 'deny'\nstore-path = '/nix/store/*-package{at}?-3.*'\n");
        let _ = write!(text, "[[soname]]\nname = 'lib*{at}x*.so.[0-9]'\nrule = 'deny'\n");
    }
    for at in 0..100 {
        let _ =
            write!(text, "[[program]]\npath = '/opt/vendor{at}/**'\n[[program.package]]\nrule = 'allow'\n");
        let _ = writeln!(text, "attribute = 'set{at}.*'");
    }
    text
}

/// What a machine that permits by name has.
fn long_list(packages: &[Made]) -> String {
    let names: Vec<String> = packages.iter().step_by(2).map(|made| format!("'{}'", made.attribute)).collect();
    let more: Vec<String> = (0..PACKAGES - names.len()).map(|at| format!("'more.package{at}'")).collect();
    let names = [names, more].concat().join(", ");
    format!("version = 1\ndefault = 'deny'\n[[package]]\nrule = 'allow'\nattribute = [{names}]\n")
}

/// A rule about each of as many packages as there are; a third of those that are asked about.
fn hundred_thousand_rules(packages: &[Made], file: usize) -> String {
    let mut text = HEAD.to_owned();
    for (at, made) in packages.iter().enumerate() {
        let attribute = if at % 3 == file { &made.attribute } else { &format!("file{file}.package{at}") };
        let _ = write!(text, "[[package]]\nrule = 'deny'\nattribute = '{attribute}'\nversion = '<3'\n");
    }
    text
}

fn read(texts: &[&str]) -> Result<Policy> {
    texts.iter().try_fold(Policy::allow_all(), |policy, text| {
        let problems =
            |found: Vec<Problem>| anyhow!("{}", found.iter().map(Problem::summary).collect::<String>());
        let (more, _) = Policy::parse("policy.toml", text).map_err(problems)?;
        Ok(policy.narrowed_by(more))
    })
}

fn decide(policy: &Policy, made: &Made) -> Decision {
    let request = Request {
        program: PROGRAM,
        soname: made.soname.as_bytes(),
        package: Package { attribute: &made.attribute, output: "out", store_path: &made.store_path },
        source: Source::Needed,
    };
    let circumstances = Circumstances { build_id: Some(BUILD_ID), index: Some("default"), realised: true };
    policy.decide_with(&request, &circumstances)
}

/// Nanoseconds for one decision, over short batches: what else the machine does falls on few of them.
fn decide_all(policy: &Policy, packages: &[Made]) -> Vec<f64> {
    let batches = packages.chunks(BATCH).map(|batch| {
        let start = Instant::now();
        for made in batch {
            black_box(decide(policy, made));
        }
        start.elapsed().as_nanos() as f64 / batch.len() as f64
    });
    batches.collect()
}

fn refused(policy: &Policy, packages: &[Made]) -> usize {
    packages.iter().filter(|made| decide(policy, made) != Decision::Provide).count()
}
