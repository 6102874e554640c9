//! Every file of every provided store path finds what it needs in its own search path, and lies in the cache.

use std::path::Path;

use anyhow::{Context, Result};
use walkdir::WalkDir;

use crate::{Package, World, elf};

pub(super) fn check(world: &World, packages: &[Package]) -> Result<bool> {
    let mut faults = Vec::new();
    for package in packages {
        faults.extend(unresolved(world, package)?);
        let hash = package.store_path.trim_start_matches("/nix/store/").split('-').next().unwrap_or_default();
        if !world.cache().join(format!("{hash}.narinfo")).exists() {
            faults.push(format!("{} is not in the cache", package.store_path));
        }
    }
    let libraries: usize = packages.iter().map(|package| package.libraries.len()).sum();
    println!("{} store paths, {libraries} libraries: {} faults", packages.len(), faults.len());
    for fault in &faults {
        println!("  {fault}");
    }
    Ok(faults.is_empty())
}

/// What the files of a package need and their search path does not have.
fn unresolved(world: &World, package: &Package) -> Result<Vec<String>> {
    let tree = world.on_host(&package.store_path);
    let mut faults = Vec::new();
    if package.attr == "glibc" {
        return Ok(faults); // its loader knows where its own libraries are
    }
    for entry in WalkDir::new(&tree) {
        let entry = entry.with_context(|| format!("walking {}", tree.display()))?;
        if !entry.file_type().is_file() {
            if entry.file_type().is_symlink() && !reachable(world, entry.path()) {
                faults.push(format!("{} leads nowhere", entry.path().display()));
            }
            continue;
        }
        let Some(dynamic) = elf::read(entry.path())? else { continue };
        for needed in &dynamic.needed {
            let found = dynamic.runpath.iter().any(|folder| world.on_host(folder).join(needed).exists());
            if !found {
                faults
                    .push(format!("{} needs {needed}, which is not in its RUNPATH", entry.path().display()));
            }
        }
        if let Some(interpreter) = &dynamic.interpreter
            && !world.on_host(interpreter).exists()
        {
            faults.push(format!("{} has the interpreter {interpreter}", entry.path().display()));
        }
    }
    Ok(faults)
}

/// Links may lead into other store paths, which on this machine lie elsewhere.
fn reachable(world: &World, link: &Path) -> bool {
    let mut at = link.to_owned();
    for _ in 0..16 {
        match std::fs::read_link(&at) {
            Ok(target) if target.is_absolute() => at = world.on_host(&target.display().to_string()),
            Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return at.exists(),
        }
    }
    false
}
