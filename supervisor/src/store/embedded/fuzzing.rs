//! The readers of what binary caches send, for `fuzz/`: see `crate::fuzzing`.
#![allow(clippy::unwrap_used)] // a panic is a finding

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use super::nar::{NarError, unpack};
use super::narinfo::Narinfo;
use super::pack::pack;
use super::remove::remove;
use super::signature::{PublicKey, Verdict};

/// The key that `signed` is signed with.
const KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";

/// An archive: nothing that it says leads out of its folder, which is `folder/x`; what was unpacked packs to the same
/// bytes, and all of it can be removed, half unpacked or whole. The folder must be empty, and is left so.
pub fn nar(archive: &[u8], folder: &Path) -> bool {
    let object = folder.join("x");
    let outcome = unpack(archive, File::open(folder).unwrap().as_fd(), "x");
    assert!(names(folder).iter().all(|name| name == "x"), "more than the object in its folder");
    let mut again = Vec::new();
    match outcome.is_ok().then(|| pack(&object, &mut again)) {
        Some(Ok(())) => assert!(again == archive, "another archive of the same"),
        // 17 folders with the longest names are more than a path can say.
        Some(Err(error)) => assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG)),
        None => {}
    }
    remove(&object).unwrap();
    assert!(names(folder).is_empty());
    match outcome {
        Ok(()) => true,
        Err(NarError::Format(_)) => false,
        // Every name fits and every entry is new, so the disk has no reason to refuse.
        Err(error) => panic!("{error}"),
    }
}

fn names(folder: &Path) -> Vec<OsString> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// A description: what was understood is understood the same when it is written again, and is trusted only where it says
/// what `signed` does, of everything that a signature is of.
pub fn narinfo(text: &str, signed: &str) -> bool {
    let Ok(info) = Narinfo::parse(text) else { return false };
    let mut written = info.clone();
    (written.file_hash, written.file_size) = (None, None); // of the archive, which is not kept
    assert_eq!(Narinfo::parse(&written.to_text()).as_ref(), Ok(&written));
    if info.judge(&[PublicKey::parse(KEY).unwrap()]) == Verdict::Trusted {
        let signed = Narinfo::parse(signed).unwrap();
        assert_eq!(
            (info.path, info.nar_hash, info.nar_size),
            (signed.path, signed.nar_hash, signed.nar_size)
        );
        assert_eq!(BTreeSet::from_iter(info.references), BTreeSet::from_iter(signed.references));
    }
    true
}
