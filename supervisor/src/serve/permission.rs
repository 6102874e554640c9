//! What the policy says of a load, wherever one is: planned, trapped, found in the store already, or the host's.
//!
//! The policy is looked up for each decision, so that a changed file counts from the next load on. Where there is none
//! nothing else is looked at.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nix::unistd::Uid;
use sonde_interp::handoff::Engine as Kind;
use sonde_policy::{Decision, Engine, Policy};

use super::askers::{Askers, Via, is_of_the_store};
use super::shared::Shared;
use super::tree::{Tree, Wanted};
use super::witness::{lock, process_of};
use crate::engine::choose::Attempts;
use crate::guest::remote::Thread;
use crate::index::Choice;
use crate::plan::permission::{Asker, Judge, Refusal};
use crate::rules::Rules;
use crate::store::{STORE, StoreError, StorePath, Tally};

/// A tree's policy, and who it is about.
pub(super) struct Permission {
    pub(super) rules: Rules,
    pub(super) askers: Askers,
    pub(super) tally: Tally,
    /// Refusals are only told.
    audit: bool,
    /// How rules begin that are not lifted by that: those of the machine's file, unless the administrator audits.
    ceiling: Option<String>,
    fault_told: AtomicBool,
    last: Mutex<Option<Arc<Policy>>>,
    /// By process, what was kept from libraries of allowed packages.
    dependencies: Mutex<HashSet<(u32, String)>>,
}

impl Permission {
    /// The files in force, and those that were named.
    pub(super) fn of(shared: &Shared) -> Self {
        let rules = Rules::load(&shared.settings, &shared.orders.policies);
        // The machine's file is the first that is asked, so it refuses nothing where another one is named.
        let machine = || rules.machine().map(|path| format!("{}:", path.display()));
        Self {
            audit: shared.orders.audit,
            ceiling: if Uid::effective().is_root() { None } else { machine() },
            askers: Askers::default(),
            tally: Tally::of(&shared.settings),
            fault_told: AtomicBool::new(false),
            last: Mutex::default(),
            dependencies: Mutex::default(),
            rules,
        }
    }

    /// The policy as it is now; none where everything is allowed.
    pub(super) fn policy(&self) -> Option<Arc<Policy>> {
        Some(self.rules.policy()).filter(|policy| !policy.is_allow_all())
    }

    fn is_forbidden_dependency(&self, thread: Option<Thread>, soname: &str) -> bool {
        lock(&self.dependencies).contains(&(thread.map_or(0, process_of), soname.to_owned()))
    }

    /// The engines that may be tried; the rule, if all that there are are forbidden. One of a policy that cannot be read is
    /// none: without an engine nobody could say so.
    pub(super) fn permitted(&self, mut attempts: Attempts) -> Result<Attempts, Arc<str>> {
        let Some(policy) = self.policy().filter(|policy| policy.fault().is_none() && !attempts.is_empty())
        else {
            return Ok(attempts);
        };
        let decide = |kind| {
            policy.decide_engine(match kind {
                Kind::Seccomp => Engine::Seccomp,
                Kind::Ptrace => Engine::Ptrace,
                // It is not among the attempts where there is a policy.
                Kind::Inline => return Decision::Provide,
            })
        };
        let refused =
            [Kind::Seccomp, Kind::Ptrace].into_iter().map(decide).find_map(|decision| match decision {
                Decision::Refuse { rule } => Some(rule),
                Decision::Provide => None,
            });
        attempts.retain(|kind| decide(kind) == Decision::Provide);
        match refused {
            Some(rule) if attempts.is_empty() => Err(rule),
            _ => Ok(attempts),
        }
    }

    /// Is it another policy than when this was last asked?
    fn has_changed(&self) -> bool {
        let now = self.rules.policy();
        let mut last = lock(&self.last);
        let changed = last.as_ref().is_some_and(|last| !Arc::ptr_eq(last, &now));
        *last = Some(now);
        changed
    }

    /// Is it the first time that somebody is to be told that the policy cannot be read?
    pub(super) fn tells_fault(&self) -> bool {
        !self.fault_told.swap(true, Ordering::Relaxed)
    }

    /// Is a refusal only told? Not where the policy cannot be read (nobody knows what it would refuse), nor where it is not
    /// this user's to lift.
    pub(super) fn only_tells(&self, refusal: &Refusal) -> bool {
        let is_ceiling = |start: &String| refusal.rule.starts_with(start.as_str());
        self.audit && !refusal.is_fault && !self.ceiling.as_ref().is_some_and(is_ceiling)
    }
}

