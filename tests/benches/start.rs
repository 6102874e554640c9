//! `make bench`: what a start under Sonde costs, cold and warm, and what a trap costs, each against native runs of the
//! same minute.
//!
//! Everything is timed from inside a root of the test world, by guests: entering the root is in no figure. Arguments are
//! names of programs, and restrict the first and last table to these: `cargo bench --bench start -- curl`.

#[path = "../harness/mod.rs"]
mod harness;
mod measure;

use std::fs;
use std::io::{ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sonde_world::RootBuilder;

use harness::{EVERYBODY, Engine, Fixture, Outcome, SONDE, Who, fixture, run};
use measure::{Sample, Table, circumstances, interleave, time, times, with_spread};

/// What is started: the world's name for it, and arguments that make it end at once.
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("hello", &[]),
    ("curl", &["--version"]),
    ("python3", &["-c", "pass"]),
    ("node", &["-e", "0"]),
    ("ffmpeg", &["-version"]),
];

/// Started from an empty store too. A cold start is mostly Nix's work, so two tell enough.
const COLD: [&str; 2] = ["hello", "curl"];
const COLD_RUNS: usize = 5;

/// Warm starts: thirteen batches of four, each after one that is not counted.
const ROUNDS: usize = 13;
const BATCH: &str = "4";

fn main() -> Result<()> {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut programs = Vec::new();
    for (name, arguments) in PROGRAMS {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            programs.push(Program::find(name, arguments)?);
        }
    }
    ensure!(!programs.is_empty(), "none of {} is started here", wanted.join(", "));

    println!("{}\n", circumstances());
    starts(&programs)?;
    println!();
    calls()?;
    println!();
    system_calls(&programs)
}

fn say(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("measuring {what} …");
    }
}

/// A foreign program and how it is started.
struct Program {
    name: &'static str,
    shown: String,
    argv: Vec<String>,
}

impl Program {
    fn find(name: &'static str, arguments: &[&str]) -> Result<Self> {
        let executable = fixture().world.program(name)?.executable.clone();
        let shown = [&[name], arguments].concat().join(" ");
        let argv = std::iter::once(executable).chain(arguments.iter().map(|&one| one.to_owned())).collect();
        Ok(Self { name, shown, argv })
    }

    /// Starts it once under Sonde, so that all it needs is realised, and makes a folder of links to what its loader was
    /// given.
    fn warm_up(&self, who: Who) -> Result<Libraries> {
        let name = format!("libraries-{}", self.name);
        let folder = fixture().guests().join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let root = fixture().root(who).env("LD_TRACE_LOADED_OBJECTS", "1");
        let mut folders: Vec<String> = Vec::new();
        for line in succeed(&mut root.command(&self.argv[0]))?.stdout.lines() {
            // `libz.so.1 => /nix/store/…/libz.so.1 (0x…)`
            let Some((soname, file)) = line.trim().split_once(" => ") else { continue };
            let file = file.split(" (").next().unwrap_or(file);
            let whole = file.rsplit_once('/').map_or("", |(whole, _)| whole).to_owned();
            if !folders.contains(&whole) {
                folders.push(whole);
            }
            match std::os::unix::fs::symlink(file, folder.join(soname)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("linking {soname} to {file}"));
                }
                _ => {}
            }
        }
        Ok(Libraries { links: format!("/guests/{name}"), folders: folders.join(":") })
    }
}

/// What a program's loader was given, as values of `LD_LIBRARY_PATH`.
struct Libraries {
    /// One folder of links.
    links: String,
    /// The folders in the store.
    folders: String,
}

impl Libraries {
    fn none() -> Self {
        Self { links: String::new(), folders: String::new() }
    }
}

/// How a program is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By Debian's loader, with Debian's libraries.
    Native,
    /// By the store's loader at `/lib64`, with the same libraries as Sonde gives, by `LD_LIBRARY_PATH`. This is what
    /// nix-ld arrives at; its own shim's time would come on top.
    Listed,
    /// The same, but each library by its folder in the store, as a wrapper script or a shell sets it up.
    Folders,
    /// By the shim at `/lib64`.
    Interpreter,
    /// The same with the engine inline, which asks nobody from the second start on.
    Inline,
    /// By `sonde run`.
    Run,
}

