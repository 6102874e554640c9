//! A program with ever more libraries, each in a package of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::curve::{Curve, Unit, Wanted};
use super::database::{Made, write};
use super::{first, import, import_world, plan, root, warm};
use crate::harness::{Conversation, Engine, Who, cc, fixture};
use crate::measure::memory::Resident;
use crate::measure::{Effort, interleave, succeed};

const SIZES: [usize; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(2);
const TEMPLATE: &str = "libgrown00000.so.1";

/// Who is waited for.
const WAYS: [Option<Engine>; 3] = [None, Some(Engine::Inline), Some(Engine::Seccomp)];

pub(super) fn measure(effort: Effort) -> Result<Vec<Curve>> {
    let cache = tempfile::tempdir().context("a folder for the index")?;
    let sizes = effort.sizes(&SIZES);
    prepare(cache.path(), sizes.iter().copied().max().unwrap_or_default())?;
    let mut native = Curve::new("a start, native", Unit::Nanoseconds, Wanted::Whatever);
    let mut inline = Curve::new("a start, inline", Unit::Nanoseconds, Wanted::Linear);
    let mut seccomp = Curve::new("a start, seccomp", Unit::Nanoseconds, Wanted::Linear);
    let mut without = Curve::new("a first start, seccomp", Unit::Nanoseconds, Wanted::Linear);
    let mut memory = Curve::new("the supervisor's own memory", Unit::Bytes, Wanted::Linear);
    for size in sizes {
        let program = program(size);
        let supervised = root(cache.path(), Engine::Seccomp);
        without.add(size, first(&supervised, cache.path(), &program, effort.rounds(ROUNDS))?.median());
        plan(cache.path(), &program)?;
        let samples = interleave(effort.rounds(ROUNDS), effort.patience(PATIENCE), &WAYS, |way| match way {
            None => warm(&fixture().native(Who::Root).env("LD_LIBRARY_PATH", "/guests/grown"), &program),
            Some(engine) => warm(&root(cache.path(), *engine), &program),
        })?;
        for (curve, sample) in [&mut native, &mut inline, &mut seccomp].into_iter().zip(samples) {
            curve.add(size, sample.median());
        }
        let mut running = Conversation::with(&mut supervised.command(&program));
        running.hear();
        memory.add(size, Resident::own_of_supervisors(running.pid())?);
    }
    Ok(vec![native, inline, seccomp, without, memory])
}

/// A program that needs so many of the libraries; its path inside the root.
pub(super) fn program(size: usize) -> String {
    let folder = fixture().guests().join("grown");
    let libraries = (0..size).map(|number| folder.join(file_name(number)).display().to_string());
    let options: Vec<String> = std::iter::once("-Wl,--no-as-needed".to_owned()).chain(libraries).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    fixture().compile("wait", &format!("wait-{size}"), &options)
}

fn file_name(number: usize) -> String {
    TEMPLATE.replace("00000", &format!("{number:05}"))
}

/// Makes so many libraries, puts each into the store by itself, and imports an index that knows them.
pub(super) fn prepare(cache: &Path, most: usize) -> Result<()> {
    let guests = fixture().guests();
    let (all, packages) = (guests.join("grown"), guests.join("grown-packages"));
    fs::create_dir_all(&all)?;
    let template = guests.join(TEMPLATE);
    let source = guests.join("grown.c");
    fs::write(&source, "int grown(void) { return 0; }\n")?;
    // What every library asks for whether it is there or not, the loader looks for in all of them: that grows with the
    // square of their number, natively too, and would be all that is seen.
    cc(&source, &template, &["-shared", "-fPIC", "-nostdlib", &format!("-Wl,-soname,{TEMPLATE}")]);
    let template = fs::read(template)?;
    let mut folders = Vec::new();
    for number in 0..most {
        let library = renamed(&template, &file_name(number));
        fs::write(all.join(file_name(number)), &library)?;
        let folder = packages.join(format!("grown{number:05}")).join("lib");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(file_name(number)), &library)?;
        folders.push(format!("/guests/grown-packages/grown{number:05}"));
    }
    let added = succeed(root(cache, Engine::Seccomp).command("nix-store").arg("--add").args(&folders))?;
    let made = added.stdout.lines().enumerate().map(|(number, store_path)| Made {
        store_path: store_path.to_owned(),
        attribute: format!("grown{number:05}"),
        soname: file_name(number),
    });
    write(&guests.join("grown-files"), made)?;
    import_world(cache)?;
    import(cache, "/guests/grown-files", "grown")
}

/// The library with another soname, which is as long: no hash table has it.
fn renamed(library: &[u8], soname: &str) -> Vec<u8> {
    let mut renamed = library.to_vec();
    let places: Vec<usize> =
        (0..library.len()).filter(|at| library[*at..].starts_with(TEMPLATE.as_bytes())).collect();
    for at in places {
        renamed[at..at + soname.len()].copy_from_slice(soname.as_bytes());
    }
    renamed
}