impl Tree {
    /// What the policy has against a package for a soname. `via`: it is not the program that asks.
    pub(super) fn objection(
        &self,
        policy: &Policy,
        asker: &Asker,
        (soname, choice): (&str, &Choice),
        via: Option<&Via>,
    ) -> Option<Refusal> {
        let realised = self.realiser.is_valid(&choice.object) || self.index().is_there(&choice.object);
        let library = match via {
            Some(Via::Dependency(library)) => Some(library),
            _ => None,
        };
        let judge = Judge { policy, asker, index: self.index() };
        judge.objection((soname, choice), realised, library)
    }

    /// What the policy has against a load that a package is to answer.
    pub(super) fn objection_to(&self, load: &Wanted) -> Option<Refusal> {
        let policy = self.permission.policy()?;
        let asker = self.permission.askers.of(load.thread);
        // What is redirected was found nowhere, so no library brought it along.
        let via = self.via(&load.choice.file, load.thread).filter(|_| !load.redirect);
        if via == Some(Via::Own) {
            return None;
        }
        let refusal = self.objection(&policy, &asker, (&load.soname, &load.choice), via.as_ref());
        self.unless_audited(refusal, &load.soname, load.thread)
    }

    /// What the policy has against the host's own file of this name.
    pub(super) fn objection_to_host(&self, soname: &str, thread: Option<Thread>) -> Option<Refusal> {
        let policy = self.permission.policy()?;
        let asker = self.permission.askers.of(thread);
        let judge = Judge { policy: &policy, asker: &asker, index: self.index() };
        self.unless_audited(judge.objection_to_host(soname), soname, thread)
    }

    /// What the policy has against a file that is there already, so that nobody would have to provide it. What a program
    /// finds by its own means is its own business, and so is glibc.
    pub(super) fn objection_to_file(&self, path: &Path, thread: Option<Thread>) -> Option<Refusal> {
        let hosts = self.provisions.drivers.have(path);
        if !hosts && !path.starts_with(STORE) {
            return None;
        }
        let policy = self.permission.policy()?;
        let soname = path.file_name()?.to_str()?;
        if hosts {
            return path.exists().then(|| self.objection_to_host(soname, thread))?;
        }
        if self.is_glibcs(path, soname) {
            return None;
        }
        let via = self.via(path, thread);
        let choice = self.index().at(path).or_else(|| self.unindexed(path).filter(|_| via.is_some()))?;
        if self.files.open(path).is_err() {
            return None;
        }
        let refusal = if via == Some(Via::Own) {
            None
        } else {
            let asker = self.permission.askers.of(thread);
            let is_ours = || self.provisions.choose(thread, soname).is_some_and(|choice| choice.file == path);
            if via.is_none() && is_of_the_store(&asker) && !is_ours() {
                return None;
            }
            self.objection(&policy, &asker, (soname, &choice), via.as_ref())
        };
        let refusal = self.unless_audited(refusal, soname, thread);
        if refusal.is_none() {
            self.permission.askers.expect_from(path, via.as_ref(), &self.files);
        }
        refusal
    }

    /// A library is about to be provided: what it refers to is a dependency.
    pub(super) fn expect_dependencies_of(&self, library: &Path) {
        if self.permission.policy().is_some() {
            let via = self.permission.askers.via(library);
            self.permission.askers.expect_from(library, via.as_ref(), &self.files);
        }
    }

    /// The package that is to provide a soname to the program of a thread: the one that was chosen, or, where that is
    /// refused, the first by rank that is not.
    pub(super) fn choose_permitted(&self, thread: Option<Thread>, soname: &str) -> Option<Choice> {
        let chosen = self.provisions.choose(thread, soname)?;
        let Some(policy) = self.permission.policy() else { return Some(chosen) };
        let asker = self.permission.askers.of(thread);
        let permits = |choice: &Choice| {
            let refusal = self.objection(&policy, &asker, (soname, choice), None);
            refusal.is_none_or(|refusal| self.permission.only_tells(&refusal))
        };
        if permits(&chosen) {
            return Some(chosen);
        }
        // A package whose dependency is forbidden is not given another one's library in its place.
        let stands_in = !self.permission.is_forbidden_dependency(thread, soname);
        if stands_in { self.index().choose_where(soname, &permits) } else { None }
    }

