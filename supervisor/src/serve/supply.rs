//! Getting packages for a program that is about to start: what the policy allows, many in one request.

use std::sync::Arc;

use sonde_policy::Policy;
use tracing::debug;

use super::askers::Asker;
use super::tree::Tree;
use crate::index::Choice;
use crate::index::fitting::Supply;
use crate::store::{Progress, StoreError, StorePath};

/// A tree's store, for one start.
pub(super) struct TreeSupply<'t> {
    tree: &'t Tree,
    asker: Arc<Asker>,
    /// The policy as it was when the start began; none where everything is allowed.
    policy: Option<Arc<Policy>>,
    progress: &'t dyn Progress,
    /// Objects to be got with the first request.
    pending: Vec<StorePath>,
    failed: Vec<(StorePath, StoreError)>,
}

impl<'t> TreeSupply<'t> {
    /// `first` are objects that are needed in any case.
    pub(super) fn new(
        tree: &'t Tree,
        asker: Arc<Asker>,
        first: Vec<StorePath>,
        progress: &'t dyn Progress,
    ) -> Self {
        let policy = tree.permission.policy();
        Self { tree, asker, policy, progress, pending: first, failed: Vec::new() }
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
            let failed = self.failed.iter().any(|(object, _)| *object == choice.object);
            if !failed && !objects.contains(&choice.object) && self.permits(soname, choice) {
                objects.push(choice.object.clone());
            }
        }
        for (object, error) in self.tree.realiser.run_all(&objects, self.progress) {
            debug!(%object, %error, "cannot be realised");
            self.failed.push((object, error));
        }
    }

    fn pins(&self, soname: &str, choice: &Choice) -> bool {
        let pin = |policy: &Arc<Policy>| {
            policy.pin_of(&self.asker.program(), soname.as_bytes()) == Some(&choice.attribute)
        };
        self.policy.as_ref().is_some_and(pin)
    }

    fn permits(&self, soname: &str, choice: &Choice) -> bool {
        let Some(policy) = &self.policy else { return true };
        let refusal = self.tree.objection(policy, &self.asker, (soname, choice), None);
        refusal.is_none_or(|refusal| self.tree.permission.only_tells(&refusal))
    }

    fn most_for_one(&self) -> usize {
        let most = |policy: &Arc<Policy>| policy.limits(&self.asker.program()).candidates;
        let most = self.policy.as_ref().and_then(most);
        most.map_or(usize::MAX, |most| usize::try_from(most.value).unwrap_or(usize::MAX))
    }
}
