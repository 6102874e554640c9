//! The nix-index database, written by the nix-index crate in a helper of its own that takes minutes to compile.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::site::{Site, run};
use crate::Package;

/// The helper, being compiled.
pub(super) struct Writer {
    compiler: Option<Child>,
    executable: PathBuf,
}

/// Starts compiling unless the database is there already.
pub(super) fn compile_writer(site: &Site) -> Result<Writer> {
    let crate_folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/index-writer"));
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/index-writer"));
    let executable = target.join("release/sonde-world-index-writer");
    if site.path("index").exists() {
        return Ok(Writer { compiler: None, executable });
    }
    let compiler = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(crate_folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("starting cargo for tests/world/index-writer")?;
    Ok(Writer { compiler: Some(compiler), executable })
}

pub(super) fn build(site: &Site, packages: &[Package], mut writer: Writer) -> Result<()> {
    if let Some(mut compiler) = writer.compiler.take() {
        site.say("waiting for the index writer to be compiled");
        let status = compiler.wait().context("waiting for cargo")?;
        if !status.success() {
            bail!("compiling tests/world/index-writer failed ({status}): cargo's words are above");
        }
    }
    site.once("index", |folder| {
        let store = site.path("stage/nix/store");
        let described: Vec<_> = packages
            .iter()
            .map(|package| {
                json!({
                    "store_path": package.store_path,
                    "attr": package.attr,
                    "output": package.output,
                    "toplevel": package.toplevel,
                    "tree": store.join(package.store_path.trim_start_matches("/nix/store/")),
                })
            })
            .collect();
        let input = site.path("stage/index.json");
        std::fs::write(&input, serde_json::to_vec(&described).context("describing the packages")?)
            .with_context(|| format!("writing {}", input.display()))?;
        run(Command::new(&writer.executable).arg(&input).arg(folder.join("files")))
            .context("writing the index")?;
        Ok(())
    })
}