    /// Why nobody provides a soname, if that is the policy's doing.
    pub(super) fn objection_to_all(&self, soname: &str, thread: Option<Thread>) -> Option<Refusal> {
        let policy = self.permission.policy()?;
        let chosen = self.provisions.choose(thread, soname).or_else(|| self.index().choose(soname))?;
        let asker = self.permission.askers.of(thread);
        let refusal = self.objection(&policy, &asker, (soname, &chosen), None);
        refusal.filter(|refusal| !self.permission.only_tells(refusal))
    }

    /// Is the package refused that the served cache has for this soname?
    pub(super) fn is_withheld(&self, soname: &str, thread: Option<Thread>) -> bool {
        let Some(policy) = self.permission.policy() else { return false };
        let Some(chosen) = self.provisions.choose(thread, soname) else { return false };
        let asker = self.permission.askers.of(thread);
        let refusal = self.objection(&policy, &asker, (soname, &chosen), None);
        refusal.is_some_and(|refusal| !self.permission.only_tells(&refusal))
    }

    /// Is this soname left to the host's driver folders?
    pub(super) fn is_left_to_the_host(&self, soname: &str, thread: Option<Thread>) -> bool {
        let Some(policy) = self.permission.policy() else { return false };
        let asker = self.permission.askers.of(thread);
        let judge = Judge { policy: &policy, asker: &asker, index: self.index() };
        judge.left_to_the_host(soname).is_some()
    }

    /// Builds a package that cannot be had, if that may be done.
    pub(super) fn build(&self, choice: &Choice) -> Result<Choice, StoreError> {
        match self.permission.rules.policy().decide_build() {
            Decision::Refuse { rule } => {
                Err(StoreError::Refused(format!("the policy forbids to build it: {rule}")))
            }
            Decision::Provide => self.fallback.build(choice, self.realiser.roots(), &self.files),
        }
    }

    /// Does a rule forbid something that is downloaded for the sake of something else?
    pub(super) fn unless_only_told(&self, what: &str, rule: Arc<str>) -> Result<(), Arc<str>> {
        let refusal = Refusal { rule, package: None, brought_by: None, is_fault: false };
        if self.permission.only_tells(&refusal) {
            self.witness.would_be_forbidden(what, None, &refusal);
            return Ok(());
        }
        Err(refusal.rule)
    }

    /// What a policy allows can be tried again where another one was in force when it failed.
    pub(super) fn forget_failures_of_another_policy(&self) {
        if self.permission.has_changed() {
            self.realiser.forget_failures();
        }
    }

    /// Tells of a library that is kept back.
    pub(super) fn forbid(&self, soname: &str, thread: Option<Thread>, since: Instant, refusal: &Refusal) {
        if refusal.brought_by.is_some() {
            lock(&self.permission.dependencies).insert((thread.map_or(0, process_of), soname.to_owned()));
        }
        let is_news = refusal.is_fault && self.permission.tells_fault();
        self.witness.forbidden(soname, thread, since, refusal, is_news);
    }

    /// Why a file of the store is opened, if that is known beforehand. A seed is the program's own by its user's choice.
    fn via(&self, path: &Path, thread: Option<Thread>) -> Option<Via> {
        if self.provisions.seeds(thread).iter().any(|(_, seed)| seed == path) {
            return Some(Via::Own);
        }
        self.permission.askers.via(path)
    }

    fn unless_audited(
        &self,
        refusal: Option<Refusal>,
        soname: &str,
        thread: Option<Thread>,
    ) -> Option<Refusal> {
        let refusal = refusal?;
        if self.permission.only_tells(&refusal) {
            self.witness.would_be_forbidden(soname, thread, &refusal);
            return None;
        }
        Some(refusal)
    }

    /// Nothing runs without glibc, so nobody is asked about it, or about its modules.
    fn is_glibcs(&self, path: &Path, soname: &str) -> bool {
        let object = StorePath::of_file(path);
        self.index().is_glibc(soname)
            || self
                .provisions
                .find(|loader| object.is_some() && StorePath::of_file(&loader.path) == object)
                .is_some()
    }

    /// A file of the store that no index knows.
    fn unindexed(&self, path: &Path) -> Option<Choice> {
        let object = StorePath::of_file(path)?;
        let package = self.index().package_of(&object).unwrap_or_default();
        Some(Choice {
            object,
            file: path.to_owned(),
            attribute: package.attribute.to_owned(),
            output: package.output.to_owned(),
        })
    }
}
