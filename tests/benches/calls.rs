//! What a trap costs, and what a filter costs that is only passed: calls of one process, repeated inside it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Bench;
use crate::counts::count;
use crate::harness::{Engine, SONDE, Who, fixture};
use crate::measure::{Sample, Table, figures, interleave, time, with_spread};
use crate::ways::{Libraries, Way, let_plans_be_written, ratio_with_spread, store_path};

const ROUNDS: usize = 13;
const PATIENCE: Duration = Duration::from_secs(2);

/// One call of a guest, natively and under Sonde.
struct Call {
    shown: &'static str,
    call: &'static str,
    /// How often it is made for one figure.
    times: u32,
    native: String,
    supervised: String,
}

impl Call {
    fn arguments(&self, way: Calling) -> [String; 3] {
        // Where every call stops, fewer are enough, and more would take minutes.
        let few = way == Calling::Foreign(Engine::PtraceAll) && self.call != "dlopen";
        let times = if few { 100 } else { self.times };
        let name = if way == Calling::Native { &self.native } else { &self.supervised };
        [self.call.into(), times.to_string(), name.clone()]
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calling {
    Native,
    /// A foreign program, through `/lib64`.
    Foreign(Engine),
    /// A program that Nix built, by `sonde run`: its loader's place is not known, so all opens like a loader's are trapped.
    BuiltByNix,
}

impl Calling {
    fn title(self) -> String {
        match self {
            Self::Native => "native".into(),
            Self::Foreign(engine) => format!("Sonde, {}", engine.short()),
            Self::BuiltByNix => "`sonde run` of a program that Nix built".into(),
        }
    }

    fn command(self, who: Who, guests: &Guests) -> Result<Command> {
        let none = Libraries::default();
        Ok(match self {
            Self::Native => Way::Native.root(who, &none)?.command(&guests.foreign),
            Self::Foreign(engine) => Way::Sonde(engine).root(who, &none)?.command(&guests.foreign),
            Self::BuiltByNix => {
                let root = Way::Run(Engine::Seccomp).root(who, &none)?;
                let mut command = root.command(SONDE);
                command.args(["run", &guests.built_by_nix]);
                command
            }
        })
    }
}

/// One program, as any distribution has it and as Nix would.
struct Guests {
    foreign: String,
    built_by_nix: String,
}

impl Guests {
    fn make() -> Result<Self> {
        let foreign = fixture().guest("repeat_call");
        let folder = fixture().guests();
        let target = folder.join("repeat_call-of-nix");
        std::fs::copy(folder.join("repeat_call"), &target).context("copying a guest")?;
        let system = fixture().world.system_path()?;
        let status = Command::new("patchelf")
            .args(["--set-interpreter", &format!("{system}/lib/ld-linux-x86-64.so.2")])
            .args(["--set-rpath", &format!("{system}/lib")])
            .arg(&target)
            .status();
        ensure!(status.context("running patchelf")?.success(), "patchelf failed");
        Ok(Self { foreign, built_by_nix: "/guests/repeat_call-of-nix".into() })
    }
}

/// Without a filter only an ordinary user's trees are traced, see [`Engine`].
fn ways(who: Who) -> Vec<Calling> {
    let engines = [Engine::Auto, Engine::Inline, Engine::Seccomp, Engine::Ptrace, Engine::PtraceAll];
    let engines = engines.into_iter().filter(|engine| who == Who::Alice || *engine != Engine::PtraceAll);
    std::iter::once(Calling::Native)
        .chain(engines.map(Calling::Foreign))
        .chain([Calling::BuiltByNix])
        .collect()
}

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("Calls");
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
        call("`dlopen` by soname", "dlopen", 100, "libexpat.so.1", "libexpat.so.1"),
        call("by store path", "dlopen", 100, usual, &in_store),
        call("by FHS path", "dlopen", 100, usual, usual),
        call("its own `openat`", "openat", 10_000, "/etc/passwd", "/etc/passwd"),
        call("its `getppid`", "getppid", 100_000, "", ""),
    ];
    let (guests, ways, who) = (Guests::make()?, ways(bench.who), bench.who);
    let mut columns = Vec::new();
    for call in &calls {
        let traps = traps_of(&guests.foreign, call)?;
        let patience = bench.effort.patience(PATIENCE);
        let samples = interleave(bench.effort.rounds(ROUNDS), patience, &ways, |&way| {
            figures(way.command(who, &guests)?.args(call.arguments(way)))
        })?;
        columns.push((traps, samples));
    }
    let mut table = Table::new(1, std::iter::once("one call").chain(calls.iter().map(|call| call.shown)));
    for (at, way) in ways.iter().enumerate() {
        let cells = columns.iter().map(|(_, samples)| match at {
            0 => with_spread(&samples[0]),
            _ => ratio_with_spread(&samples[at], &samples[0]),
        });
        table.row(std::iter::once(way.title()).chain(cells));
    }
    let traps = columns.iter().map(|(traps, _)| traps.map_or("?".into(), |traps| format!("{traps:.0}")));
    table.row(std::iter::once("traps of a call, foreign program".to_owned()).chain(traps));
    for engine in [Engine::Seccomp, Engine::Ptrace] {
        let at = ways.iter().position(|way| *way == Calling::Foreign(engine));
        let cells = columns.iter().map(|(traps, samples)| each(*traps, samples, at));
        table.row(std::iter::once(format!("one trap, {}", engine.short())).chain(cells));
    }
    bench.page.table(&table);
    bench.page.say(
        "`dlopen` includes `dlclose`, `openat` includes `close`. The library is in the store: by its soname it is found in the \
         served cache, by its store path it is let through, by an FHS path it is redirected, or inline asked for. One trap: what \
         a call takes longer than natively, by its traps, which strace counts. ptrace-all: without a filter, every call of the \
         program stops twice.",
    );
    Ok(())
}

/// What one trap takes, where there are any.
fn each(traps: Option<f64>, samples: &[Sample], at: Option<usize>) -> String {
    let supervised = at.and_then(|at| samples.get(at));
    let longer = supervised.map(|supervised| supervised.median() - samples[0].median());
    match (traps.filter(|traps| *traps > 0.5), longer) {
        (Some(traps), Some(longer)) => time(longer / traps),
        _ => "–".into(),
    }
}

/// How many traps one such call makes, from the difference of two runs. Nothing is known without strace.
fn traps_of(guest: &str, call: &Call) -> Result<Option<f64>> {
    if call.call != "dlopen" {
        // Not the loader's, and so many that they cannot be traced.
        return Ok(Some(0.0));
    }
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Root)).env("XDG_RUNTIME_DIR", "");
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
