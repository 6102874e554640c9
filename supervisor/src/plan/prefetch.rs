//! A plan that is realised ahead of the program's first start: the same choice, the same policy and the same roots.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use sonde_resolve::choose::Candidate;

use super::closure::Closure;
use super::foresight::{gate, refused, to_be_fetched, withhold};
use super::preview::{Previewer, Subject};
use super::supply::{Errand, StartSupply};
use crate::index::Choice;
use crate::index::fitting::Supply;
use crate::report::plan::{Library, Origin, Planned};
use crate::store::{OpenGate, Progress, Realiser, Store, StoreError, StorePath};

/// Libraries of packages that find what they need by no means of their own lead to further packages; nobody has seen a
/// chain as long.
const MOST_ROUNDS: usize = 8;

/// A program whose libraries have been realised: everything that a plan consists of.
pub(crate) struct Prepared {
    pub(crate) subject: Subject,
    /// Nothing for what runs under a loader of its own, or is no program.
    pub(crate) loader: Option<Choice>,
    pub(crate) closure: Closure,
    /// What it would be given now; what could not be had is missing in it.
    pub(crate) planned: Planned,
}

/// Packages that were got for several files in one request, and their roots until each file has its own.
pub(crate) struct Together(Option<PathBuf>);

impl Together {
    /// Gets everything that the files are known to need. Where there is a policy it may say something else of each, so
    /// each has requests of its own then, as it has for what could not be had here.
    pub(crate) fn fetch(
        subjects: &[Subject],
        with: &Previewer<'_>,
        store: &Arc<dyn Store>,
        roots: PathBuf,
        progress: &dyn Progress,
    ) -> Self {
        if subjects.len() < 2 || with.policy.is_some() {
            return Self(None);
        }
        let plan = |subject| with.plan(subject, &with.closure(subject));
        let plans: Vec<Planned> = subjects.iter().map(plan).collect();
        let objects = to_be_fetched(&plans);
        Realiser::<()>::new(store.clone(), roots.clone()).run_all(&objects, progress, &OpenGate);
        Self(Some(roots))
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        // What stays is cleared by the next one; it only keeps more than it must.
        let _ = self.0.take().map(fs::remove_dir_all);
    }
}

/// Realises what a file needs, with its roots in the folder `roots`.
pub(crate) fn prepare(
    subject: Subject,
    with: &Previewer<'_>,
    store: &Arc<dyn Store>,
    roots: PathBuf,
    progress: &dyn Progress,
) -> Prepared {
    let loader = with.loader(&subject);
    let realiser = Realiser::<()>::new(store.clone(), roots);
    let errand = Errand {
        index: with.index,
        realiser: &realiser,
        asker: subject.asker.clone(),
        policy: with.policy.clone(),
        lenient: Box::new(|_| false),
        gate: gate(with, &subject, with.tally.clone()),
        progress,
    };
    let first = loader.iter().map(|loader| loader.object.clone()).collect();
    let mut supply = StartSupply::new(errand, first);
    let closure = with.resolve(&subject, &mut supply);
    supply.supply(&[]);
    let mut planned = with.plan(&subject, &closure);
    for _ in 0..MOST_ROUNDS {
        supply.supply(&with.chosen(&planned));
        let before = planned.libraries.len();
        planned = with.plan(&subject, &closure);
        if planned.libraries.len() == before {
            break;
        }
    }
    for (object, error) in supply.finish() {
        with.blame(&mut planned, &object, &error);
        withhold(&mut planned, &object, &error);
    }
    Prepared { subject, loader, closure, planned }
}

impl Previewer<'_> {
    /// Where a package could not be had, and those that could would not do, it is the first that is missing.
    fn blame(&self, planned: &mut Planned, object: &StorePath, error: &StoreError) {
        for library in planned.libraries.iter_mut().filter(|library| library.origin == Origin::Unfit) {
            let candidates = self.index.candidates(&library.soname);
            let of = |candidate: &Candidate<'_>| candidate.provider.package.store_path() == object.as_str();
            if candidates.iter().any(of) {
                (library.origin, library.reason) = refused(object, error);
            }
        }
    }

    /// What the index chose, and no library of a package keeps by referring to it.
    fn chosen<'p>(&self, planned: &'p Planned) -> Vec<(&'p str, Choice)> {
        let chosen = planned.libraries.iter().filter(|one| one.chosen && one.origin == Origin::Store);
        let choice = |library: &Library| self.index.at(library.path.as_ref()?.as_ref());
        chosen.filter_map(|library| Some((library.soname.as_str(), choice(library)?))).collect()
    }
}
