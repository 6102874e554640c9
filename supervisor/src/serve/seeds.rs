//! The seeds of a tree's programs: which they have, which of them yield to a package, and how one is returned.

use std::cmp::Ordering;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_resolve::choose::rules::compare_names;
use tracing::warn;

use super::tree::Tree;
use crate::guest::notification::Notification;
use crate::guest::remote::GuestRoot;
use crate::index::Choice;
use crate::plan::seeds::{Seeds, stamp};
use crate::store::StorePath;

impl Tree {
    /// Those in these folders of a root. Members of glibc are none: they come with the loader.
    pub(super) fn seeds_in(&self, folders: Vec<PathBuf>, root: &GuestRoot) -> Arc<Seeds> {
        let known = self.provisions.seeds_of(&folders, &stamp(&folders, root));
        known.unwrap_or_else(|| Seeds::read(folders, root, |name| !self.index().is_glibc(name)).into())
    }

    /// Members of gcc's runtime of which the index has a newer one than these seeds, and that one. A process has one
    /// `libstdc++.so.6`, whoever else needs it, and an older one would not do for what comes from the index.
    pub(super) fn outdated(&self, seeds: &Seeds) -> Vec<(String, Choice)> {
        let of_gcc = seeds.iter().filter(|(name, _)| self.index().is_gcc_runtime(name));
        let newer = of_gcc.filter_map(|(name, seed)| {
            let (newest, own) = (self.index().choose(name)?, StorePath::of_file(seed)?);
            let is_newer = compare_names(newest.object.name(), own.name()) == Ordering::Greater;
            is_newer.then(|| (name.to_owned(), newest))
        });
        newer.collect()
    }

    /// The seeds without those that are outdated by something that is there. What is not, may never be: then the older
    /// one is better than none.
    pub(super) fn up_to_date(&self, seeds: Arc<Seeds>, outdated: &[(String, Choice)]) -> Arc<Seeds> {
        let is_there =
            |choice: &Choice| self.realiser.is_valid(&choice.object) || self.index().is_there(&choice.object);
        let there = outdated.iter().filter(|(_, newer)| is_there(newer)).map(|(name, _)| name.clone());
        let there: Vec<String> = there.collect();
        if there.is_empty() { seeds } else { seeds.without(&there).into() }
    }

    /// Returns a seed to a loader that asks for it by another path.
    pub(super) fn give_seed(&self, notification: Notification, file: &Path) {
        let root = notification.thread().and_then(|thread| thread.root().ok());
        match root.map(|root| root.open(file)) {
            Some(Ok(seed)) => notification.return_descriptor(seed.as_fd()),
            other => {
                warn!(file = %file.display(), ?other, "a seed cannot be opened");
                notification.let_through();
            }
        }
    }
}
