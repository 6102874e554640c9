//! The policy about what a request would download: what an allowed package brings along, and how much.

use std::sync::{Arc, Mutex, PoisonError};

use sonde_policy::{Circumstances, Decision, Package, Policy, Request, Source};

use super::askers::Asker;
use super::tree::Tree;
use crate::store::{Gate, StorePath};

/// What one start of a program, or one load of a program that runs, may download.
pub(super) struct TreeGate<'t> {
    tree: &'t Tree,
    asker: Arc<Asker>,
    /// None where everything is allowed.
    policy: Option<Arc<Policy>>,
    /// Bytes that were allowed so far.
    spent: Mutex<u64>,
}

impl<'t> TreeGate<'t> {
    pub(super) fn new(tree: &'t Tree, asker: Arc<Asker>, policy: Option<Arc<Policy>>) -> Self {
        Self { tree, asker, policy, spent: Mutex::default() }
    }
}

impl Gate for TreeGate<'_> {
    fn is_open(&self) -> bool {
        let nothing = |policy: &Arc<Policy>| policy.extent().rules == 0 && !self.limits_downloads();
        self.policy.as_ref().is_none_or(nothing)
    }

    fn permit(&self, path: &StorePath) -> Result<(), Arc<str>> {
        let Some(policy) = &self.policy else { return Ok(()) };
        let package = self.tree.index().package_of(path).unwrap_or_default();
        let program = self.asker.program();
        let request = Request {
            program: program.path,
            soname: b"",
            package: Package {
                attribute: package.attribute,
                output: package.output,
                store_path: path.as_str(),
            },
            source: Source::Needed,
        };
        let circumstances =
            Circumstances { build_id: program.build_id, index: Some(package.database), realised: false };
        match policy.decide_dependency(&request, &circumstances) {
            Decision::Refuse { rule } => self.tree.unless_only_told(path.base_name(), rule),
            Decision::Provide => Ok(()),
        }
    }

    fn permit_download(&self, bytes: u64) -> Result<(), Arc<str>> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = spent.saturating_add(bytes);
        let limits = self.policy.as_ref().map(|policy| policy.limits(&self.asker.program()));
        let most = limits.and_then(|limits| limits.download_per_start);
        if let Some(most) = most.filter(|most| bytes > 0 && sum > most.value) {
            self.tree.unless_only_told("a download", most.rule)?;
        }
        *spent = sum;
        Ok(())
    }

    fn limits_downloads(&self) -> bool {
        let limits = self.policy.as_ref().map(|policy| policy.limits(&self.asker.program()));
        limits.is_some_and(|limits| limits.download_per_start.is_some())
    }
}
