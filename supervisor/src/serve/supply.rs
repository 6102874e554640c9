//! Getting packages for a program that is about to start: what the policy allows, many in one request.

use sonde_policy::{Decision, Source};
use tracing::debug;

use super::tree::Tree;
use crate::index::Choice;
use crate::index::fitting::Supply;
use crate::store::{Progress, StoreError, StorePath};

/// A tree's store, for one start.
pub(super) struct TreeSupply<'t> {
    tree: &'t Tree,
    progress: &'t dyn Progress,
    /// Objects to be got with the first request.
    pending: Vec<StorePath>,
    failed: Vec<(StorePath, StoreError)>,
}

impl<'t> TreeSupply<'t> {
    /// `first` are objects that are needed in any case.
    pub(super) fn new(tree: &'t Tree, first: Vec<StorePath>, progress: &'t dyn Progress) -> Self {
        Self { tree, progress, pending: first, failed: Vec::new() }
    }

    /// Gets what no request has got yet, and says what could not be had.
    pub(super) fn finish(mut self) -> Vec<(StorePath, StoreError)> {
        self.supply(&[]);
        self.failed
    }
}

impl Supply for TreeSupply<'_> {
    fn has(&self, object: &StorePath) -> bool {
        self.tree.realiser.is_valid(object) || self.tree.index.is_there(object)
    }

    fn supply(&mut self, wanted: &[(&str, Choice)]) {
        let mut objects = std::mem::take(&mut self.pending);
        for (soname, choice) in wanted {
            let allowed = self.tree.permit(soname, choice, Source::Needed) == Decision::Provide;
            let failed = self.failed.iter().any(|(object, _)| *object == choice.object);
            if allowed && !failed && !objects.contains(&choice.object) {
                objects.push(choice.object.clone());
            }
        }
        for (object, error) in self.tree.realiser.run_all(&objects, self.progress) {
            debug!(%object, %error, "cannot be realised");
            self.failed.push((object, error));
        }
    }
}
