//! Writes a nix-index database with the nix-index crate's own writer. It is a crate of its own, and a program rather
//! than a library, because that crate brings an HTTP client and an SQL database along and compiles for minutes.
//!
//! Usage: sonde-world-index-writer PACKAGES.json OUTPUT

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix_index::database::Writer;
use nix_index::files::FileTree;
use nix_index::package::{PathOrigin, StorePath};
use serde::Deserialize;
use serde_bytes::ByteBuf;

/// As nix-index's own default is 22; the world's is small and rebuilt often.
const COMPRESSION: i32 = 12;

#[derive(Deserialize)]
struct Package {
    store_path: String,
    attr: String,
    output: String,
    toplevel: bool,
    /// Where its files lie on this machine.
    tree: PathBuf,
}

fn main() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        bail!("usage: sonde-world-index-writer PACKAGES.json OUTPUT");
    };
    let text = std::fs::read(input).with_context(|| format!("reading {}", input.display()))?;
    let packages: Vec<Package> =
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", input.display()))?;
    let mut writer =
        Writer::create(output, COMPRESSION).with_context(|| format!("creating {}", output.display()))?;
    for package in packages {
        let origin = PathOrigin {
            attr: package.attr,
            output: package.output,
            toplevel: package.toplevel,
            system: Some("x86_64-linux".to_owned()),
        };
        let path = StorePath::parse(origin, &package.store_path)
            .with_context(|| format!("{} is no store path", package.store_path))?;
        let files = tree(&package.tree)?;
        writer.add(path, files, b"").with_context(|| format!("adding {}", package.store_path))?;
    }
    writer.finish().with_context(|| format!("finishing {}", output.display()))?;
    Ok(())
}

fn tree(path: &Path) -> Result<FileTree> {
    let what = || format!("reading {}", path.display());
    let metadata = path.symlink_metadata().with_context(what)?;
    if metadata.is_symlink() {
        let target = std::fs::read_link(path).with_context(what)?;
        return Ok(FileTree::symlink(ByteBuf::from(target.as_os_str().as_bytes())));
    }
    if !metadata.is_dir() {
        return Ok(FileTree::regular(metadata.len(), metadata.permissions().mode() & 0o100 != 0));
    }
    let mut entries = HashMap::new();
    for entry in std::fs::read_dir(path).with_context(what)? {
        let entry = entry.with_context(what)?;
        entries.insert(ByteBuf::from(entry.file_name().as_bytes()), tree(&entry.path())?);
    }
    Ok(FileTree::directory(entries))
}
