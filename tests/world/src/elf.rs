//! What the builder and the checks need to know of an ELF file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use goblin::elf::Elf;

/// The dynamic section's say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// DT_SONAME
    pub soname: Option<String>,
    /// DT_NEEDED, in order.
    pub needed: Vec<String>,
    /// DT_RUNPATH (or DT_RPATH), split.
    pub runpath: Vec<String>,
    /// PT_INTERP
    pub interpreter: Option<String>,
    /// ET_DYN without PT_INTERP, or with a soname: something to load rather than to run.
    pub is_library: bool,
}

/// Reads a file's dynamic section; `None` if it is no dynamic ELF file of 64 bits.
pub fn read(path: &Path) -> Result<Option<Dynamic>> {
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut magic = [0; 5];
    if file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF\x02" {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    // A file that only looks like ELF (separate debug data) is no library.
    let Ok(elf) = Elf::parse(&bytes) else { return Ok(None) };
    if elf.dynamic.is_none() {
        return Ok(None);
    }
    let soname = elf.soname.map(str::to_owned);
    let interpreter = elf.interpreter.map(str::to_owned);
    let is_library = elf.is_lib && (interpreter.is_none() || soname.is_some());
    let split = |paths: &[&str]| paths.iter().flat_map(|path| path.split(':')).map(str::to_owned).collect();
    Ok(Some(Dynamic {
        needed: elf.libraries.iter().map(|name| name.to_string()).collect(),
        runpath: if elf.runpaths.is_empty() { split(&elf.rpaths) } else { split(&elf.runpaths) },
        soname,
        interpreter,
        is_library,
    }))
}
