//! What running costs: programs that open much, that call the kernel much, that compute.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Bench;
use crate::harness::{Engine, Who, fixture};
use crate::measure::succeed;
use crate::measure::words::count;
use crate::peers::Peer;
use crate::ways::{Runs, Subject, Way, compare};

const WAYS: [Way; 10] = [
    Way::Native,
    Way::Sonde(Engine::Auto),
    Way::Sonde(Engine::Inline),
    Way::Sonde(Engine::Seccomp),
    Way::Sonde(Engine::Ptrace),
    Way::Sonde(Engine::PtraceAll),
    Way::Links,
    Way::Strace,
    Way::Peer(Peer::Proot),
    Way::Peer(Peer::Bwrap),
];

const RUNS: Runs = Runs { rounds: 6, batch: 2, patience: Duration::from_millis(2500) };

/// In the folder that all roots of a user share.
const TREE: &str = "/tmp/tree";
const FOLDERS: usize = 200;
const FILES: usize = 100;

/// Each module of the standard library that can be imported and does nothing else.
const IMPORTS: &str = "\
import bz2, ctypes, dbm.ndbm, hashlib, importlib, lzma, readline, sqlite3, ssl, sys, uuid, zlib
for name in sorted(sys.stdlib_module_names - {'antigravity', 'this', 'idlelib', '__main__'}):
    try: importlib.import_module(name)
    except Exception: pass
";
const COMPUTATION: &str = "sum(i * i % 7 for i in range(2_000_000))";

pub(crate) fn measure(bench: &mut Bench) -> Result<()> {
    bench.page.heading("Running");
    tree(bench.who)?;
    let find = "/guests/find";
    fs::copy(fixture().world.fhs().join("usr/bin/find"), fixture().guests().join("find"))
        .context("copying find")?;
    let git = ["-C", TREE, "status", "--porcelain"];
    let subjects = [
        Subject::of_world("git", &git)?.with("GIT_OPTIONAL_LOCKS", "0").named("`git status`"),
        Subject::of_world("python3", &["-c", IMPORTS])?
            .with("PYTHONPYCACHEPREFIX", "/tmp/modules")
            .named("Python imports"),
        Subject::new("`find`", find, &[TREE, "-type", "f", "-name", "*7", "-size", "+0"]),
        Subject::new("system calls", &fixture().guest("repeat_call"), &["getppid", "20000"]),
        Subject::of_world("python3", &["-c", COMPUTATION])?.named("computing"),
    ];
    let ways = bench.possible(&WAYS);
    let table = compare("run of", bench.who, bench.effort, RUNS, &ways, &subjects)?;
    bench.page.table(&table);
    bench.page.say(&format!(
        "Whole runs, their starts with them. `git status` and `find` go through {} files in {FOLDERS} folders; Python imports all \
         of its standard library, which was compiled before; 120,000 calls of `getppid`; two million rounds of a loop in \
         Python. × is to native.",
        count(FOLDERS * FILES),
    ));
    Ok(())
}

/// Makes a repository of many files, which are their user's.
fn tree(who: Who) -> Result<()> {
    let script = r#"set -e
        mkdir "$1" && cd "$1"
        for folder in $(seq "$3"); do
            mkdir "folder$folder"
            for file in $(seq "$4"); do echo "$file" > "folder$folder/file$file"; done
        done
        git() { "$git" -c user.name=a -c user.email=a@example.org -c gc.auto=0 "$@"; }
        git=$2
        git init -q && git add . && git commit -q -m all && git status
    "#;
    let git = &fixture().world.program("git")?.executable;
    let root = fixture().native(who).env("GIT_CONFIG_NOSYSTEM", "1");
    let numbers = [FOLDERS, FILES].map(|number| number.to_string());
    succeed(root.command("/bin/sh").args(["-c", script, "sh", TREE, git]).args(numbers))?;
    Ok(())
}
