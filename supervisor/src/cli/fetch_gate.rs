//! The policy about what is fetched by hand. It is for no program's sake, so what counts is what counts for a program
//! without a section of its own; and nobody asks for a library, so rules about sonames say nothing.

use std::sync::Arc;

use sonde_policy::{Circumstances, Decision, Limits, Package, Policy, Program, Request, Source};

use super::policy::SOME_PROGRAM;
use crate::index::Index;
use crate::settings::Settings;
use crate::store::{self, Gate, GateError, Quota, StorePath, Tally};

/// Judges one `sonde store fetch`.
pub(super) struct FetchGate<'p> {
    policy: &'p Policy,
    /// None where no rule needs it, or there is none; attributes and indexes are not known then.
    index: Option<Index>,
    quota: Quota,
}

impl<'p> FetchGate<'p> {
    pub(super) fn new(settings: &Settings, policy: &'p Policy) -> Self {
        let open = || Index::open(settings, Arc::new(store::files(settings).ok()?)).ok();
        let index = if policy.extent().rules > 0 { open() } else { None };
        Self { policy, index, quota: Quota::new(Tally::of(settings)) }
    }

    /// May this path be fetched, because it was named? `realised`: it is there already.
    pub(super) fn permit_asked(&self, path: &StorePath, realised: bool) -> Result<(), GateError> {
        let decide = |request: &Request<'_>, circumstances: &Circumstances<'_>| {
            self.policy.decide_with(request, &Circumstances { realised, ..*circumstances })
        };
        self.decide(path, decide).map_err(|rule| GateError::Asked { path: path.clone(), rule })
    }

    fn decide(
        &self,
        path: &StorePath,
        decide: impl Fn(&Request<'_>, &Circumstances<'_>) -> Decision,
    ) -> Result<(), Arc<str>> {
        let package = self.index.as_ref().map(|index| index.package_of(path).unwrap_or_default());
        let name = package.unwrap_or_default();
        let request = Request {
            program: SOME_PROGRAM,
            soname: b"",
            package: Package { attribute: name.attribute, output: name.output, store_path: path.as_str() },
            source: Source::Needed,
        };
        let index = package.map(|package| package.database);
        match decide(&request, &Circumstances { build_id: Some(&[]), index, realised: false }) {
            Decision::Provide => Ok(()),
            Decision::Refuse { rule } => Err(rule),
        }
    }

    fn limits(&self) -> Limits {
        self.policy.limits(&Program { path: SOME_PROGRAM, build_id: Some(&[]) })
    }
}

impl Gate for FetchGate<'_> {
    fn is_open(&self) -> bool {
        self.policy.is_allow_all()
    }

    fn permit(&self, path: &StorePath) -> Result<(), Arc<str>> {
        self.decide(path, |request, circumstances| self.policy.decide_dependency(request, circumstances))
    }

    fn permit_download(&self, bytes: u64) -> Result<(), Arc<str>> {
        self.quota.take(bytes, &self.limits(), Err)
    }

    fn limits_downloads(&self) -> bool {
        let limits = self.limits();
        limits.download_per_start.is_some() || limits.download_total.is_some()
    }
}
