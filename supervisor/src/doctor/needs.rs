//! What a program misses, and whether that can be had: libraries by what would be chosen for it, glibc by its version.

use std::path::Path;
use std::sync::Arc;

use sonde_policy::{Circumstances, Decision, Package, Policy, Request, Source};
use sonde_resolve::bundle::{Want, Why};
use sonde_resolve::choose::newest::{beyond, newest_definition};
use sonde_resolve::dlopen_note::Priority;
use sonde_resolve::elf::ElfFacts;

use super::finding::Finding;
use super::program::Subject;
use crate::index::fitting::AsItIs;
use crate::index::{Choice, Index};
use crate::plan::closure::{Answer, GuestFiles, Need, resolve};
use crate::plan::drivers::{Drivers, answer_for};
use crate::rules::Rules;
use crate::settings::Settings;
use crate::store::files;

/// The library of glibc that the program's own versions are compared with.
const LIBC: &str = "libc.so.6";
const FAMILY: &str = "GLIBC";

/// How many names that resemble one that nobody has are told.
const MOST_NEAR: usize = 3;

/// Looks at everything that a program and what came with it are linked against, or say that they may load.
pub(super) fn examine(settings: &Settings, index: &Index, subject: &Subject) -> Vec<Finding> {
    let closure = resolve(&subject.bundle, &GuestFiles(&subject.root), index, &mut AsItIs(index));
    let policy = Rules::load(settings, &[]).policy();
    // A mistake there is told with the configuration.
    let drivers = Drivers::load(settings).unwrap_or_default();
    let is_hosts =
        |soname: &String| answer_for(index, soname) && drivers.find(std::slice::from_ref(soname)).is_some();
    let needs = closure.needs.iter().filter(|need| !is_hosts(&need.soname));
    let mut findings: Vec<Finding> =
        needs.filter_map(|need| missing(index, &policy, subject, need, &drivers)).collect();
    findings.insert(0, counted(index, &closure.needs, findings.len()));
    findings.extend(glibc(settings, index, subject));
    findings.extend(subject.bundle.wants.iter().filter_map(|want| noted(index, subject, want)));
    findings
}

/// Where its libraries come from, in numbers.
fn counted(index: &Index, needs: &[Need], wrong: usize) -> Finding {
    let count = |is: &dyn Fn(&Answer) -> bool| needs.iter().filter(|need| is(&need.answer)).count();
    let bundled = count(&|answer| *answer == Answer::Bundled);
    let glibc = count(&|answer| *answer == Answer::Glibc);
    let packages: Vec<&Choice> = needs
        .iter()
        .filter_map(|need| match &need.answer {
            Answer::Package(choice) => Some(choice),
            _ => None,
        })
        .collect();
    let there = packages.iter().filter(|choice| index.is_there(&choice.object)).count();
    let mut parts = vec![
        format!("linked against {} libraries: {bundled} it has", needs.len()),
        format!("{glibc} are glibc's"),
        format!("{} come from packages, {there} of them in the store", packages.len()),
    ];
    if wrong > 0 {
        parts.push(format!("{wrong} cannot be had as it is"));
    }
    Finding::ok("program.libraries", parts.join("; "))
}

/// What is wrong with one library that it is linked against.
fn missing(
    index: &Index,
    policy: &Arc<Policy>,
    subject: &Subject,
    need: &Need,
    drivers: &Drivers,
) -> Option<Finding> {
    const ID: &str = "program.library";
    let soname = &need.soname;
    let who = need.needed_by.display();
    match &need.answer {
        Answer::Bundled | Answer::Glibc => None,
        Answer::Package(choice) => forbidden(index, policy, subject, need, choice),
        Answer::Unfit(versions) => Some(Finding::error(
            ID,
            format!("{soname}, needed by {who}: every package that has it lacks {}", versions.join(", ")),
            format!(
                "`sonde find --for {} {soname}` compares them; an older or newer database may have it",
                subject.path.display()
            ),
        )),
        Answer::Excluded(reason) if index.is_driver(soname) => Some(Finding::error(
            ID,
            format!("{soname}, needed by {who}: {reason}; it is not in {drivers}"),
            "set `hardware.graphics.enable = true;`, and for NVIDIA `services.xserver.videoDrivers = [ \"nvidia\" ];`",
        )),
        Answer::Excluded(reason) => Some(Finding::warning(
            ID,
            format!("{soname}, needed by {who}: {reason}"),
            "put it in a folder that LD_LIBRARY_PATH names, if the program does not run without it",
        )),
        Answer::Absent | Answer::NoIndex => Some(Finding::error(
            ID,
            format!("{soname}, needed by {who}: in no package of the index"),
            near(index, soname),
        )),
    }
}

