//! Getting packages for a program that is about to start, or is to start later: what the policy allows, many in one
//! request.

use std::sync::Arc;

use sonde_policy::Policy;
use tracing::debug;

use super::gate::PolicyGate;
use super::permission::{Asker, Judge, Refusal};
use crate::index::fitting::Supply;
use crate::index::{Choice, Index};
use crate::store::{Gate, GateError, OpenGate, Progress, Realiser, StoreError, StorePath};

/// Says of a refusal whether it is only told.
pub(crate) type Leniency<'t> = Box<dyn Fn(&Refusal) -> bool + 't>;

/// Who gets packages for whom.
pub(crate) struct Errand<'t, W> {
    pub(crate) index: &'t Index,
    pub(crate) realiser: &'t Realiser<W>,
    pub(crate) asker: Arc<Asker>,
    /// The policy as it was when the start began; none where everything is allowed.
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) lenient: Leniency<'t>,
    /// One for the whole start, so that its downloads are added up.
    pub(crate) gate: PolicyGate<'t>,
    pub(crate) progress: &'t dyn Progress,
}

/// A store, for one start.
pub(crate) struct StartSupply<'t, W> {
    errand: Errand<'t, W>,
    /// Objects to be got with the first request.
    pending: Vec<StorePath>,
    failed: Vec<(StorePath, StoreError)>,
}

impl<'t, W> StartSupply<'t, W> {
    /// `first` are objects that are needed in any case.
    pub(crate) fn new(errand: Errand<'t, W>, first: Vec<StorePath>) -> Self {
        Self { errand, pending: first, failed: Vec::new() }
    }

    /// Nothing runs without a loader, so nobody is asked about it, or about what comes along with it; but where nothing may
    /// be downloaded, it is not either.
    fn realise_first(&mut self, mut objects: Vec<StorePath>) {
        let policy = self.errand.policy.as_ref().filter(|policy| policy.fault().is_none());
        let offline = policy.and_then(|policy| policy.limits(&self.errand.asker.program()).offline);
        if let Some(offline) = offline.filter(|offline| offline.value) {
            let (there, missing) = objects.into_iter().partition(|object| self.has(object));
            objects = there;
            let missing: Vec<StorePath> = missing;
            self.failed.extend(missing.into_iter().map(|path| {
                let error = GateError::Path { path: path.clone(), rule: offline.rule.clone() };
                (path, error.into())
            }));
        }
        let failed = self.errand.realise(&objects, &OpenGate);
        self.failed.extend(failed);
    }

    /// Gets what no request has got yet, and says what could not be had.
    pub(crate) fn finish(mut self) -> Vec<(StorePath, StoreError)> {
        self.supply(&[]);
        self.failed
    }
}

impl<W> Errand<'_, W> {
    fn realise(&self, objects: &[StorePath], gate: &dyn Gate) -> Vec<(StorePath, StoreError)> {
        let failed = self.realiser.run_all(objects, self.progress, gate);
        for (object, error) in &failed {
            debug!(%object, %error, "cannot be realised");
        }
        failed
    }

    fn judge(&self) -> Option<Judge<'_>> {
        let policy = self.policy.as_ref()?;
        Some(Judge { policy, asker: &self.asker, index: self.index })
    }
}

impl<W> Supply for StartSupply<'_, W> {
    fn has(&self, object: &StorePath) -> bool {
        self.errand.realiser.is_valid(object) || self.errand.index.is_there(object)
    }

    fn supply(&mut self, wanted: &[(&str, Choice)]) {
        let mut objects = std::mem::take(&mut self.pending);
        if self.errand.policy.is_some() {
            self.realise_first(std::mem::take(&mut objects));
        }
        for (soname, choice) in wanted {
            let failed = self.failed.iter().any(|(object, _)| *object == choice.object);
            if !failed && !objects.contains(&choice.object) && self.permits(soname, choice) {
                objects.push(choice.object.clone());
            }
        }
        let failed = self.errand.realise(&objects, &self.errand.gate);
        self.failed.extend(failed);
    }

    fn pins(&self, soname: &str, choice: &Choice) -> bool {
        self.errand.judge().is_some_and(|judge| judge.pins(soname, choice))
    }

    fn permits(&self, soname: &str, choice: &Choice) -> bool {
        let Some(judge) = self.errand.judge() else { return true };
        let refusal = judge.objection((soname, choice), self.has(&choice.object), None);
        refusal.is_none_or(|refusal| (self.errand.lenient)(&refusal))
    }

    fn most_for_one(&self) -> usize {
        self.errand.judge().map_or(usize::MAX, |judge| judge.most_for_one())
    }
}
