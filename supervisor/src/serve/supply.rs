//! A tree's store, for one start of a program, and its gate.

use std::sync::Arc;

use super::tree::{Tree, Waiting};
use crate::plan::gate::PolicyGate;
use crate::plan::permission::Asker;
use crate::plan::supply::{Errand, StartSupply};
use crate::store::{Progress, StorePath};

impl Tree {
    /// What packages are got through for a program that is about to start. `first` are objects that are needed in any
    /// case.
    pub(super) fn supply<'t>(
        &'t self,
        asker: Arc<Asker>,
        first: Vec<StorePath>,
        progress: &'t dyn Progress,
    ) -> StartSupply<'t, Waiting> {
        let errand = Errand {
            index: self.index(),
            realiser: &self.realiser,
            gate: self.gate(asker.clone()),
            asker,
            policy: self.permission.policy(),
            lenient: Box::new(|refusal| self.permission.only_tells(refusal)),
            progress,
        };
        StartSupply::new(errand, first)
    }

    /// What may be downloaded for a program.
    pub(super) fn gate(&self, asker: Arc<Asker>) -> PolicyGate<'_> {
        let verdict = |what: &str, rule| self.unless_only_told(what, rule);
        PolicyGate::new(
            self.index(),
            asker,
            self.permission.policy(),
            self.permission.tally.clone(),
            Box::new(verdict),
        )
    }
}
