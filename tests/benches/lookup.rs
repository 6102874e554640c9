//! What the index costs against nix-locate, on the same database in the same run: a lookup, an import, the size of the
//! file, the memory of a supervisor that has it mapped; and how often it names the right package first.
//!
//! The database is `full/files` in the folder that `SONDE_NIX_INDEX_DATA` names, else the test world's, which is too
//! small for the goals to mean anything. nix-locate is taken from `SONDE_NIX_LOCATE`, from `PATH`, or built once into
//! `$XDG_CACHE_HOME/sonde-bench`; where it cannot be had, decompressing the database stands for it, which is less than
//! it does.

#[path = "../../resolve/tests/ground_truth/mod.rs"]
mod ground_truth;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sonde_resolve::choose::Rule;
use sonde_resolve::choose::rules::RULES;
use sonde_resolve::import::import;
use sonde_resolve::index;
use sonde_resolve::index::table::About;
use sonde_resolve::lists::Lists;

use crate::Bench;
use crate::harness::{self, Who, fixture};
use crate::measure::memory::Resident;
use crate::measure::page::mark;
use crate::measure::words::{count, size, spread, three_digits};

use crate::measure::{Page, Table, interleave, sonde, succeed, time, timed, times};
use ground_truth::DebianMap;

const NIX_INDEX: &str = "0.1.10";
const SONAME: &str = "libz.so.1";

/// A few scans are enough for a median; lookups come in batches between them.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);
const LOOKUPS: usize = 20;
/// How many lookups one process makes, to tell a lookup from a start.
const MANY: usize = 1000;

/// What is wanted of the index, on the full-scale database. Times are in nanoseconds, sizes in bytes.
const LOOKUP_GOAL: f64 = 1000.0;
const COLD_GOAL: f64 = 10e6;
const IMPORT_GOAL: f64 = 2.0;
const SIZE_GOAL: f64 = 0.5;
const RESIDENT_GOAL: f64 = 15e6;
const ACCURACY_GOAL: f64 = 0.99;

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("The index");
    let data = env::var_os("SONDE_NIX_INDEX_DATA").map(PathBuf::from);
    let database = match &data {
        Some(folder) => folder.join("full/files"),
        None => fixture().world.index().join("files"),
    };
    let scan = Scan::find(&database)?;
    let which = if data.is_some() {
        "The database is the full-scale one of `SONDE_NIX_INDEX_DATA`"
    } else {
        "`SONDE_NIX_INDEX_DATA` is not set: the database is the test world's, which no goal is meant for"
    };
    bench.page.say(&format!("{which}: {}.", size(length(&database)?)));

    let cache = tempfile::tempdir().context("a folder for the index")?;
    let mut table = Table::new(1, ["", "measured", "", "against the first", "wanted", ""]);
    times_of(bench, &mut table, &database, &scan, cache.path())?;
    sizes_of(&mut table, &database, cache.path())?;
    bench.page.table(&table);
    bench.page.say(
        "Times include printing. Resident are all pages; the process's own stand beside them, the others are of files and \
         shared.",
    );
    accuracy(&mut bench.page, data.as_deref())
}

fn times_of(bench: &Bench, table: &mut Table, database: &Path, scan: &Scan, cache: &Path) -> Result<()> {
    let text = database.to_str().context("a database whose path is text")?;
    // The first one warms the page cache for all that follows.
    timed(&mut sonde(cache, &["index", "import", text]))?;
    let many: Vec<&str> = std::iter::once("find").chain([SONAME; MANY + 1]).collect();
    let ways = ["scan", "import", "find", "many"];
    let (rounds, patience) = (bench.effort.rounds(ROUNDS), bench.effort.patience(PATIENCE));
    let samples = interleave(rounds, patience, &ways, |way| match *way {
        "scan" => Ok(vec![timed(&mut scan.command(database))?]),
        "import" => Ok(vec![timed(&mut sonde(cache, &["index", "import", text]))?]),
        "find" => (0..LOOKUPS).map(|_| timed(&mut sonde(cache, &["find", SONAME]))).collect(),
        _ => Ok(vec![timed(&mut sonde(cache, &many))?]),
    })?;
    let [scanning, importing, finding, many] = samples.as_slice() else { bail!("four ways were measured") };

    table.row([scan.name(), time(scanning.median()), spread(scanning)]);
    let lookup = (many.median() - finding.median()) / MANY as f64;
    let faster = scanning.median() / lookup;
    table.row([
        format!("one more {SONAME} in the same `sonde find`"),
        time(lookup),
        String::new(),
        format!("{} faster", times(faster)),
        format!("{} faster", times(LOOKUP_GOAL)),
        mark(faster >= LOOKUP_GOAL).into(),
    ]);
    table.row([
        format!("`sonde find {SONAME}`, process and all"),
        time(finding.median()),
        spread(finding),
        format!("{} faster", times(scanning.median() / finding.median())),
        format!("under {}", time(COLD_GOAL)),
        mark(finding.median() < COLD_GOAL).into(),
    ]);
    let ratio = importing.ratio(scanning);
    table.row([
        "`sonde index import`".to_owned(),
        time(importing.median()),
        spread(importing),
        times(ratio),
        format!("at most {}", times(IMPORT_GOAL)),
        mark(ratio <= IMPORT_GOAL).into(),
    ]);
    Ok(())
}

