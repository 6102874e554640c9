//! `make bench`: what the index costs against nix-locate, on the same database in the same run: a lookup, an import,
//! the size of the file, the memory of a supervisor that has it mapped.
//!
//! The database is `full/files` in the folder that `SONDE_NIX_INDEX_DATA` names, else the test world's, which is too
//! small for the goals to mean anything. nix-locate is taken from `SONDE_NIX_LOCATE`, from `PATH`, or built once into
//! `$XDG_CACHE_HOME/sonde-bench`; where it cannot be had, decompressing the database stands for it, which is less than
//! it does.

#[path = "../harness/mod.rs"]
mod harness;
mod measure;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use harness::{Who, fixture, run};
use measure::{Table, circumstances, interleave, time, times, with_spread};

const SONDE: &str = env!("CARGO_BIN_EXE_sonde");
const NIX_INDEX: &str = "0.1.10";
const SONAME: &str = "libz.so.1";

/// A few scans are enough for a median; lookups come in batches between them.
const ROUNDS: usize = 5;
const LOOKUPS: usize = 20;
/// How many lookups one process makes, to tell a lookup from a start.
const MANY: usize = 1000;

/// What is wanted of the index, on the full-scale database.
const LOOKUP_GOAL: f64 = 1000.0;
const COLD_GOAL: f64 = 10e6;
const IMPORT_GOAL: f64 = 2.0;
const SIZE_GOAL: f64 = 0.5;
const RESIDENT_GOAL: f64 = 15.0;

fn main() -> Result<()> {
    let database = database()?;
    let scan = Scan::find(&database)?;
    let cache = tempfile::tempdir().context("a folder for the index")?;
    let sonde = |arguments: &[&str]| {
        let mut command = Command::new(SONDE);
        command.args(arguments).env("XDG_CACHE_HOME", cache.path()).env_remove("XDG_CONFIG_HOME");
        command
    };
    println!("{}", circumstances());
    println!("{} ({:.1} MB); against {}\n", database.display(), megabytes(&database)?, scan.name());

    let text = database.to_str().context("a database whose path is text")?;
    // The first one warms the page cache for all that follows.
    timed(&mut sonde(&["index", "import", text]))?;
    let many: Vec<&str> = std::iter::once("find").chain([SONAME; MANY + 1]).collect();
    let ways = ["scan", "import", "find", "many"];
    let samples = interleave(ROUNDS, &ways, |way| match *way {
        "scan" => Ok(vec![timed(&mut scan.command(&database))?]),
        "import" => Ok(vec![timed(&mut sonde(&["index", "import", text]))?]),
        "find" => (0..LOOKUPS).map(|_| timed(&mut sonde(&["find", SONAME]))).collect(),
        _ => Ok(vec![timed(&mut sonde(&many))?]),
    })?;
    let [scanning, importing, finding, many] = samples.as_slice() else { bail!("four ways were measured") };

    let lookup = (many.median() - finding.median()) / MANY as f64;
    let mut table = Table::new(1, ["", "TIME", "AGAINST THE FIRST", "GOAL", ""]);
    let mark = |met: bool| (if met { "met" } else { "MISSED" }).to_owned();
    table.row([scan.name(), with_spread(scanning), String::new(), String::new(), String::new()]);
    let faster = scanning.median() / lookup;
    table.row([
        format!("one more {SONAME} in the same sonde find"),
        time(lookup),
        format!("{} faster", times(faster)),
        format!("{} faster", times(LOOKUP_GOAL)),
        mark(faster >= LOOKUP_GOAL),
    ]);
    table.row([
        format!("sonde find {SONAME}, process and all"),
        with_spread(finding),
        format!("{} faster", times(scanning.median() / finding.median())),
        format!("under {}", time(COLD_GOAL)),
        mark(finding.median() < COLD_GOAL),
    ]);
    let ratio = importing.ratio(scanning);
    table.row([
        "sonde index import".to_owned(),
        with_spread(importing),
        times(ratio),
        format!("at most {}", times(IMPORT_GOAL)),
        mark(ratio <= IMPORT_GOAL),
    ]);
    table.print();
    println!("Times include printing. Medians of {ROUNDS} runs ({} lookups).\n", ROUNDS * LOOKUPS);

    let mut table = Table::new(1, ["", "MEGABYTES", "GOAL", ""]);
    let index = megabytes(&cache.path().join("sonde/index/default.index"))?;
    let share = index / megabytes(&database)?;
    table.row([
        format!("the index, {:.0} % of the database", 100.0 * share),
        format!("{index:.1}"),
        format!("at most {:.0} %", 100.0 * SIZE_GOAL),
        mark(share <= SIZE_GOAL),
    ]);
    let found = resident(&mut sonde(&["find", SONAME]))?;
    table.row([format!("sonde find {SONAME}, resident"), found.to_string(), String::new(), String::new()]);
    let supervisor = supervisor(&database)?;
    table.row([
        "a supervisor that has it mapped, resident".to_owned(),
        supervisor.to_string(),
        format!("at most {RESIDENT_GOAL}"),
        mark(supervisor.all <= RESIDENT_GOAL),
    ]);
    table.print();
    println!("RESIDENT: all pages, and of these the process's own; the others are of files and shared.");
    Ok(())
}

/// The database to measure with.
fn database() -> Result<PathBuf> {
    match env::var_os("SONDE_NIX_INDEX_DATA") {
        Some(folder) => Ok(Path::new(&folder).join("full/files")),
        None => {
            println!(
                "SONDE_NIX_INDEX_DATA is not set: this is the test world's database, which no goal is meant for."
            );
            Ok(fixture().world.index().join("files"))
        }
    }
}