const WAYS: [Way; 6] = [Way::Native, Way::Listed, Way::Folders, Way::Interpreter, Way::Inline, Way::Run];

impl Way {
    fn root(self, who: Who, libraries: &Libraries) -> Result<RootBuilder> {
        let root = match self {
            Self::Native => fixture().native(who),
            Self::Listed => listed(who)?.env("LD_LIBRARY_PATH", &libraries.links),
            Self::Folders => listed(who)?.env("LD_LIBRARY_PATH", &libraries.folders),
            Self::Interpreter => fixture().root(who),
            Self::Inline => fixture().under(Engine::Inline, fixture().root(who)),
            Self::Run => fixture().without_shim(who),
        };
        // Only the native root has locales: with another one, programs would read more there.
        Ok(root.env("LANG", "C"))
    }

    fn prefix(self) -> &'static [&'static str] {
        if self == Self::Run { &[SONDE, "run"] } else { &[] }
    }
}

/// The root in which the store's loader stands at `/lib64`.
fn listed(who: Who) -> Result<RootBuilder> {
    Ok(fixture().without_shim(who).shim(store_loader()?))
}

/// This machine's path of the loader that Sonde gives to the world's programs.
fn store_loader() -> Result<PathBuf> {
    let glibc = store_path("glibc")?;
    Ok(fixture().world.on_host(&glibc).join("lib/ld-linux-x86-64.so.2"))
}

fn store_path(attribute: &str) -> Result<String> {
    let packages = fixture().world.packages()?;
    let found = packages.into_iter().find(|one| one.attr == attribute && one.output == "out");
    Ok(found.with_context(|| format!("the world has no {attribute}"))?.store_path)
}

/// The guest that times whole runs.
fn timer(fixture: &Fixture) -> String {
    fixture.compile("time_runs", "time_runs", &["-static"])
}

fn succeed(command: &mut Command) -> Result<Outcome> {
    let outcome = run(command);
    ensure!(outcome.succeeded(), "{command:?}: {outcome}");
    Ok(outcome)
}

/// The nanoseconds that a guest printed, one figure a line.
fn figures(command: &mut Command) -> Result<Vec<f64>> {
    let outcome = succeed(command)?;
    outcome
        .stdout
        .lines()
        .map(|line| line.parse().with_context(|| format!("{command:?}: {outcome}")))
        .collect()
}

fn starts(programs: &[Program]) -> Result<()> {
    let mut table = Table::new(
        2,
        [
            "START OF",
            "AS",
            "NATIVE",
            "LISTED",
            "",
            "FOLDERS",
            "",
            "THROUGH /lib64",
            "",
            "INLINE",
            "",
            "SONDE RUN",
            "",
            "COLD",
            "",
        ],
    );
    for program in programs {
        for who in EVERYBODY {
            say(&format!("{} as {who:?}", program.shown));
            let libraries = program.warm_up(who)?;
            let samples = interleave(ROUNDS, &WAYS, |way| {
                let root = way.root(who, &libraries)?;
                let mut command = root.command(timer(fixture()));
                figures(command.args(["1", BATCH]).args(way.prefix()).args(&program.argv))
            })?;
            let [native, listed, folders, interpreter, inline, run] = samples.as_slice() else {
                bail!("a way was left out")
            };
            let (cold, cold_ratio) = if COLD.contains(&program.name) {
                let cold = cold_starts(program, who)?;
                (with_spread(&cold), times(cold.ratio(native)))
            } else {
                Default::default()
            };
            table.row([
                program.shown.clone(),
                format!("{who:?}").to_lowercase(),
                with_spread(native),
                with_spread(listed),
                times(listed.ratio(native)),
                with_spread(folders),
                times(folders.ratio(native)),
                with_spread(interpreter),
                times(interpreter.ratio(native)),
                with_spread(inline),
                times(inline.ratio(native)),
                with_spread(run),
                times(run.ratio(native)),
                cold,
                cold_ratio,
            ]);
        }
    }
    table.print();
    println!(
        "LISTED: the same libraries by LD_LIBRARY_PATH, under the store's loader, in one folder of links; FOLDERS: by their\n\
         folders in the store. COLD: nothing was ever realised, the cache is on loopback. Medians of {} runs ({COLD_RUNS} cold) ± half the distance of the quartiles; × is to native.",
        ROUNDS * BATCH.parse::<usize>()?,
    );
    Ok(())
}

