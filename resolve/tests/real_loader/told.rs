//! What a loader tells of its searches (`LD_DEBUG=libs`) and of what it found (`LD_TRACE_LOADED_OBJECTS`), and how it is
//! given a cache.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a loader with a cache of its own looks for it: in its working directory.
pub(crate) const CACHE: &str = "./ld.so.cache";

/// One search for one library.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Search {
    /// The files that were tried before the cache was asked, in order, without those for certain processors.
    pub(crate) before_cache: Vec<PathBuf>,
    /// What the cache answered.
    pub(crate) of_cache: Option<PathBuf>,
}

/// One start.
#[derive(Debug)]
pub(crate) struct Told {
    /// Each name and where it was found, in the order of loading; a name that was not found as often as it was asked for.
    pub(crate) found: Vec<(String, Option<PathBuf>)>,
    /// By name; the first for each. A program that is not only asked what it would load ends where that fails.
    pub(crate) searches: BTreeMap<String, Search>,
}

/// Has a program's loader say what it would load. The command must start a program, or a loader with one.
pub(crate) fn tell(command: &mut Command) -> Told {
    command.env("LD_TRACE_LOADED_OBJECTS", "1").env("LD_DEBUG", "libs");
    let output = command.output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    let found = stdout.lines().filter_map(|line| {
        let (name, place) = line.trim().split_once(" => ")?;
        let path = place.rsplit_once(" (0x").map(|(path, _)| PathBuf::from(path));
        Some((name.to_owned(), path))
    });
    Told { found: found.collect(), searches: searches(&stderr) }
}

/// A copy of the loader whose cache is a file in its working directory: nothing else is changed, and no privilege is
/// needed to give it one.
pub(crate) fn loader_with_own_cache(loader: &Path, folder: &Path) -> PathBuf {
    const END: &[u8] = b"/etc/ld.so.cache\0";
    let mut bytes = fs::read(loader).unwrap();
    let end = bytes.windows(END.len()).position(|window| window == END).expect("the loader names its cache");
    // In the store it is `/nix/store/…/etc/ld.so.cache`.
    let start = bytes[..end].iter().rposition(|byte| *byte == 0).unwrap() + 1;
    bytes[start..end + END.len()].fill(0);
    bytes[start..start + CACHE.len()].copy_from_slice(CACHE.as_bytes());
    let copy = folder.join("loader");
    fs::write(&copy, bytes).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    copy
}

fn searches(stderr: &str) -> BTreeMap<String, Search> {
    let mut searches: BTreeMap<String, Search> = BTreeMap::new();
    let (mut current, mut place) = (String::new(), Place::Path);
    // Each line begins with the process's number and a tab.
    for line in stderr.lines().filter_map(|line| line.split_once(":\t")) {
        let line = line.1.trim();
        if let Some(rest) = line.strip_prefix("find library=") {
            current = rest.split(" [").next().unwrap_or_default().to_owned();
            place = if searches.contains_key(&current) { Place::Again } else { Place::Path };
            searches.entry(current.clone()).or_default();
        } else if line.starts_with("search cache=") && place == Place::Path {
            place = Place::Cache;
        } else if line.starts_with("search path=") && place == Place::Cache {
            place = Place::System;
        } else if let Some(file) = line.strip_prefix("trying file=") {
            let search = searches.get_mut(&current).unwrap();
            match place {
                Place::Path if !is_for_a_processor(file) => search.before_cache.push(file.into()),
                Place::Cache => search.of_cache = Some(file.into()),
                _ => {}
            }
        }
    }
    searches
}

/// Folders in a folder that the loader tries first; the ones without a folder of their own are glibc's up to 2.36.
fn is_for_a_processor(file: &str) -> bool {
    const OLD: [&str; 5] = ["tls", "x86_64", "haswell", "avx512_1", "xeon_phi"];
    file.contains("glibc-hwcaps/") || file.rsplit('/').nth(1).is_some_and(|folder| OLD.contains(&folder))
}

#[derive(PartialEq)]
enum Place {
    Path,
    Cache,
    System,
    Again,
}
