//! Laws of the format, and glibc's own tool as the judge.

use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::io::Write;
use std::process::Command;

fn entry(soname: &str, folder: &str) -> Entry {
    Entry { soname: soname.into(), path: format!("{folder}/{soname}"), flags: 0x0303, hwcap: 0 }
}

/// What glibc's binary search returns.
fn lookup<'a>(entries: &'a [Entry], soname: &str) -> Option<&'a str> {
    let (mut low, mut high) = (0, entries.len());
    while low < high {
        let middle = (low + high) / 2;
        match compare(soname, &entries[middle].soname) {
            Ordering::Equal => {
                let first =
                    entries.partition_point(|entry| compare(&entry.soname, soname) == Ordering::Greater);
                return Some(&entries[first].path);
            }
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}

fn soname() -> impl Strategy<Value = String> {
    "(lib)?[a-z+_-]{0,4}[0-9]{0,10}[a-c.]{0,2}\\.so(\\.[0-9]{1,3}){0,3}"
}

proptest! {
    #[test]
    fn what_was_written_is_read_back_in_the_loaders_order(
        names in prop::collection::btree_set(soname(), 0..60)
    ) {
        let entries: Vec<_> = names.iter().map(|name| entry(name, "/nix/store/x/lib")).collect();
        let read = parse(&write(&entries).unwrap()).unwrap();
        prop_assert!(read.is_sorted_by(|a, b| compare(&a.soname, &b.soname) != Ordering::Less));
        let mut kept: Vec<_> = entries.iter().filter(|entry| holds(&entry.soname)).cloned().collect();
        if kept.is_empty() {
            prop_assert_eq!(read.len(), 1, "a dummy, for the loader refuses an empty cache");
        } else {
            let mut read = read;
            read.sort_by(|a, b| a.soname.cmp(&b.soname));
            kept.sort_by(|a, b| a.soname.cmp(&b.soname));
            prop_assert_eq!(read, kept);
        }
    }

    #[test]
    fn the_order_is_total(a in soname(), b in soname(), c in soname()) {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        if compare(&a, &b) != Ordering::Greater && compare(&b, &c) != Ordering::Greater {
            prop_assert_ne!(compare(&a, &c), Ordering::Greater);
        }
    }

    #[test]
    fn a_patched_cache_answers_as_one_written_anew(
        base in prop::collection::btree_set(soname(), 0..40),
        changes in prop::collection::vec((soname(), any::<bool>()), 0..20),
    ) {
        let base: Vec<_> = base.iter().filter(|name| holds(name)).map(|name| entry(name, "/old")).collect();
        let (hits, mut both) = (base.iter().step_by(3).map(|entry| (entry.soname.clone(), true)), changes);
        both.extend(hits);
        let paths: Vec<_> = both.iter().map(|(name, _)| format!("/new/{name}")).collect();
        let changes: Vec<_> = both.iter().zip(&paths).map(|((name, provide), path)| {
            (name.as_str(), if *provide { Change::Provide(path) } else { Change::Withdraw })
        }).collect();
        let patched = parse(&patch(&write(&base).unwrap(), 0x0303, &changes).unwrap()).unwrap();
        prop_assert!(patched.is_sorted_by(|a, b| compare(&a.soname, &b.soname) != Ordering::Less));
        let known = base.iter().map(|entry| entry.soname.as_str());
        for name in known.chain(both.iter().map(|(name, _)| name.as_str())) {
            if !holds(name) { continue; }
            let change = changes.iter().rev().find(|(other, _)| compare(other, name) == Ordering::Equal);
            let expected = match change {
                Some((_, Change::Provide(path))) => Some((*path).to_owned()),
                Some((_, Change::Withdraw)) => None,
                None => lookup(&parse(&write(&base).unwrap()).unwrap(), name).map(str::to_owned),
            };
            prop_assert_eq!(lookup(&patched, name).map(str::to_owned), expected);
        }
    }

    #[test]
    fn damage_never_panics(
        names in prop::collection::vec(soname(), 1..5),
        at in any::<prop::sample::Index>(),
        value: u8,
    ) {
        let entries: Vec<_> = names.iter().map(|name| entry(name, "/lib")).collect();
        let mut bytes = write(&entries).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = parse(&bytes);
        let _ = patch(&bytes, 0x0303, &[("libz.so.1", Change::Provide("/x")), ("liba.so", Change::Withdraw)]);
        bytes.truncate(at);
        let _ = parse(&bytes);
    }
}

#[test]
fn digits_compare_as_numbers_and_sort_above_letters() {
    for (greater, less) in [
        ("libz.so.10", "libz.so.9"),
        ("libz.so.1", "libz.so"),
        ("lib2.so", "liba.so"),
        ("libb.so", "liba.so"),
        ("libz.so.1.10.2", "libz.so.1.9.11"),
    ] {
        assert_eq!(compare(greater, less), Ordering::Greater, "{greater} {less}");
    }
    assert_eq!(compare("libz.so.01", "libz.so.1"), Ordering::Equal, "the loader takes one for the other");
}

#[test]
fn a_name_that_glibc_cannot_order_is_left_out() {
    assert!(!holds("libfoo-20230101120000.so"), "more than an int");
    assert!(!holds("libé.so"));
    let entries = [entry("libfoo-20230101120000.so", "/lib"), entry("libz.so.1", "/lib")];
    let read = parse(&write(&entries).unwrap()).unwrap();
    assert_eq!(read, [entry("libz.so.1", "/lib")]);
}

#[test]
fn the_compatibility_format_of_older_ldconfigs_is_read() {
    let new = write(&[entry("libz.so.1", "/lib")]).unwrap();
    let mut file = OLD_MAGIC.to_vec();
    file.extend_from_slice(&1u32.to_le_bytes());
    file.extend_from_slice(&[0; OLD_ENTRY]);
    file.resize(file.len().next_multiple_of(8), 0);
    file.extend_from_slice(&new);
    assert_eq!(parse(&file).unwrap(), [entry("libz.so.1", "/lib")]);
}

#[test]
fn a_file_of_another_kind_is_refused() {
    assert_eq!(parse(b"\x7fELF"), Err(CacheError::NotACache));
    let mut other_order = write(&[]).unwrap();
    other_order[28] = 3;
    assert_eq!(parse(&other_order), Err(CacheError::BigEndian));
}

/// glibc's own reader of cache files; absent on NixOS.
fn ldconfig_print(cache: &[u8]) -> Option<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(cache).unwrap();
    let run = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .iter()
        .find_map(|ldconfig| Command::new(ldconfig).arg("-p").arg("-C").arg(file.path()).output().ok())?;
    run.status.success().then(|| String::from_utf8(run.stdout).unwrap())
}