/// What to do about a name that nobody has.
fn near(index: &Index, soname: &str) -> String {
    let near: Vec<String> =
        index.near_misses(soname, MOST_NEAR).into_iter().map(|near| near.soname).collect();
    if near.is_empty() {
        return "put it in a folder that LD_LIBRARY_PATH names, or import another database".to_owned();
    }
    format!(
        "packages have {}; an older database may have it: `sonde index import FILE --name older`",
        near.join(", ")
    )
}

fn forbidden(
    index: &Index,
    policy: &Policy,
    subject: &Subject,
    need: &Need,
    choice: &Choice,
) -> Option<Finding> {
    let build_id = subject.facts().and_then(|facts| facts.build_id.as_deref()).unwrap_or_default();
    let package =
        Package { attribute: &choice.attribute, output: &choice.output, store_path: choice.object.as_str() };
    let program = std::os::unix::ffi::OsStrExt::as_bytes(subject.path.as_os_str());
    let request = Request { program, soname: need.soname.as_bytes(), package, source: Source::Needed };
    let circumstances = Circumstances {
        build_id: Some(build_id),
        index: Some(index.database_with(choice)),
        realised: index.is_there(&choice.object),
    };
    match policy.decide_with(&request, &circumstances) {
        Decision::Provide => None,
        Decision::Refuse { rule } => Some(Finding::error(
            "program.policy",
            format!("{} is in {}, which the policy forbids: {rule}", need.soname, choice.attribute),
            format!(
                "`sonde policy explain --program {} {}` shows every rule that takes part",
                subject.path.display(),
                need.soname
            ),
        )),
    }
}

/// Is the glibc that it will run with new enough?
fn glibc(settings: &Settings, index: &Index, subject: &Subject) -> Option<Finding> {
    const ID: &str = "program.glibc";
    let members = || subject.bundle.members.iter().map(|member| &member.facts);
    let own = subject.facts()?.interp.as_deref().map(Path::new).filter(|path| path.starts_with("/nix/store"));
    let loader = match own {
        Some(path) => path.to_owned(),
        None => index.loader()?.file,
    };
    let library = loader.with_file_name(LIBC);
    let facts = files(settings).ok()?.read(&library).and_then(|bytes| ElfFacts::parse(&bytes).ok());
    let Some(facts) = facts else {
        return Some(Finding::ok(
            ID,
            format!("its glibc is fetched at the first start: {}", library.display()),
        ));
    };
    let had = newest_definition(FAMILY, &facts)
        .map_or_else(|| "no version".to_owned(), |newest| newest.to_string());
    Some(match beyond(FAMILY, members(), &facts) {
        None => Finding::ok(ID, format!("glibc is new enough: {} has {had}", library.display())),
        Some(needed) => Finding::error(
            ID,
            format!("it needs {needed} of glibc, and {} has {had}", library.display()),
            "fetch a newer index, `sonde index update`, or get a build of the program for an older distribution",
        ),
    })
}

/// What it says that it may load, and nobody has.
fn noted(index: &Index, subject: &Subject, want: &Want) -> Option<Finding> {
    const ID: &str = "program.optional-library";
    let Why::Note(priority) = want.why else { return None };
    let has = |soname: &String| index.choose(soname).is_some() || index.is_glibc(soname);
    if want.found.is_some() || want.sonames.iter().any(has) || priority == Priority::Suggested {
        return None;
    }
    let what = format!(
        "{}, which {} may load at run time (.note.dlopen)",
        want.sonames.join(" or "),
        subject.bundle.wanted_by(want).display()
    );
    let remedy = near(index, want.soname());
    Some(match priority {
        Priority::Required => {
            Finding::error(ID, format!("{what} and says it cannot do without, is in no package"), remedy)
        }
        _ => Finding::warning(ID, format!("{what}, is in no package: a feature will be missing"), remedy),
    })
}
