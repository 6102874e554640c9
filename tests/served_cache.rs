//! Everything that a served cache names is found in it by the real loader, at the path that stands there.

#[path = "../resolve/tests/real_loader/elf_writer.rs"]
#[allow(dead_code)] // the other user of these, which makes caches up, needs more of them
mod elf_writer;
#[path = "../resolve/tests/real_loader/told.rs"]
#[allow(dead_code)]
mod told;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{EVERYBODY, fixture, run};
use elf_writer::{Elf, X86_64};
use told::{CACHE, loader_with_own_cache, tell};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
/// A search compares a name with all that were loaded before.
const AT_ONCE: usize = 500;

/// The served caches that are kept anywhere below a folder.
fn kept(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => kept(&entry.path()),
            _ => vec![entry.path()],
        })
        .filter(|path| path.parent().is_some_and(|parent| parent.ends_with("sonde/served")))
        // One that is still being written has another name.
        .filter(|path| path.extension().is_some_and(|extension| extension == "cache"))
        .collect()
}

/// What glibc's own tool reads in a cache.
fn listing(cache: &Path) -> BTreeMap<String, String> {
    let output = Command::new("/sbin/ldconfig").arg("-p").arg("-C").arg(cache).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (name, path) = line.trim().split_once(" (libc6,x86-64) => ")?;
        Some((name.to_owned(), path.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn the_loader_finds_every_soname_of_a_served_cache() {
    let folder = tempfile::tempdir().unwrap();
    let own = Command::new("patchelf").arg("--print-interpreter").arg("/proc/self/exe").output().unwrap();
    let own = PathBuf::from(String::from_utf8(own.stdout).unwrap().trim());
    let loader = loader_with_own_cache(&own, folder.path());
    let seeds = fixture().guests().join("seeds-of-the-cache");
    fs::create_dir_all(&seeds).unwrap();
    for soname in ["libexpat.so.1", "libsonde-seed.so.1"] {
        fixture().library(&seeds.join(soname), soname);
    }
    for who in EVERYBODY {
        let (state, root) = fixture().cold(who);
        // One as the index has it, and one with what is at hand for this program.
        for root in [root.clone(), root.env("NIX_LD_LIBRARY_PATH", "/guests/seeds-of-the-cache")] {
            let outcome = run(root.command(CURL).arg("--version"));
            assert!(outcome.succeeded(), "{outcome}");
        }
        // They are written behind the programs' backs.
        let started = Instant::now();
        let caches = loop {
            let caches = kept(state.path());
            if caches.len() >= 2 || started.elapsed() > Duration::from_secs(60) {
                break caches;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(caches.len() >= 2, "{caches:?}");
        let mut seeded = 0;
        for cache in caches {
            let listed = listing(&cache);
            let zlib = listed.get("libz.so.1").is_some_and(|path| path.starts_with("/nix/store/"));
            assert!(listed.len() > 500 && zlib, "{}: {listed:#?}", cache.display());
            seeded += usize::from(listed.contains_key("libsonde-seed.so.1"));
            fs::copy(&cache, folder.path().join(CACHE)).unwrap();
            // Of its own name a loader asks nobody.
            let names = listed.keys().map(String::as_str).filter(|name| !name.starts_with("ld-linux"));
            let names: Vec<&str> = names.collect();
            for needed in names.chunks(AT_ONCE) {
                let program =
                    Elf { machine: X86_64, needed: needed.to_vec(), no_default_lib: true, ..Elf::default() };
                fs::write(folder.path().join("program"), program.to_bytes()).unwrap();
                let mut command = Command::new(&loader);
                command.current_dir(folder.path()).arg("./program").env_remove("LD_LIBRARY_PATH");
                let told = tell(&mut command);
                for name in needed {
                    let search =
                        told.searches.get(*name).unwrap_or_else(|| panic!("{name} was not asked for"));
                    let answer = search.of_cache.as_deref();
                    assert_eq!(answer, Some(Path::new(&listed[*name])), "{name} in {}", cache.display());
                }
            }
            fs::remove_file(folder.path().join(CACHE)).unwrap();
        }
        assert_eq!(seeded, 1, "as {who:?}");
    }
}