#[test]
fn glibcs_own_tool_lists_what_was_written() {
    let entries =
        [entry("libz.so.1", "/nix/store/a/lib"), entry("libz.so.10", "/b"), entry("libz.so.9", "/b")];
    let Some(listing) = ldconfig_print(&write(&entries).unwrap()) else { return };
    let lines: Vec<_> = listing.lines().skip(1).take(3).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "libz.so.10 (libc6,x86-64) => /b/libz.so.10",
            "libz.so.9 (libc6,x86-64) => /b/libz.so.9",
            "libz.so.1 (libc6,x86-64) => /nix/store/a/lib/libz.so.1",
        ]
    );
    let changes = [("libz.so.9", Change::Provide("/new/z9")), ("liby.so", Change::Provide("/new/y"))];
    let patched = patch(&write(&entries).unwrap(), 0x0303, &changes).unwrap();
    let listing = ldconfig_print(&patched).unwrap();
    assert!(listing.contains("libz.so.9 (libc6,x86-64) => /new/z9"), "{listing}");
    assert!(listing.contains("liby.so (libc6,x86-64) => /new/y"), "{listing}");
    assert!(ldconfig_print(&write(&[]).unwrap()).unwrap().starts_with("1 libs found"), "the dummy entry");
}

#[test]
fn a_cache_that_ldconfig_wrote_is_in_our_order() {
    let Ok(system) = std::fs::read("/etc/ld.so.cache") else { return };
    let read = parse(&system).unwrap();
    assert!(!read.is_empty());
    assert!(read.is_sorted_by(|a, b| compare(&a.soname, &b.soname) != Ordering::Less));
}
