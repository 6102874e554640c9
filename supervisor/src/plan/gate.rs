//! The policy about what a request would download: what an allowed package brings along, and how much.

use std::sync::Arc;

use sonde_policy::{Limits, Policy};

use super::permission::{Asker, Judge};
use crate::index::Index;
use crate::store::{Gate, Quota, StorePath, Tally};

/// Says of a rule that forbids something (what, which rule) whether it stands: an audit only tells of it.
pub(crate) type Verdict<'t> = Box<dyn Fn(&str, Arc<str>) -> Result<(), Arc<str>> + Sync + 't>;

/// What one start of a program, or one load of a program that runs, may download.
pub(crate) struct PolicyGate<'t> {
    index: &'t Index,
    asker: Arc<Asker>,
    /// None where everything is allowed.
    policy: Option<Arc<Policy>>,
    verdict: Verdict<'t>,
    quota: Quota,
}

impl<'t> PolicyGate<'t> {
    pub(crate) fn new(
        index: &'t Index,
        asker: Arc<Asker>,
        policy: Option<Arc<Policy>>,
        tally: Tally,
        verdict: Verdict<'t>,
    ) -> Self {
        Self { index, asker, policy, verdict, quota: Quota::new(tally) }
    }

    fn limits(&self) -> Limits {
        let limits = self.policy.as_ref().map(|policy| policy.limits(&self.asker.program()));
        limits.unwrap_or_default()
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
        self.quota.take(bytes, &self.limits(), |rule| (self.verdict)("a download", rule))
    }

    fn limits_downloads(&self) -> bool {
        let limits = self.limits();
        limits.download_per_start.is_some() || limits.download_total.is_some()
    }
}
