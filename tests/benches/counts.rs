//! The system calls of a start: counted by strace, not timed.

use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::Bench;
use crate::harness::{Engine, Who};
use crate::measure::words::times;
use crate::measure::{Table, succeed};
use crate::starts::PROGRAMS;
use crate::ways::{Libraries, Subject, Way, let_plans_be_written};

const WAYS: [Way; 3] = [Way::Native, Way::Sonde(Engine::Inline), Way::Sonde(Engine::Seccomp)];

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("System calls of a start");
    let mut columns = Vec::new();
    for (name, arguments) in PROGRAMS {
        let subject = Subject::of_world(name, arguments)?;
        let mut column = Vec::new();
        for way in WAYS {
            // Without a door: what is counted is a supervisor that begins and ends.
            let root = way.root(Who::Root, &Libraries::default())?.env("XDG_RUNTIME_DIR", "");
            succeed(root.command(&subject.argv[0]).args(&subject.argv[1..]))?;
            let_plans_be_written();
            let Some(counted) = count(root.command(&subject.argv[0]).args(&subject.argv[1..]))? else {
                bench.page.say("strace is not installed: no system calls were counted.");
                return Ok(());
            };
            column.push(counted);
        }
        columns.push((subject.shown, column));
    }
    let shown = columns.iter().map(|(shown, _)| shown.as_str());
    let mut table = Table::new(1, std::iter::once("start of").chain(shown));
    let mut row = |title: &str, cell: &dyn Fn(&[Counted]) -> String| {
        let cells = columns.iter().map(|(_, column)| cell(column));
        table.row(std::iter::once(title.to_owned()).chain(cells));
    };
    let ratio = |counted: &[Counted], at: usize| {
        let (own, native) = (counted[at].program, counted[0].program);
        format!("{own} {}", times(own as f64 / native as f64))
    };
    row("native", &|counted| counted[0].program.to_string());
    row("Sonde, inline", &|counted| ratio(counted, 1));
    row("its supervisor", &|counted| counted[1].supervisor.to_string());
    row("Sonde, seccomp", &|counted| ratio(counted, 2));
    row("its supervisor", &|counted| counted[2].supervisor.to_string());
    row("traps", &|counted| counted[2].traps.to_string());
    bench.page.table(&table);
    bench.page.say(
        "Counted by strace in one warm start as root: those of the program's process with its loader and shim, and those of the \
         supervisor, keeper and worker, that is started for it.",
    );
    Ok(())
}

/// System calls of one run.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// By the program, its loader and its shim.
    program: usize,
    /// By its supervisor, from the fork that becomes it.
    supervisor: usize,
    /// Notifications that the supervisor received.
    pub(crate) traps: usize,
}

/// Runs a command that enters a root under strace, and counts from the moment that the command is what it enters for.
/// None if there is no strace.
pub(crate) fn count(command: &Command) -> Result<Option<Counted>> {
    let folder = tempfile::tempdir().context("making a folder for strace")?;
    let file = folder.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&file);
    strace.arg(command.get_program()).args(command.get_args());
    match strace.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("running strace"),
        Ok(status) => ensure!(status.success(), "{strace:?}: {status}"),
    }
    let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    let text = String::from_utf8_lossy(&text);
    // `1234  openat(AT_FDCWD, …) = 3`
    let lines: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.split_once(' ')).map(|(pid, call)| (pid, call.trim())).collect();
    let entered = lines.iter().rposition(|(pid, call)| *pid == lines[0].0 && call.starts_with("execve("));
    let entered = entered.context("strace shows no execve")?;

    let supervisor = supervisors(&lines);
    let mut counted = Counted::default();
    for (pid, call) in &lines[entered..] {
        if call.starts_with('<') || call.starts_with('+') {
            continue; // The end of a call that was counted at its beginning, or of a process.
        }
        if supervisor.contains(pid) {
            counted.supervisor += 1;
            counted.traps += usize::from(call.contains("SECCOMP_IOCTL_NOTIF_RECV"));
        } else {
            counted.program += 1;
        }
    }
    Ok(Some(counted))
}

/// The processes that execute `sonde`, and their threads and children.
fn supervisors<'a>(lines: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let executes = |call: &str| call.starts_with("execve(") && call.contains("/bin/sonde\"");
    let mut found: Vec<&str> = lines.iter().filter(|(_, call)| executes(call)).map(|(pid, _)| *pid).collect();
    // Parents stand before their children's children.
    for (pid, call) in lines {
        let creates = ["clone", "fork", "vfork", "<... clone", "<... fork", "<... vfork"];
        if found.contains(pid) && creates.iter().any(|name| call.starts_with(name)) {
            found.extend(call.rsplit_once(" = ").map(|(_, child)| child));
        }
    }
    found
}
