//! Getting packages for a program that is about to start: what the policy allows, many in one request.

use std::sync::Arc;

use sonde_policy::Policy;
use tracing::debug;

use super::askers::Asker;
use super::gate::TreeGate;
use super::tree::Tree;
use crate::index::Choice;
use crate::index::fitting::Supply;
use crate::store::{Gate, GateError, OpenGate, Progress, StoreError, StorePath};

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
    /// One for the whole start, so that its downloads are added up.
    gate: Arc<TreeGate<'t>>,
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
        let gate = Arc::new(TreeGate::new(tree, asker.clone(), policy.clone()));
        Self { tree, asker, policy, progress, pending: first, failed: Vec::new(), gate }
    }

    /// Nothing runs without a loader, so nobody is asked about it, or about what comes along with it; but where nothing may
    /// be downloaded, it is not either.
    fn realise_first(&mut self, mut objects: Vec<StorePath>) {
        let policy = self.policy.as_ref().filter(|policy| policy.fault().is_none());
        let offline = policy.and_then(|policy| policy.limits(&self.asker.program()).offline);
        if let Some(offline) = offline.filter(|offline| offline.value) {
            let (there, missing) = objects.into_iter().partition(|object| self.has(object));
            objects = there;
            let missing: Vec<StorePath> = missing;
            self.failed.extend(missing.into_iter().map(|path| {
                let error = GateError::Path { path: path.clone(), rule: offline.rule.clone() };
                (path, error.into())
            }));
        }
        self.realise(&objects, &OpenGate);
    }

    fn realise(&mut self, objects: &[StorePath], gate: &dyn Gate) {
        for (object, error) in self.tree.realiser.run_all(objects, self.progress, gate) {
            debug!(%object, %error, "cannot be realised");
            self.failed.push((object, error));
        }
    }

    /// Gets what no request has got yet, and says what could not be had.
    pub(super) fn finish(mut self) -> Vec<(StorePath, StoreError)> {
        self.supply(&[]);
        self.failed
    }
}

impl Supply for TreeSupply<'_> {
    fn has(&self, object: &StorePath) -> bool {
        self.tree.realiser.is_valid(object) || self.tree.index().is_there(object)
    }

    fn supply(&mut self, wanted: &[(&str, Choice)]) {
        let mut objects = std::mem::take(&mut self.pending);
        if self.policy.is_some() {
            self.realise_first(std::mem::take(&mut objects));
        }
        for (soname, choice) in wanted {
            let failed = self.failed.iter().any(|(object, _)| *object == choice.object);
            if !failed && !objects.contains(&choice.object) && self.permits(soname, choice) {
                objects.push(choice.object.clone());
            }
        }
        let gate = self.gate.clone();
        self.realise(&objects, &*gate);
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
