//! What the store says of plans before anything is realised: how much would be downloaded, what cannot be had, and what
//! the policy has against what comes along.

use std::sync::Arc;

use super::gate::PolicyGate;
use super::preview::{Previewer, Subject};
use crate::report::plan::{Origin, Planned, ToFetch};
use crate::store::{Gate, GateError, Sizes, Store, StoreError, StorePath, Tally};

/// Asks about everything that is to be fetched, in one request, and takes from the plans what cannot be had.
pub(crate) fn foresee(
    store: &dyn Store,
    with: &Previewer<'_>,
    subjects: &[Subject],
    plans: &mut [Planned],
) -> ToFetch {
    let (asked, sizes) = withhold_unavailable(store, plans);
    for (subject, planned) in subjects.iter().zip(&mut *plans) {
        withhold_forbidden(store, with, subject, planned);
    }
    let objects = to_be_fetched(plans);
    if objects.is_empty() {
        return ToFetch::of(0, Some(Sizes::default()));
    }
    let sizes = match objects == asked {
        true => sizes,
        false => store.forecast(&objects).ok().and_then(|forecast| forecast.sizes),
    };
    ToFetch::of(objects.len(), sizes)
}

/// Returns what is left, and how much that is.
fn withhold_unavailable(store: &dyn Store, plans: &mut [Planned]) -> (Vec<StorePath>, Option<Sizes>) {
    let objects = to_be_fetched(plans);
    if objects.is_empty() {
        return (objects, None);
    }
    let (unavailable, sizes) = match store.forecast(&objects) {
        Ok(forecast) => (forecast.unavailable, forecast.sizes),
        Err(error) => (objects.into_iter().map(|object| (object, error.clone())).collect(), None),
    };
    for (object, error) in &unavailable {
        plans.iter_mut().for_each(|planned| withhold(planned, object, error));
    }
    (to_be_fetched(plans), sizes)
}

/// Takes away a package that is not to be had.
pub(super) fn withhold(planned: &mut Planned, object: &StorePath, error: &StoreError) {
    let (origin, reason) = refused(object, error);
    planned.withhold(object, origin, reason.as_deref().unwrap_or_default());
}

/// What a library is called whose package is not to be had, and why it is not.
pub(super) fn refused(object: &StorePath, error: &StoreError) -> (Origin, Option<String>) {
    let origin = if matches!(error, StoreError::Gate(_)) { Origin::Forbidden } else { Origin::Unavailable };
    let reason = error.to_string();
    let told = reason.contains(object.as_str());
    (origin, Some(if told { reason } else { format!("{object} cannot be had: {reason}") }))
}

/// What the gate of a start would say, of each package by itself and of all together.
fn withhold_forbidden(store: &dyn Store, with: &Previewer<'_>, subject: &Subject, planned: &mut Planned) {
    let Some(policy) = &with.policy else { return };
    // Nothing runs without a loader, so nobody is asked about it, unless nothing may be downloaded at all.
    let loader = with.loader(subject).map(|loader| loader.object);
    if let Some(offline) = policy.limits(&subject.asker.program()).offline.filter(|offline| offline.value)
        && let Some(path) = loader.clone()
    {
        let error = GateError::Path { path: path.clone(), rule: offline.rule };
        withhold(planned, &path, &error.into());
    }
    let gate = gate(with, subject, with.tally.clone().looked_at());
    let mut objects = planned.to_be_fetched();
    objects.retain(|object| Some(object) != loader.as_ref());
    if gate.is_open() || objects.is_empty() {
        return;
    }
    for object in &objects {
        let Ok(forecast) = store.forecast(std::slice::from_ref(object)) else { continue };
        let along = forecast.fetched.iter().filter(|path| !objects.contains(path));
        let refused = along.filter_map(|path| Some((path, gate.permit(path).err()?))).next();
        if let Some((path, rule)) = refused {
            let error = GateError::Path { path: path.clone(), rule };
            withhold(planned, object, &error.into());
        }
    }
    objects.retain(|object| planned.to_be_fetched().contains(object));
    if objects.is_empty() || !gate.limits_downloads() {
        return;
    }
    let sizes = store.forecast(&objects).ok().and_then(|forecast| forecast.sizes);
    let refused = match sizes.map(|sizes| sizes.download) {
        Some(bytes) => gate.permit_download(bytes).err().map(|rule| GateError::Download { bytes, rule }),
        None => Some(GateError::Unknown),
    };
    if let Some(error) = refused {
        objects.iter().for_each(|object| withhold(planned, object, &error.clone().into()));
    }
}

/// What may be downloaded for a program: no refusal is only told.
pub(super) fn gate<'g>(with: &'g Previewer<'_>, subject: &Subject, tally: Tally) -> PolicyGate<'g> {
    let verdict = |_: &str, rule: Arc<str>| Err(rule);
    PolicyGate::new(with.index, subject.asker.clone(), with.policy.clone(), tally, Box::new(verdict))
}

/// The packages that have to be realised for any of them, each once.
pub(super) fn to_be_fetched(plans: &[Planned]) -> Vec<StorePath> {
    let mut all: Vec<StorePath> = Vec::new();
    for object in plans.iter().flat_map(Planned::to_be_fetched) {
        if !all.contains(&object) {
            all.push(object);
        }
    }
    all
}