fn sizes_of(table: &mut Table, database: &Path, cache: &Path) -> Result<()> {
    let index = length(&cache.join("sonde/index/default.index"))?;
    let share = index / length(database)?;
    table.row([
        "the index, of the database".to_owned(),
        size(index),
        String::new(),
        format!("{:.0} %", 100.0 * share),
        format!("at most {:.0} %", 100.0 * SIZE_GOAL),
        mark(share <= SIZE_GOAL).into(),
    ]);
    let found = Resident::at_its_end(&mut sonde(cache, &["find", SONAME]))?;
    let own = |resident: Resident| format!("{} own", size(resident.own));
    table.row([format!("`sonde find {SONAME}`, resident"), size(found.all), own(found)]);
    let supervisors = supervisors(database)?;
    let mut names = ["a supervisor that has it mapped, resident", "its keeper, resident"].into_iter();
    for (resident, name) in supervisors.into_iter().zip(&mut names) {
        table.row([
            name.to_owned(),
            size(resident.all),
            own(resident),
            String::new(),
            format!("at most {}", size(RESIDENT_GOAL)),
            mark(resident.all <= RESIDENT_GOAL).into(),
        ]);
    }
    Ok(())
}

/// How often ranking puts the provider first that Debian names, as resolve's example of that name tells in full.
fn accuracy(page: &mut Page, data: Option<&Path>) -> Result<()> {
    let Some(data) = data else {
        page.say(
            "**Accuracy was not measured**: it needs the full-scale database and Debian's word for who is right, in the \
             folder that `SONDE_NIX_INDEX_DATA` names.",
        );
        return Ok(());
    };
    let plain = |error: Box<dyn Error>| anyhow!("{error}");
    let about = About { source: "accuracy".into(), imported_at: 0 };
    let made = import(fs::File::open(data.join("full/files"))?, about, Lists::built_in())?;
    let database = index::table::Table::open(made.bytes)?;
    let map = DebianMap::read(&data.join("debian-to-attr.tsv.gz")).map_err(plain)?;
    let shlibs =
        ground_truth::from_shlibs(Path::new("/var/lib/dpkg/info"), &database, &map).map_err(plain)?;
    let contents = ground_truth::from_contents(&database, &map);
    let general = Lists::built_in().without_preferences();
    let rules: Vec<&'static Rule> = RULES.iter().collect();

    let mut table = Table::new(1, ["the right package", "sonames", "is first", "among three", "wanted", ""]);
    for (name, truth) in [("contents", &contents), ("shlibs", &shlibs)] {
        for (preferring, lists) in [("", Lists::built_in()), (", without curated preferences", &general)] {
            let score = ground_truth::measure(&database, truth, lists, &rules);
            table.row([
                format!("{name}{preferring}"),
                count(score.asked),
                format!("{:.2} %", 100.0 * score.top_1()),
                format!("{:.2} %", 100.0 * score.top_3()),
                format!("at least {} %", three_digits(100.0 * ACCURACY_GOAL)),
                mark(score.top_1() >= ACCURACY_GOAL).into(),
            ]);
        }
    }
    page.table(&table);
    page.say(
        "For how many sonames ranking alone, without symbols and with nothing in the store, puts Debian's own provider first. \
         *contents*: every versioned name in `/lib` of Debian's packages; *shlibs*: what the `shlibs` files of the installed \
         packages name.",
    );
    Ok(())
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
            Scan::NixLocate(_) => format!("`nix-locate --whole-name {SONAME}`"),
            Scan::Decompress => "`zstd -dc`, in place of nix-locate".to_owned(),
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

fn length(file: &Path) -> Result<f64> {
    Ok(fs::metadata(file).with_context(|| format!("{}", file.display()))?.len() as f64)
}

/// Memory of the supervisor and keeper of a foreign program in the test world, whose own database is asked first and this one
/// second: its libraries are in no other cache.
fn supervisors(database: &Path) -> Result<Vec<Resident>> {
    const CACHE: &str = "/tmp/cache-of-lookup-bench";
    let root = fixture().without_shim(Who::Root).bind(database, "/database").env("XDG_CACHE_HOME", CACHE);
    for arguments in [["/index/files", "--name", "world"], ["/database", "--name", "full"]] {
        succeed(root.command(harness::SONDE).args(["index", "import"]).args(arguments))?;
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
    let resident = Resident::of_supervisors(child.id());
    drop(input);
    child.wait()?;
    resident
}