fn cold_starts(program: &Program, who: Who) -> Result<Sample> {
    let mut sample = Sample::default();
    for _ in 0..COLD_RUNS {
        let (_state, root) = fixture().cold(who);
        sample.add(figures(root.command(timer(fixture())).args(["0", "1"]).args(&program.argv))?);
    }
    Ok(sample)
}

/// One call of a guest, natively and under Sonde.
struct Call {
    shown: &'static str,
    call: &'static str,
    /// How often it is made for one figure, as the guest's argument.
    times: &'static str,
    native: String,
    supervised: String,
}

/// The engines that a user's trees can have. Without a filter only those of an ordinary user are, see [`Engine`].
fn engines_of(who: Who) -> &'static [Engine] {
    match who {
        Who::Root => &[Engine::Seccomp, Engine::Ptrace, Engine::Inline],
        Who::Alice => &[Engine::Seccomp, Engine::Ptrace, Engine::PtraceAll, Engine::Inline],
    }
}

fn calls() -> Result<()> {
    let call = |shown, call, times, native: &str, supervised: &str| Call {
        shown,
        call,
        times,
        native: native.to_owned(),
        supervised: supervised.to_owned(),
    };
    let usual = "/usr/lib/x86_64-linux-gnu/libexpat.so.1";
    let in_store = format!("{}/lib/libexpat.so.1", store_path("expat")?);
    let calls = [
        call(
            "dlopen by soname: served cache, let through",
            "dlopen",
            "100",
            "libexpat.so.1",
            "libexpat.so.1",
        ),
        call("dlopen by store path: let through", "dlopen", "100", usual, &in_store),
        call("dlopen by FHS path: redirected", "dlopen", "100", usual, usual),
        call("the program's own openat", "openat", "10000", "/etc/passwd", "/etc/passwd"),
        call("the program's getppid", "getppid", "100000", "", ""),
    ];
    let guest = fixture().guest("repeat_call");

    let mut table =
        Table::new(3, ["CALL", "AS", "ENGINE", "NATIVE", "UNDER SONDE", "", "TRAPS", "EACH TRAP"]);
    for call in &calls {
        say(call.shown);
        let traps = traps_of(&guest, call)?;
        for who in EVERYBODY {
            let engines = engines_of(who);
            let ways: Vec<Option<Engine>> =
                std::iter::once(None).chain(engines.iter().copied().map(Some)).collect();
            let samples = interleave(ROUNDS, &ways, |&engine| {
                let (root, name) = match engine {
                    None => (Way::Native.root(who, &Libraries::none())?, &call.native),
                    Some(engine) => (
                        fixture().under(engine, Way::Interpreter.root(who, &Libraries::none())?),
                        &call.supervised,
                    ),
                };
                // Where every call stops, fewer are enough, and more would take minutes.
                let few = engine == Some(Engine::PtraceAll) && call.call != "dlopen";
                let times = if few { "100" } else { call.times };
                figures(root.command(&guest).args([call.call, times, name]))
            })?;
            let Some((native, supervised)) = samples.split_first() else { bail!("a way was left out") };
            for (engine, supervised) in engines.iter().zip(supervised) {
                // Where every call stops, what a trap takes cannot be told from what the others do; inline there is none.
                let has_traps = matches!(engine, Engine::Seccomp | Engine::Ptrace);
                let each = traps.filter(|&traps| traps > 0.5 && has_traps);
                let each = each.map(|traps| time((supervised.median() - native.median()) / traps));
                table.row([
                    call.shown.to_owned(),
                    format!("{who:?}").to_lowercase(),
                    engine.short().to_owned(),
                    with_spread(native),
                    with_spread(supervised),
                    times(supervised.ratio(native)),
                    traps.map_or("?".to_owned(), |traps| format!("{traps:.0}")),
                    each.unwrap_or_default(),
                ]);
            }
        }
    }
    table.print();
    println!(
        "dlopen includes dlclose, openat includes close. EACH TRAP: what the call takes longer, by its traps. ptrace-all: \
         without\na filter, every call of the program stops twice. inline: no traps, but questions about what is not there."
    );
    Ok(())
}

