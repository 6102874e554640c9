//! `sonde trace`: runs the program as a child, serves its tree in this process, and tells what it is given.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use console::Term;
use crossbeam_channel::{Receiver, unbounded};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::args::Program;
use super::find::{self, finding};
use super::policy::forbidden;
use super::run::{cannot_start, cannot_view, run, under_shim};
use super::trace_options::Trace;
use super::watch::Watched;
use super::{complain, exit_code, logging, store_view};
use crate::guest::launch::{Launch, Manner};
use crate::guest::remote::Thread;
use crate::index::Index;
use crate::plan::drivers::Drivers;
use crate::report::event::{Event, Reporter, What};
use crate::report::find::Finding;
use crate::report::style::Paint;
use crate::report::trace::entry::{self, Begin, Entry, How, Load, Outcome, SCHEMA};
use crate::report::trace::human::Human;
use crate::report::trace::{Form, Teller, graph, html};
use crate::rules::Rules;
use crate::serve::{self, Orders};
use crate::settings::{Settings, find_shim};
use crate::store;
use crate::sys::scm_rights::Socket;
use crate::sys::{reaped, signals, spawn};

/// Runs the program, tells what it loads, and ends as it did; or tells of one that runs already.
pub(crate) fn trace(options: &Trace) -> ExitCode {
    logging::to_stderr();
    if let Some(process) = options.pid {
        return watch_process(options, process).unwrap_or_else(|status| status);
    }
    let program = &options.program;
    let (name, arguments) = program.split();
    let launch = match Launch::prepare(name, arguments) {
        Ok(launch) => launch,
        Err(error) => return cannot_start(&error),
    };
    if launch.manner == Manner::Untouched {
        complain(&format_args!(
            "{}: nothing to trace: static, setuid, or not an x86-64 program",
            launch.path.display()
        ));
        return run(program);
    }
    let Some(shim) = find_shim() else {
        complain(&"the shim sonde-interp is not beside this command; install both together");
        return exit_code::code(exit_code::FAILURE);
    };
    // Opened before the program starts: a trace that cannot be written is not worth a run.
    let paper = match Paper::open(options) {
        Ok(paper) => paper,
        Err(status) => return status,
    };
    let mut settings = Settings::from_environment();
    settings.offline |= program.offline;
    // This process serves, so it sees what the program sees.
    if let Err(error) = store_view::enter(program.store_mode, &settings) {
        return cannot_view(&error);
    }
    match traced(options, &launch, &shim, settings, paper) {
        Ok(status) => end_like(status),
        Err(error) => {
            complain(&format_args!("tracing {}: {error}", launch.path.display()));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn traced(
    options: &Trace,
    launch: &Launch,
    shim: &Path,
    settings: Settings,
    paper: Paper,
) -> io::Result<WaitStatus> {
    let (reporter, events) = Reporter::listening(Instant::now());
    let arguments = Trace::arguments(launch.arguments.get(1..).unwrap_or_default());
    let begin = beginning(launch.path.clone(), arguments, None);
    let explainer = (settings.clone(), options.program.orders().unwrap_or_default());
    told(options, paper, (events, begin), explainer, || {
        let status = start(&options.program, launch, shim, settings, &reporter);
        let (code, signal) = match &status {
            Ok(WaitStatus::Exited(_, code)) => (Some(*code), None),
            Ok(WaitStatus::Signaled(_, signal, _)) => (None, Some(*signal as i32)),
            _ => (None, None),
        };
        reporter.report(0, What::Over { status: code, signal });
        status
    })?
}

/// Tells of a process that runs already, and of its tree.
///
/// # Errors
/// The exit status, when it has been said what is the matter.
fn watch_process(options: &Trace, process: u32) -> Result<ExitCode, ExitCode> {
    let watched = Watched::find(process)?;
    let paper = Paper::open(options)?;
    let begin = beginning(watched.program.clone(), watched.arguments.clone(), Some(process));
    let (sender, events) = unbounded();
    let explainer = (Settings::from_environment(), Orders::default());
    let told = told(options, paper, (events, begin), explainer, || watched.hear(&sender));
    told.map(|()| ExitCode::SUCCESS).map_err(|error| {
        complain(&format_args!("tracing process {process}: {error}"));
        exit_code::code(exit_code::FAILURE)
    })
}

/// Tells events, on a thread of its own, while `while_told` runs, which sees to it that there is a last one.
fn told<T>(
    options: &Trace,
    Paper { output, is_terminal, page }: Paper,
    (events, begin): (Receiver<Event>, Begin),
    (settings, orders): (Settings, Orders),
    while_told: impl FnOnce() -> T,
) -> io::Result<T> {
    let begin = Entry { at: Duration::ZERO, what: entry::What::Begin(begin) };
    thread::scope(|scope| {
        let teller = thread::Builder::new().name("teller".into()).spawn_scoped(scope, move || {
            let mut explainer = Explainer::new(&settings, &orders);
            let known = (explainer.index.clone(), explainer.drivers.folders().to_vec());
            let form = form(options, is_terminal);
            let explain = Box::new(move |load: &Load, program: &Path| explainer.explain(load, program));
            Teller::new(options.filter(), form, output, explain).tell(&events, begin, known)
        })?;
        let result = while_told();
        let (entries, output) = teller.join().map_err(|_| io::Error::other("the trace could not be told"))?;
        write_whole(options, &entries, output, page)?;
        Ok(result)
    })
}

/// Where a trace is written.
struct Paper {
    output: Box<dyn Write + Send>,
    is_terminal: bool,
    page: Option<File>,
}

impl Paper {
    /// # Errors
    /// The exit status, when it has been said what is the matter.
    fn open(options: &Trace) -> Result<Self, ExitCode> {
        let create = |path: &Path| {
            File::create(path).map_err(|error| {
                complain(&format_args!("{}: {error}", path.display()));
                exit_code::code(exit_code::FAILURE)
            })
        };
        let (output, is_terminal): (Box<dyn Write + Send>, bool) = match options.output.as_deref() {
            None => (Box::new(io::stderr()), io::stderr().is_terminal()),
            Some(path) => (Box::new(create(path)?), false),
        };
        let page = options.html.as_deref().map(create).transpose()?;
        Ok(Self { output, is_terminal, page })
    }
}

/// Writes what is made of all of a trace.
fn write_whole(
    options: &Trace,
    entries: &[Entry],
    mut output: Box<dyn Write + Send>,
    page: Option<File>,
) -> io::Result<()> {
    if options.dot {
        output.write_all(graph::dot(entries).as_bytes())?;
    }
    if options.mermaid {
        output.write_all(graph::mermaid(entries).as_bytes())?;
    }
    page.map_or(Ok(()), |mut page| page.write_all(html::page(entries).as_bytes()))
}

fn beginning(program: PathBuf, arguments: Vec<String>, process: Option<u32>) -> Begin {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Begin {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        program,
        arguments,
        process,
        unix_time: since.as_secs_f64(),
    }
}

fn form(options: &Trace, is_terminal: bool) -> Form {
    if options.json {
        return Form::Json;
    }
    // With a page alone the terminal is the program's.
    if options.dot || options.mermaid || (options.html.is_some() && options.output.is_none()) {
        return Form::Silent;
    }
    let width = Term::stderr().size_checked().map(|(_, columns)| usize::from(columns));
    Form::Human(Human::new(Paint::for_terminal(is_terminal), width.filter(|_| is_terminal)))
}

/// Starts the program under the shim and serves it until its tree has ended.
fn start(
    program: &Program,
    launch: &Launch,
    shim: &Path,
    settings: Settings,
    reporter: &Reporter,
) -> io::Result<WaitStatus> {
    let (ours, theirs) = Socket::pair()?;
    let number = theirs.keep_on_exec()?.to_string();
    let options = ["--supervisor-fd".into(), number.into()].into_iter().chain(program.shim_options());
    let (path, arguments) = under_shim(shim, launch, options);
    let child = spawn::spawn(&path, &arguments)?;
    drop(theirs);
    // The child has them as they were; from now on it alone is meant.
    signals::ignore_terminal()?;
    watch((settings, program.orders().unwrap_or_default()), child, ours, reporter)
}

fn watch(
    (settings, orders): (Settings, Orders),
    child: Pid,
    socket: Socket,
    reporter: &Reporter,
) -> io::Result<WaitStatus> {
    // Reaped at once, not when its tree has ended: before Linux 6.11 a zombie counts as a part of it.
    let reaper = thread::Builder::new().name("reaper".into()).spawn(move || reaped::wait(child))?;
    if let Some(thread) = Thread::new(child.as_raw().cast_unsigned())
        && let Err(error) = serve::serve(settings, orders, socket, thread, reporter.clone())
    {
        tracing::debug!(%error, "the program runs unsupervised; the shim has said why");
    }
    reaper.join().map_err(|_| io::Error::other("waiting for the program failed"))?
}

/// Says why a library is this one, in the words of `sonde find --for PROGRAM`.
struct Explainer {
    index: Option<Arc<Index>>,
    drivers: Drivers,
    rules: Rules,
    /// By path; none for what cannot be read (any more).
    programs: HashMap<PathBuf, Option<find::Program>>,
}

impl Explainer {
    /// Without an index nothing is explained; nothing is provided either.
    fn new(settings: &Settings, orders: &Orders) -> Self {
        let files = store::files(settings).ok().map(Arc::new);
        let index = files.and_then(|files| Index::open(settings, files).ok()).map(Arc::new);
        // With a mistake there the tree is not served, which is told.
        let drivers = Drivers::load(settings).unwrap_or_default();
        Self { index, drivers, rules: Rules::load(settings, &orders.policies), programs: HashMap::new() }
    }

    fn explain(&mut self, load: &Load, program: &Path) -> Option<Finding> {
        let index = self.index.as_ref()?;
        let was_chosen = matches!(load.how, None | Some(How::ServedCache | How::Redirected));
        if !was_chosen || load.outcome == Outcome::Refused || index.is_glibc(&load.soname) {
            return None;
        }
        let read = || find::Program::read(index, program.as_os_str()).ok();
        let program = self.programs.entry(program.to_owned()).or_insert_with(read).as_ref();
        let mut finding = finding(index, &load.soname, program);
        let policy = self.rules.policy();
        for candidate in &mut finding.candidates {
            let rule = forbidden(&policy, &load.soname, program, candidate);
            candidate.forbidden = rule.map(|rule| rule.to_string());
        }
        Some(finding)
    }
}

/// Ends this process as the program ended: with its status, or by its signal.
fn end_like(status: WaitStatus) -> ExitCode {
    match status {
        WaitStatus::Exited(_, code) => exit_code::code(u8::try_from(code).unwrap_or(exit_code::FAILURE)),
        WaitStatus::Signaled(_, signal, _) => {
            // Returns only if the signal cannot end us.
            let _ = signals::die_of(signal);
            exit_code::code(u8::try_from(128 + signal as i32).unwrap_or(exit_code::FAILURE))
        }
        _ => exit_code::code(exit_code::FAILURE),
    }
}
