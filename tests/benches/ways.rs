//! The ways in which a foreign program can be run, Sonde's and others', and measuring a program by each of them.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use sonde_world::RootBuilder;

use crate::harness::{Engine, SONDE, Who, fixture, run};
use crate::measure::words::spread;
use crate::measure::{Effort, Sample, Table, figures, interleave, succeed, times, with_spread};
use crate::peers::{FHS, Peer};

/// How a program is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By Debian's loader, with Debian's libraries.
    Native,
    /// By the store's loader at `/lib64`, with the same libraries as Sonde gives, by `LD_LIBRARY_PATH`. This is what
    /// nix-ld arrives at; its own shim's time would come on top.
    Links,
    /// The same, but each library by its folder in the store, as a wrapper script or a shell sets it up.
    Folders,
    /// By the shim at `/lib64`, under this engine.
    Sonde(Engine),
    /// By `sonde run`, under this engine.
    Run(Engine),
    /// By `sonde trace`.
    Trace,
    /// Natively, with somebody looking on.
    Strace,
    /// In an FHS root that another program makes.
    Peer(Peer),
}

impl Way {
    pub(crate) fn title(self) -> String {
        match self {
            Self::Native => "native".into(),
            Self::Links => "`LD_LIBRARY_PATH`, one folder of links".into(),
            Self::Folders => "`LD_LIBRARY_PATH`, a folder for each".into(),
            Self::Sonde(engine) => format!("Sonde, {}", engine.short()),
            Self::Run(engine) => format!("`sonde run`, {}", engine.short()),
            Self::Trace => "`sonde trace -o FILE`".into(),
            Self::Strace => "`strace -f -e openat`".into(),
            Self::Peer(peer) => peer.title().into(),
        }
    }

    pub(crate) fn root(self, who: Who, libraries: &Libraries) -> Result<RootBuilder> {
        let root = match self {
            Self::Native | Self::Strace => fixture().native(who),
            Self::Links => listed(who)?.env("LD_LIBRARY_PATH", &libraries.links),
            Self::Folders => listed(who)?.env("LD_LIBRARY_PATH", &libraries.folders),
            Self::Sonde(engine) => fixture().under(engine, fixture().root(who)),
            Self::Run(engine) => fixture().under(engine, fixture().without_shim(who)),
            Self::Trace => fixture().without_shim(who),
            Self::Peer(_) => fixture().without_shim(who).bind(fixture().world.fhs(), FHS),
        };
        // Only the native root has locales: with another one, programs would read more there.
        Ok(root.env("LANG", "C"))
    }

    fn prefix(self) -> Vec<&'static str> {
        match self {
            Self::Run(_) => vec![SONDE, "run"],
            Self::Trace => vec![SONDE, "trace", "-o", "/tmp/trace"],
            Self::Strace => vec!["/usr/bin/strace", "-f", "-e", "openat", "-o", "/dev/null"],
            Self::Peer(peer) => peer.prefix(),
            _ => Vec::new(),
        }
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

/// The store path of an attribute of the world.
pub(crate) fn store_path(attribute: &str) -> Result<String> {
    let packages = fixture().world.packages()?;
    let found = packages.into_iter().find(|one| one.attr == attribute && one.output == "out");
    Ok(found.with_context(|| format!("the world has no {attribute}"))?.store_path)
}

/// The guest that times whole runs.
pub(crate) fn timer() -> String {
    fixture().compile("time_runs", "time_runs", &["-static"])
}

/// What a program's loader was given, as values of `LD_LIBRARY_PATH`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Libraries {
    /// One folder of links.
    links: String,
    /// The folders in the store.
    folders: String,
}

