//! The policy about what a request would download: what an allowed package brings along, and how much.

use std::sync::{Arc, Mutex, PoisonError};

use sonde_policy::{Limits, Policy};

use super::permission::{Asker, Judge};
use crate::index::Index;
use crate::store::{Gate, StorePath};

/// Says of a rule that forbids something (what, which rule) whether it stands: an audit only tells of it.
pub(crate) type Verdict<'t> = Box<dyn Fn(&str, Arc<str>) -> Result<(), Arc<str>> + Sync + 't>;

/// What one start of a program, or one load of a program that runs, may download.
pub(crate) struct PolicyGate<'t> {
    index: &'t Index,
    asker: Arc<Asker>,
    /// None where everything is allowed.
    policy: Option<Arc<Policy>>,
    verdict: Verdict<'t>,
    /// Bytes that were allowed so far.
    spent: Mutex<u64>,
}

impl<'t> PolicyGate<'t> {
    pub(crate) fn new(
        index: &'t Index,
        asker: Arc<Asker>,
        policy: Option<Arc<Policy>>,
        verdict: Verdict<'t>,
    ) -> Self {
        Self { index, asker, policy, verdict, spent: Mutex::default() }
    }

    fn limits(&self) -> Option<Limits> {
        self.policy.as_ref().map(|policy| policy.limits(&self.asker.program()))
    }
}

impl Gate for PolicyGate<'_> {
    fn is_open(&self) -> bool {
        let nothing = |policy: &Arc<Policy>| policy.extent().rules == 0 && !self.limits_downloads();
        self.policy.as_ref().is_none_or(nothing)
    }

    fn permit(&self, path: &StorePath) -> Result<(), Arc<str>> {
        let Some(policy) = &self.policy else { return Ok(()) };
        let judge = Judge { policy, asker: &self.asker, index: self.index };
        match judge.objection_to_dependency(path) {
            Some(rule) => (self.verdict)(path.base_name(), rule),
            None => Ok(()),
        }
    }

    fn permit_download(&self, bytes: u64) -> Result<(), Arc<str>> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = spent.saturating_add(bytes);
        let most = self.limits().and_then(|limits| limits.download_per_start);
        if let Some(most) = most.filter(|most| bytes > 0 && sum > most.value) {
            (self.verdict)("a download", most.rule)?;
        }
        *spent = sum;
        Ok(())
    }

    fn limits_downloads(&self) -> bool {
        self.limits().is_some_and(|limits| limits.download_per_start.is_some())
    }
}
