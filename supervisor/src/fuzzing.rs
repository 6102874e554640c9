//! The door for `fuzz/`: readers that nobody else outside needs, each with what it promises. A function panics where a
//! promise does not hold, and returns whether it understood what it was given.

use sonde_interp::plan::Plan;

use crate::plan::draft::{Body, Draft};
pub use crate::store::fuzzing::{nar, narinfo};

/// A plan file: what was understood is understood the same when it is written again. Which Sonde made it does not count,
/// so that seeds outlive releases.
pub fn plan(bytes: &[u8]) -> bool {
    let Some(draft) = draft_of(bytes) else { return false };
    let _ = (draft.body.build_id(), draft.body.provided().count(), draft.body.closure());
    // A path in JSON may have a NUL, which none in the head can.
    if let Some(written) = draft.to_bytes() {
        assert_eq!(draft_of(&written), Some(draft));
    }
    true
}

fn draft_of(bytes: &[u8]) -> Option<Draft> {
    let plan = Plan::read(bytes)?;
    Draft::with(&plan, Body::parse(plan.body())?)
}