impl Libraries {
    /// Runs a program once under Sonde, so that all it needs is realised, and makes a folder of links to what its
    /// loader was given, at the start and later.
    pub(crate) fn of(subject: &Subject, who: Who) -> Result<Libraries> {
        let executable = &subject.argv[0];
        let name = format!("libraries-of{}", executable.replace('/', "-"));
        let folder = fixture().guests().join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let root = subject.surround(fixture().root(who).env("LANG", "C"));
        // `libz.so.1 => /nix/store/…/libz.so.1 (0x…)`
        let listed =
            succeed(&mut root.clone().env("LD_TRACE_LOADED_OBJECTS", "1").command(executable))?.stdout;
        let listed = listed.lines().filter_map(|line| line.trim().split_once(" => "));
        let listed = listed.map(|(soname, file)| (soname, file.split(" (").next().unwrap_or(file)));
        // `1234: calling init: /nix/store/…/libz.so.1`
        let loaded =
            succeed(root.env("LD_DEBUG", "files").command(executable).args(&subject.argv[1..]))?.stderr;
        let loaded = loaded.lines().filter_map(|line| line.split_once("calling init: "));
        let loaded = loaded.filter(|(_, file)| file.starts_with("/nix/store/"));
        let loaded = loaded.filter_map(|(_, file)| Some((file.rsplit_once('/')?.1, file)));
        let mut folders: Vec<String> = Vec::new();
        for (soname, file) in listed.chain(loaded) {
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

    /// The store paths that they are in, each once.
    pub(crate) fn packages(&self) -> Vec<String> {
        let mut packages: Vec<String> = Vec::new();
        for folder in self.folders.split(':') {
            let package = folder.split('/').take(4).collect::<Vec<_>>().join("/");
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        packages
    }
}

/// Something to run.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// For people.
    pub(crate) shown: String,
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(&'static str, &'static str)>,
}

impl Subject {
    pub(crate) fn new(shown: &str, executable: &str, arguments: &[&str]) -> Self {
        let argv = [&[executable], arguments].concat().iter().map(|word| (*word).to_owned()).collect();
        Self { shown: shown.into(), argv, env: Vec::new() }
    }

    /// A program of the world.
    pub(crate) fn of_world(name: &str, arguments: &[&str]) -> Result<Self> {
        let executable = &fixture().world.program(name)?.executable;
        Ok(Self::new(&[&[name], arguments].concat().join(" "), executable, arguments))
    }

    /// The root with the variables that it wants.
    fn surround(&self, root: RootBuilder) -> RootBuilder {
        self.env.iter().fold(root, |root, (name, value)| root.env(name, value))
    }

    pub(crate) fn named(self, shown: &str) -> Self {
        Self { shown: shown.into(), ..self }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }
}

/// How often things are run for one comparison.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    pub(crate) rounds: usize,
    /// Counted runs of a round; one that is not comes before them.
    pub(crate) batch: usize,
    /// For one way of one subject.
    pub(crate) patience: Duration,
}

/// Runs each subject in each way, and returns a table: a row for each way, a column for each subject, ratios to the
/// first way. Where a way fails at a subject there is a dash.
pub(crate) fn compare(
    title: &str,
    who: Who,
    effort: Effort,
    runs: Runs,
    ways: &[Way],
    subjects: &[Subject],
) -> Result<Table> {
    let mut columns = Vec::new();
    for subject in subjects {
        columns.push(column(who, effort, runs, ways, subject)?);
    }
    let heading = std::iter::once(title.to_owned()).chain(subjects.iter().map(|one| one.shown.clone()));
    let mut table = Table::new(1, heading);
    for (at, way) in ways.iter().enumerate() {
        let cells = columns.iter().map(|column| match (&column[at], &column[0]) {
            (Some(sample), _) if at == 0 => with_spread(sample),
            (Some(sample), Some(reference)) => ratio_with_spread(sample, reference),
            _ => "–".into(),
        });
        table.row(std::iter::once(way.title()).chain(cells));
    }
    Ok(table)
}

pub(crate) fn ratio_with_spread(sample: &Sample, reference: &Sample) -> String {
    format!("{} {}", times(sample.ratio(reference)), spread(sample))
}

fn column(
    who: Who,
    effort: Effort,
    runs: Runs,
    ways: &[Way],
    subject: &Subject,
) -> Result<Vec<Option<Sample>>> {
    let libraries = Libraries::of(subject, who)?;
    let command = |way: Way, unprinted: usize, printed: usize| -> Result<_> {
        let root = subject.surround(way.root(who, &libraries)?);
        let mut command = root.command(timer());
        command.args([unprinted.to_string(), printed.to_string()]).args(way.prefix()).args(&subject.argv);
        Ok(command)
    };
    // What a way writes down at its first start, such as a plan, is there for all that count.
    let mut working = Vec::new();
    for &way in ways {
        let outcome = run(&mut command(way, 1, 0)?);
        if outcome.succeeded() {
            working.push(way);
        } else {
            eprintln!("{} fails at {}: {outcome}", way.title(), subject.shown);
        }
    }
    let_plans_be_written();
    let patience = effort.patience(runs.patience);
    let mut samples = interleave(effort.rounds(runs.rounds), patience, &working, |&way| {
        figures(&mut command(way, 1, runs.batch)?)
    })?
    .into_iter();
    Ok(ways.iter().map(|way| if working.contains(way) { samples.next() } else { None }).collect())
}

/// A plan is written when the program does not wait for it; what is counted next is to begin with it.
pub(crate) fn let_plans_be_written() {
    std::thread::sleep(Duration::from_millis(500));
}
