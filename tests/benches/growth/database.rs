//! A nix-index database of packages that are made up: files and programs that nobody loads, and libraries.
//!
//! The format is nix-index's: `NIXI`, version 1, then zstd of `metadata 00 differential rest 0a` entries, of which the
//! last one of a package names it. Each path is written whole here.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use serde_json::json;

/// Files of a package that are no libraries.
const FILES: usize = 12;

/// A package with one library.
pub(super) struct Made {
    /// `/nix/store/HASH-NAME`
    pub(super) store_path: String,
    pub(super) attribute: String,
    pub(super) soname: String,
}

impl Made {
    /// One that is in no store.
    pub(super) fn nowhere(number: usize) -> Self {
        Self {
            store_path: format!("/nix/store/{}-made{number}-1.{}", hash(number), number % 40),
            attribute: format!("set{}.made{number}", number % 300),
            soname: soname(number),
        }
    }
}

/// The library of a package that is made up.
pub(super) fn soname(number: usize) -> String {
    format!("libmade{number}.so.{}", number % 7)
}

/// 32 characters as in a store path, different for each number.
fn hash(number: usize) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    // As good as random: FNV's step, again and again.
    let mut state = number as u64 ^ 0xcbf2_9ce4_8422_2325;
    let mut digit = || {
        state = state.wrapping_mul(0x0000_0100_0000_01b3) ^ (state >> 29);
        char::from(DIGITS[(state >> 40) as usize % DIGITS.len()])
    };
    (0..32).map(|_| digit()).collect()
}

/// Writes a database.
pub(super) fn write(file: &Path, packages: impl Iterator<Item = Made>) -> Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    out.write_all(b"NIXI\x01\0\0\0\0\0\0\0")?;
    let mut out = zstd::Encoder::new(out, 1)?;
    for made in packages {
        let path = made.store_path.rsplit('/').next().unwrap_or_default();
        let (hash, name) = path.split_once('-').unwrap_or_default();
        for file in 0..FILES {
            writeln!(out, "{}r\0\0/share/doc/{name}/chapter{file}.html", 1000 + file)?;
        }
        writeln!(out, "20480x\0\0/bin/{name}\n16384r\0\0/lib/{}", made.soname)?;
        let origin = json!({
            "attr": made.attribute, "output": "out", "toplevel": true, "system": "x86_64-linux",
        });
        let package = json!({ "store_dir": "/nix/store", "hash": hash, "name": name, "origin": origin });
        writeln!(out, "p\0\0{package}")?;
    }
    out.finish()?.flush()?;
    Ok(())
}
