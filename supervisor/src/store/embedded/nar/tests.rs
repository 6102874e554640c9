//! Hostile archives, and what honest ones become.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::super::testing::{directory, executable, file, link, nar};
use super::*;

fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Outcome<()>) {
    let base = tempfile::tempdir().unwrap();
    let result = unpack(archive, File::open(base.path()).unwrap().as_fd(), "x");
    (base, result)
}

fn reason(archive: &[u8]) -> String {
    let (base, result) = unpacked(archive);
    super::super::remove::remove(&base.path().join("x")).unwrap();
    result.unwrap_err().to_string()
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn everything() -> Vec<u8> {
    nar(&directory(&[
        ("bin", directory(&[("tool", executable(b"#!/bin/sh\n"))])),
        ("data", file(b"hello")),
        ("empty", file(b"")),
        ("link", link(b"../../outside")),
        ("nothing", directory(&[])),
    ]))
}

#[test]
fn contents_modes_links_and_time_stamps_are_those_of_a_store() {
    let (base, result) = unpacked(&everything());
    result.unwrap();
    let at = |name: &str| base.path().join("x").join(name);
    assert_eq!(fs::read(at("data")).unwrap(), b"hello");
    assert_eq!(fs::read(at("empty")).unwrap(), b"");
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("../../outside"));
    for (name, expected) in
        [("", 0o555), ("bin", 0o555), ("bin/tool", 0o555), ("data", 0o444), ("nothing", 0o555)]
    {
        assert_eq!(mode(&at(name)), expected, "{name}");
    }
    for name in ["", "bin", "bin/tool", "data", "empty", "link", "nothing"] {
        assert_eq!(at(name).symlink_metadata().unwrap().mtime(), 1, "{name}");
    }
    super::super::remove::remove(&at("")).unwrap();
}

#[test]
fn a_store_object_can_be_a_file_or_a_link() {
    let (base, result) = unpacked(&nar(&file(b"text")));
    result.unwrap();
    assert_eq!(fs::read(base.path().join("x")).unwrap(), b"text");
    let (base, result) = unpacked(&nar(&link(b"/nowhere")));
    result.unwrap();
    assert_eq!(fs::read_link(base.path().join("x")).unwrap(), Path::new("/nowhere"));
}

#[test]
fn what_is_packed_again_is_the_same_archive() {
    let (base, result) = unpacked(&everything());
    result.unwrap();
    let mut again = Vec::new();
    super::super::pack::pack(&base.path().join("x"), &mut again).unwrap();
    assert_eq!(again, everything());
    super::super::remove::remove(&base.path().join("x")).unwrap();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["..", ".", "", "a/b", "/etc", "a\0b", "../x"] {
        let error = reason(&nar(&directory(&[(name, file(b"x"))])));
        assert!(error.contains("is no name for a file"), "{name:?}: {error}");
    }
    let long = "x".repeat(256);
    assert!(reason(&nar(&directory(&[(&long, file(b"x"))]))).contains("at most 255"));
}

#[test]
fn names_stand_once_and_in_order() {
    for names in [["a", "a"], ["b", "a"], ["a", "B"]] {
        let entries = names.map(|name| (name, file(b"x")));
        assert!(reason(&nar(&directory(&entries))).contains("twice or out of order"), "{names:?}");
    }
    // On Linux these are two.
    unpacked(&nar(&directory(&[("A", file(b"1")), ("a", file(b"2"))]))).1.unwrap();
}

#[test]
fn a_link_is_never_written_through() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().as_os_str().as_encoded_bytes();
    let entries = [("a", link(target)), ("a", directory(&[("planted", file(b"x"))]))];
    assert!(reason(&nar(&directory(&entries))).contains("twice"));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    // A name that is taken before, by whoever it may be, is not followed either.
    let base = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path().join("planted"), base.path().join("x")).unwrap();
    unpack(&*nar(&file(b"x")), File::open(base.path()).unwrap().as_fd(), "x").unwrap_err();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn links_need_a_target_and_folders_an_end() {
    assert!(reason(&nar(&link(b""))).contains("no proper target"));
    assert!(reason(&nar(&link(b"a\0b"))).contains("no proper target"));
    assert!(reason(&nar(&link(&[b'x'; 5000]))).contains("at most 4095"));
    let deep = (0..200).fold(file(b"x"), |inner, _| directory(&[("d", inner)]));
    assert!(reason(&nar(&deep)).contains("128 folders"));
}

#[test]
fn sizes_that_lie_are_found_out() {
    let mut huge = nar(&file(b"12345678"));
    let at = huge.windows(8).position(|bytes| bytes == b"12345678").unwrap();
    huge[at - 8..at].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(reason(&huge), "it ends in the middle");
    huge[at - 8..at].copy_from_slice(&4_u64.to_le_bytes());
    assert!(reason(&huge).contains("padding is not zero"));
    let mut more = nar(&file(b"x"));
    more.push(0);
    assert!(reason(&more).contains("follows its end"));
}

#[test]
fn every_cut_is_an_error_and_no_change_a_panic() {
    let archive = everything();
    for end in (0..archive.len()).step_by(8).chain(0..64) {
        assert_eq!(reason_or_none(&archive[..end]).as_deref(), Some("it ends in the middle"), "cut at {end}");
    }
    for at in 0..archive.len() {
        let mut changed = archive.clone();
        changed[at] ^= 0x41;
        let _ = reason_or_none(&changed);
    }
}

fn reason_or_none(archive: &[u8]) -> Option<String> {
    let (base, result) = unpacked(archive);
    super::super::remove::remove(&base.path().join("x")).unwrap();
    result.err().map(|error| error.to_string())
}