/// What the index is compared with.
enum Scan {
    NixLocate(PathBuf),
    /// nix-locate cannot be had.
    Decompress,
}

impl Scan {
    fn find(database: &Path) -> Result<Scan> {
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let caches = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).unwrap_or_else(env::temp_dir);
        let built = caches.join("sonde-bench");
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> =
            env::var_os("SONDE_NIX_LOCATE").map(PathBuf::from).into_iter().collect();
        places.extend(env::split_paths(&path).map(|folder| folder.join("nix-locate")));
        places.push(built.join("bin/nix-locate"));
        let there = || places.iter().find(|place| place.is_file());
        if there().is_none() {
            eprintln!("building nix-locate into {}, once; this takes some minutes", built.display());
            let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo)
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--bin",
                    "nix-locate",
                    "--version",
                    NIX_INDEX,
                    "--root",
                ])
                .args([&built])
                .arg("nix-index")
                .env_remove("CARGO_TARGET_DIR")
                .status();
            if !status.is_ok_and(|status| status.success()) {
                eprintln!("nix-locate cannot be built; decompressing with zstd stands for it");
            }
        }
        let scan = there().map_or(Scan::Decompress, |place| Scan::NixLocate(place.clone()));
        ensure!(
            scan.command(database).status()?.success(),
            "{} fails on {}",
            scan.name(),
            database.display()
        );
        Ok(scan)
    }

    fn name(&self) -> String {
        match self {
            Scan::NixLocate(_) => format!("nix-locate --whole-name {SONAME}"),
            Scan::Decompress => "zstd -dc, in place of nix-locate".to_owned(),
        }
    }

    fn command(&self, database: &Path) -> Command {
        let mut command = match self {
            Scan::NixLocate(program) => {
                let mut command = Command::new(program);
                command.arg("--db").arg(database.parent().unwrap_or(database)).args(["--whole-name", SONAME]);
                command
            }
            Scan::Decompress => {
                let mut command = Command::new("sh");
                // Twelve bytes of nix-index's own come before the compressed stream.
                command.args(["-c", r#"tail -c +13 "$1" | zstd -dc --long=27"#, "sh"]).arg(database);
                command
            }
        };
        command.stdout(Stdio::null());
        command
    }
}

/// How long a command takes, from its start until it has been waited for.
fn timed(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("{command:?}"))?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took.as_nanos() as f64)
}

fn megabytes(file: &Path) -> Result<f64> {
    let length = fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
    Ok(length as f64 / 1e6)
}

/// Memory of a process (proc_pid_status(5)), in megabytes.
struct Resident {
    all: f64,
    own: f64,
}

impl Resident {
    fn of(process: u32) -> Result<Resident> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("its memory")?;
        let kilobytes = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
        };
        let megabytes = |name: &str| kilobytes(name) * 1024.0 / 1e6;
        Ok(Resident { all: megabytes("VmRSS"), own: megabytes("RssAnon") })
    }
}

impl std::fmt::Display for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}, {:.1} own", self.all, self.own)
    }
}

/// Memory of a command at the moment when it has worked everything out and writes: its output is a pipe that is full.
fn resident(command: &mut Command) -> Result<Resident> {
    let (mut reader, mut writer) = std::io::pipe()?;
    // The default capacity (pipe(7)).
    writer.write_all(&[0; 65536])?;
    let mut child = command.stdout(writer.try_clone()?).spawn()?;
    // The command holds an end too until it is dropped.
    command.stdout(Stdio::null());
    drop(writer);
    let resident = once_it_waits(&child).and_then(|()| Resident::of(child.id()));
    reader.read_to_end(&mut Vec::new())?;
    child.wait()?;
    resident
}

fn once_it_waits(child: &Child) -> Result<()> {
    let waits = || {
        let channel = fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
        let state = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        channel.contains("pipe") || channel == "0" && state.contains(") S ")
    };
    for _ in 0..500 {
        if waits() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("it does not wait for its output")
}

/// Memory of the supervisor of a foreign program in the test world, whose own database is asked first and this one
/// second: its libraries are in no other cache.
fn supervisor(database: &Path) -> Result<Resident> {
    const CACHE: &str = "/tmp/cache-of-lookup-bench";
    let root = fixture().without_shim(Who::Root).bind(database, "/database").env("XDG_CACHE_HOME", CACHE);
    for arguments in [["/index/files", "--name", "world"], ["/database", "--name", "full"]] {
        let imported = run(root.command(harness::SONDE).args(["index", "import"]).args(arguments));
        ensure!(imported.succeeded(), "{imported}");
    }
    // It waits for its input.
    let program = &fixture().world.program("sqlite3")?.executable;
    let mut child = root
        .command(harness::SONDE)
        .args(["run", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a program")?;
    let mut input = child.stdin.take().context("its input")?;
    let mut output = child.stdout.take().context("its output")?;
    // When it answers, everything is loaded.
    input.write_all(b"SELECT 1;\n")?;
    output.read_exact(&mut [0])?;
    let resident = find_supervisor(CACHE).and_then(Resident::of);
    drop(input);
    child.wait()?;
    resident
}

/// The supervisor whose environment has this cache folder.
fn find_supervisor(cache: &str) -> Result<u32> {
    let variable = format!("XDG_CACHE_HOME={cache}");
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let read = |what: &str| fs::read(entry.path().join(what)).unwrap_or_default();
        let has =
            |bytes: Vec<u8>, part: &str| bytes.split(|byte| *byte == 0).any(|one| one == part.as_bytes());
        if has(read("cmdline"), "supervise") && has(read("environ"), &variable) {
            return Ok(process);
        }
    }
    bail!("no supervisor is running")
}