/// How many traps one such call makes, from the difference of two runs. Nothing is known without strace.
fn traps_of(guest: &str, call: &Call) -> Result<Option<f64>> {
    if call.call != "dlopen" {
        // Not the loader's, and so many that they cannot be traced.
        return Ok(Some(0.0));
    }
    let root = fixture().root(Who::Root).env("XDG_RUNTIME_DIR", "");
    // Whatever is realised at a trap is there now, and the plan is the one of this configuration.
    figures(root.command(guest).args([call.call, "1", &call.supervised]))?;
    let_plans_be_written();
    let traps = |times: &str| -> Result<Option<f64>> {
        let counted = count(root.command(guest).args([call.call, times, &call.supervised]))?;
        Ok(counted.map(|counted| counted.traps as f64))
    };
    // The guest makes six rounds.
    Ok(traps("1")?.zip(traps("3")?).map(|(few, many)| (many - few) / 12.0))
}

fn system_calls(programs: &[Program]) -> Result<()> {
    let heading =
        ["SYSTEM CALLS OF A START", "NATIVE", "THROUGH /lib64", "", "ITS SUPERVISOR", "TRAPS", "INLINE", ""];
    let mut table = Table::new(1, heading);
    for program in programs {
        say(&format!("the system calls of {}", program.shown));
        let mut counted = Vec::new();
        for way in [Way::Native, Way::Interpreter, Way::Inline] {
            // Without a door: what is counted is a supervisor that begins and ends.
            let root = way.root(Who::Root, &Libraries::none())?.env("XDG_RUNTIME_DIR", "");
            succeed(root.command(&program.argv[0]).args(&program.argv[1..]))?;
            let_plans_be_written();
            counted.extend(count(root.command(&program.argv[0]).args(&program.argv[1..]))?);
        }
        let [native, supervised, inline] = counted.as_slice() else {
            println!("strace is not installed: no system calls were counted");
            return Ok(());
        };
        table.row([
            program.shown.clone(),
            native.program.to_string(),
            supervised.program.to_string(),
            times(supervised.program as f64 / native.program as f64),
            supervised.supervisor.to_string(),
            supervised.traps.to_string(),
            (inline.program + inline.supervisor).to_string(),
            times(inline.program as f64 / native.program as f64),
        ]);
    }
    table.print();
    println!(
        "Counted by strace in one warm start as root; through /lib64: those of shim, loader and program; INLINE: of these and\nof a supervisor, if there were one."
    );
    Ok(())
}

/// A plan is written when the program does not wait for it; what is counted next is to begin with it.
fn let_plans_be_written() {
    std::thread::sleep(std::time::Duration::from_millis(500));
}

/// System calls of one run.
#[derive(Debug, Default)]
struct Counted {
    /// By the program, its loader and its shim.
    program: usize,
    /// By its supervisor, from the fork that becomes it.
    supervisor: usize,
    /// Notifications that the supervisor received.
    traps: usize,
}

/// Runs a command that enters a root under strace, and counts from the moment that the command is what it enters for.
/// None if there is no strace.
fn count(command: &Command) -> Result<Option<Counted>> {
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
