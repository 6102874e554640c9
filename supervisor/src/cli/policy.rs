//! `sonde policy`: whether the policy is sound, what follows from it, and one to begin with. Nothing is changed.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use sonde_policy::{Circumstances, Package, Permitted, Policy, Request, Source, starter, starter_for};

use super::args::{Explain, PolicyCommand};
use super::find::{Program, file_name, finding, findings};
use super::plans::of as plans_of;
use super::{complain, exit_code, logging};
use crate::index::Index;
use crate::plan::closure::Answer;
use crate::plan::draft::Body;
use crate::plan::shelf::Shelf;
use crate::report::decisions::{self, Asked, Judged};
use crate::report::find::{Finding, Found};
use crate::rules::{self, Rules, RulesError};
use crate::settings::Settings;
use crate::store::{self, Tally};

/// What a program is called of which nothing is known but that it has no build id.
pub(super) const SOME_PROGRAM: &[u8] = b"/any/program";

/// Carries out the subcommand.
pub(crate) fn policy(command: &PolicyCommand) -> ExitCode {
    logging::to_stderr();
    let done = match command {
        PolicyCommand::Check { files } => Ok(check(files)),
        PolicyCommand::Explain(explain) => explained(explain),
        PolicyCommand::Init { from_plan: Some(program), .. } => init_from_plan(program),
        PolicyCommand::Init { program, .. } => init(program.as_deref()),
    };
    match done {
        Ok((text, sound)) => {
            // Whoever closed our standard output does not want to know.
            let _ = std::io::stdout().write_all(text.as_bytes());
            exit_code::code(if sound { 0 } else { exit_code::FAILURE })
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

/// A policy's faults, and what it consists of.
fn check(files: &[PathBuf]) -> (String, bool) {
    let settings = Settings::from_environment();
    let all = match files {
        [] => rules::in_force(&settings),
        files => files.iter().map(|file| rules::named(&settings, file)).collect(),
    };
    let (mut text, mut sound) = (String::new(), true);
    for read in all {
        let path = read.path.display().to_string();
        text += &match read.outcome {
            None => decisions::absent(&path),
            Some(Ok((policy, warnings))) => decisions::checked(&path, policy.extent(), &warnings),
            Some(Err(error)) => {
                sound = false;
                match error {
                    RulesError::Mistakes(problems) => decisions::mistaken(&path, &problems),
                    RulesError::File(error) => format!("{error}\n"),
                }
            }
        };
    }
    (text, sound)
}

fn explained(explain: &Explain) -> anyhow::Result<(String, bool)> {
    let settings = Settings::from_environment();
    let policy = Rules::load(&settings, &explain.policies).policy();
    let index = Index::open(&settings, Arc::new(store::files(&settings)?))?;
    index.problems().iter().for_each(|problem| complain(problem));
    let program = explain.program.as_deref().map(|name| Program::read(&index, name)).transpose()?;
    let what = file_name(&explain.what);
    let mut asked = asked(what, program.as_ref(), &policy);
    asked.downloaded = asked.limits.download_total.as_ref().map(|_| Tally::of(&settings).to_string());
    let named = finding(&index, what, program.as_ref());
    asked.excluded = named.excluded.as_ref().map(|excluded| excluded.reason.clone());
    let judge = |found: Found| judged(&policy, &asked, program.as_ref(), found);
    let all: Vec<Judged> = match (named.candidates.is_empty(), named.excluded) {
        (false, _) => named.candidates.into_iter().map(judge).collect(),
        (true, Some(_)) => Vec::new(),
        // It is no library, so it is taken for a package.
        (true, None) => {
            let of_package =
                |found: &Found| found.attribute == explain.what || found.package() == explain.what;
            let files = index.files("*");
            let all = files.iter().map(|(database, provider)| Found::file(&index, *database, provider));
            all.filter(of_package).map(judge).collect()
        }
    };
    let allowed = all.iter().any(Judged::is_provided) || (all.is_empty() && asked.host_may());
    Ok((decisions::explanation(&asked, &all, explain.limit), allowed))
}

/// What is asked, and what the policy says of it before there is a package.
fn asked(what: &str, program: Option<&Program>, policy: &Policy) -> Asked {
    let who = who(program);
    Asked {
        what: what.to_owned(),
        program: program.map(|program| program.path.display().to_string()),
        at_run_time: program.is_some_and(|program| source(program, what) == Source::Runtime),
        excluded: None,
        fault: policy.fault().map(str::to_owned),
        pin: policy.pin_of(&who, what.as_bytes()).map(str::to_owned),
        host_only: policy.host_only(&who, what.as_bytes()),
        host: policy.decide_host(&who, what.as_bytes(), Source::Needed),
        limits: policy.limits(&who),
        downloaded: None,
    }
}

fn judged(policy: &Policy, asked: &Asked, program: Option<&Program>, found: Found) -> Judged {
    let who = who(program);
    let soname =
        if found.file.ends_with(&format!("/{}", asked.what)) { &asked.what } else { file_name(&found.file) };
    let request = Request {
        program: who.path,
        soname: soname.as_bytes(),
        package: package(&found),
        source: program.map_or(Source::Needed, |program| source(program, soname)),
    };
    let explanation = policy.explain(&request, &circumstances(&found, who.build_id));
    Judged { soname: soname.to_owned(), explanation, found }
}

/// The rule that forbids a candidate, if one does.
pub(super) fn forbidden(
    policy: &Policy,
    soname: &str,
    program: Option<&Program>,
    found: &Found,
) -> Option<Arc<str>> {
    let who = who(program);
    let source = program.map_or(Source::Needed, |program| source(program, soname));
    let request = Request { program: who.path, soname: soname.as_bytes(), package: package(found), source };
    match policy.decide_with(&request, &circumstances(found, who.build_id)) {
        sonde_policy::Decision::Provide => None,
        sonde_policy::Decision::Refuse { rule } => Some(rule),
    }
}

fn package(found: &Found) -> Package<'_> {
    Package { attribute: &found.attribute, output: &found.output, store_path: &found.store_path }
}

fn circumstances<'a>(found: &'a Found, build_id: Option<&'a [u8]>) -> Circumstances<'a> {
    Circumstances { build_id, index: Some(&found.database), realised: found.realised }
}

fn who(program: Option<&Program>) -> sonde_policy::Program<'_> {
    match program {
        Some(program) => sonde_policy::Program {
            path: program.path.as_os_str().as_bytes(),
            build_id: Some(program.build_id()),
        },
        None => sonde_policy::Program { path: SOME_PROGRAM, build_id: Some(&[]) },
    }
}

/// What a program does not name it can only ask for at run time.
fn source(program: &Program, soname: &str) -> Source {
    if program.names(soname) { Source::Needed } else { Source::Runtime }
}

/// What a program was given so far, at its start and since, under whichever environment.
fn init_from_plan(program: &Path) -> anyhow::Result<(String, bool)> {
    let settings = Settings::from_environment();
    let plans = plans_of(&Shelf::of(&settings), program)?;
    let bodies: Vec<Body> =
        plans.iter().filter_map(|(_, kept)| Body::read(kept.as_ref()?.plan()?.body())).collect();
    let Some(path) = bodies.first().map(|body| body.program.clone()) else {
        anyhow::bail!("{}: its plan cannot be read; run it once more", program.display())
    };
    // A plan whose paths are no text is not kept.
    let path = path.to_str().unwrap_or_default();
    let (mut permitted, mut hosts) = (Vec::new(), Vec::new());
    for body in &bodies {
        for (soname, choice) in body.provided() {
            permitted.push(Permitted { attribute: choice.attribute.clone(), soname: soname.to_owned() });
        }
        let excluded = body.libraries.iter().filter(|need| matches!(need.answer, Answer::Excluded(_)));
        hosts.extend(excluded.map(|need| need.soname.clone()));
    }
    hosts.sort();
    hosts.dedup();
    Ok((starter_for(path, &permitted, &hosts), true))
}

fn init(program: Option<&OsStr>) -> anyhow::Result<(String, bool)> {
    let Some(name) = program else { return Ok((starter().to_owned(), true)) };
    let settings = Settings::from_environment();
    let index = Index::open(&settings, Arc::new(store::files(&settings)?))?;
    let program = Program::read(&index, name)?;
    let Some(path) = program.path.to_str() else {
        anyhow::bail!("{}: a path that is no UTF-8 text cannot be named in a policy", program.path.display())
    };
    let (mut permitted, mut hosts, mut complete) = (Vec::new(), Vec::new(), true);
    for finding in findings(&index, &[], Some(&program)) {
        let chosen = finding.candidates.first().filter(|_| finding.provided);
        match chosen {
            Some(found) if !found.attribute.is_empty() => permitted
                .push(Permitted { attribute: found.attribute.clone(), soname: finding.soname.clone() }),
            _ if finding.excluded.as_ref().is_some_and(|excluded| excluded.kind == "driver") => {
                hosts.push(finding.soname.clone());
            }
            _ if Finding::is_satisfied(&finding) => {}
            _ => {
                complete = false;
                complain(&format_args!("{}: no package that a rule could name provides it", finding.soname));
            }
        }
    }
    Ok((starter_for(path, &permitted, &hosts), complete))
}
