//! The foreign programs, three times: in the bare root, where none may run; in the reference root; and in the root
//! with the store's own loader for a shim and every provided library on LD_LIBRARY_PATH, which proves that the store
//! paths are complete.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail};
use regex::Regex;

use crate::{Package, Program, RootBuilder, World};

pub(super) fn check(world: &World, packages: &[Package], state: &Path, url: &str) -> Result<bool> {
    let bare = RootBuilder::new(world).state(state).cache_url(url);
    let fhs = bare.clone().fhs();
    let given = given_everything(world, packages, &bare)?;
    let mut good = true;
    println!("{:<10} {:<28} {:<16} with every library", "program", "bare root", "reference root");
    for program in world.programs() {
        let without = run(&bare, program)?;
        let refused =
            without.status.code() == Some(127) && String::from_utf8_lossy(&without.stderr).contains("ENOENT");
        let (native, natively) = outcome(program, &run(&fhs, program)?)?;
        let (complete, completely) = outcome(program, &run(&given, program)?)?;
        let refusal = if refused { "no loader, as it should be".to_owned() } else { describe(&without) };
        println!("{:<10} {refusal:<28} {natively:<16} {completely}", program.name);
        good &= refused && native && complete;
    }
    Ok(good)
}

/// Realises all right packages and returns a root whose programs are told where they are.
fn given_everything(world: &World, packages: &[Package], root: &RootBuilder) -> Result<RootBuilder> {
    let right: Vec<&Package> =
        packages.iter().filter(|package| package.rival.is_none() && package.output != "dev").collect();
    let paths = right.iter().map(|package| &package.store_path);
    let output = root
        .command("nix-store")
        .arg("--realise")
        .args(paths)
        .output()
        .context("realising every store path")?;
    if !output.status.success() {
        bail!("realising every store path: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut folders: Vec<String> = Vec::new();
    for package in &right {
        for (place, _) in &package.libraries {
            let folder = Path::new(&package.store_path).join(place);
            let folder = folder.parent().unwrap_or(Path::new("/")).display().to_string();
            if folder.ends_with("/lib") && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    let glibc =
        right.iter().find(|package| package.attr == "glibc").context("the world provides no glibc")?;
    let loader = world.on_host(&glibc.store_path).join("lib/ld-linux-x86-64.so.2");
    Ok(root.clone().shim(loader).env("LD_LIBRARY_PATH", folders.join(":")))
}

/// Whether a program's output is what the recipe expects.
pub fn as_expected(program: &Program, output: &Output) -> Result<bool> {
    let expect = Regex::new(&program.expect)
        .with_context(|| format!("reading the expectation of {} in recipe/programs.toml", program.name))?;
    Ok(expect.is_match(&String::from_utf8_lossy(&output.stdout)))
}

fn outcome(program: &Program, output: &Output) -> Result<(bool, String)> {
    let ran = output.status.success() && as_expected(program, output)?;
    Ok((ran, if ran { "runs".to_owned() } else { describe(output) }))
}

fn run(root: &RootBuilder, program: &Program) -> Result<Output> {
    let root = program.env.iter().fold(root.clone(), |root, (name, value)| root.env(name, value));
    let mut command = root.command(&program.executable);
    command.args(&program.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("running {}", program.name))?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(program.stdin.as_bytes()); // a program that cannot start reads nothing
    }
    child.wait_with_output().with_context(|| format!("waiting for {}", program.name))
}

fn describe(output: &Output) -> String {
    let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(text);
    format!("SURPRISE: {}, {}", output.status, text.lines().last().unwrap_or("silent"))
}
