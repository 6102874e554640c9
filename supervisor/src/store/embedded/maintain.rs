//! Looking after the store: what is in it, is it what was signed, and what of it nobody needs.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EmbeddedStore;
use super::error::EmbeddedError;
use super::fetch::{Fetch, in_parallel};
use super::hash::Sha;
use super::pack::pack;
use super::remove::remove;
use crate::store::{NoProgress, StorePath};

/// Objects that are hashed at once: the disk's work as much as the processor's.
const HASHERS: usize = 2;

/// What an object turned out to be.
#[derive(Debug)]
pub(crate) enum Condition {
    /// What was signed.
    Sound,
    /// Something else, or it cannot be read; in words.
    Damaged(String),
    /// It was damaged, and has been fetched again.
    Repaired,
    /// It is damaged, and could not be fetched again.
    Lost(EmbeddedError),
}

/// What nobody needs.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    pub(crate) objects: Vec<StorePath>,
    /// What is left of attempts that were interrupted.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Bytes of all of it, as far as they are known.
    pub(crate) bytes: u64,
}

impl EmbeddedStore {
    /// Every valid object, and its size unpacked.
    pub(crate) fn list(&self) -> Vec<(StorePath, u64)> {
        let size = |path: StorePath| self.layout.registered(&path).map(|info| (path, info.nar_size));
        self.layout.all().into_iter().filter_map(size).collect()
    }

    /// Hashes every object and compares it with what was signed.
    pub(crate) fn verify(&self, repair: bool) -> Result<Vec<(StorePath, Condition)>, EmbeddedError> {
        let all = self.layout.all();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = self.layout.lock_out_collection()?;
        let fetch = Fetch::new(self, &NoProgress);
        let conditions = in_parallel(&all, HASHERS, |path| match (self.damage(path), repair) {
            (None, _) => Ok::<_, EmbeddedError>(Condition::Sound),
            (Some(damage), false) => Ok(Condition::Damaged(damage)),
            (Some(_), true) => Ok(match fetch.again(path) {
                Ok(()) => Condition::Repaired,
                Err(error) => Condition::Lost(error),
            }),
        })?;
        Ok(all.into_iter().zip(conditions).collect())
    }

    fn damage(&self, path: &StorePath) -> Option<String> {
        let Some(info) = self.layout.registered(path) else {
            return Some("it is registered, but not there".into());
        };
        let mut digest = Digester(Sha256::new());
        match pack(&self.layout.object(path), &mut digest) {
            Err(error) => Some(error.to_string()),
            Ok(()) => {
                let found = Sha(digest.0.finalize().into());
                (found != info.nar_hash)
                    .then(|| format!("its hash is {found} where {} was signed", info.nar_hash))
            }
        }
    }

    /// Removes what no root in a folder of `plans` leads to; `dry`: only says what that is.
    pub(crate) fn collect(&self, plans: &Path, dry: bool) -> Result<Garbage, EmbeddedError> {
        let mut garbage = Garbage::default();
        if !self.layout.objects().exists() {
            return Ok(garbage);
        }
        let _lock = self.layout.lock_for_collection()?;
        let live = self.live(plans).map_err(EmbeddedError::disk("reading the gc roots in", plans))?;
        garbage.objects = self.layout.all().into_iter().filter(|path| !live.contains(path)).collect();
        garbage.leftovers = self.layout.leftovers();
        let sizes = garbage.objects.iter().filter_map(|path| Some(self.layout.registered(path)?.nar_size));
        garbage.bytes = sizes.sum();
        if dry {
            return Ok(garbage);
        }
        for path in &garbage.objects {
            self.layout.unregister(path)?;
            let object = self.layout.object(path);
            remove(&object).map_err(EmbeddedError::disk("removing", &object))?;
        }
        for leftover in &garbage.leftovers {
            remove(leftover).map_err(EmbeddedError::disk("removing", leftover))?;
        }
        self.layout.tidy();
        Ok(garbage)
    }

    /// Everything that the roots lead to. What cannot be read is an error: it might be a root.
    fn live(&self, plans: &Path) -> io::Result<HashSet<StorePath>> {
        let mut open = Vec::new();
        for plan in entries(plans)? {
            if !plan.is_dir() {
                continue;
            }
            for root in entries(&plan)? {
                let target = fs::read_link(&root).ok();
                open.extend(target.and_then(|target| StorePath::new(target.to_str()?)));
            }
        }
        let mut live = HashSet::new();
        while let Some(path) = open.pop() {
            if !live.contains(&path) {
                open.extend(self.layout.registered(&path).map(|info| info.references).unwrap_or_default());
                live.insert(path);
            }
        }
        Ok(live)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

struct Digester(Sha256);

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
