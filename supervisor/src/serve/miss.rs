//! A question of a process under the engine inline: its loader could not open something.
//!
//! It goes to the engine of the process. One that has none here becomes a tree now: it was forked, or started without a
//! supervisor, or by one that is gone. Who it is, the kernel says; of the question only path and addresses are believed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use sonde_interp::handoff::{Answer, Miss, Wish};
use tracing::debug;

use super::Founded;
use super::admission::{Guest, admit, provide_loader};
use super::hello::{Greeting, HelloError, found_tree, say};
use super::lobby::turn_away;
use super::shared::Shared;
use crate::engine::InlineEngine;
use crate::engine::inline::question;
use crate::guest::remote::Address;
use crate::store::NoProgress;

/// Passes a question on; returns the tree that was made for it, if it had none.
pub(super) fn meet(
    shared: &Shared,
    greeting: Greeting<'_>,
    miss: Miss<'_>,
) -> Result<Option<Founded>, HelloError> {
    let Greeting { socket, thread, reporter, by_door, .. } = greeting;
    let knows = shared.callers.knows(thread);
    if by_door && !knows && !shared.is_neighbour(thread, &thread.environment().unwrap_or_default()) {
        say(&socket, Answer::Private, &[])?;
        return Err(HelloError::Stranger);
    }
    let Some(counted) = shared.callers.count(thread, shared.limits.traps) else {
        drop(turn_away(socket));
        return Err(HelloError::TooMany);
    };
    let path = PathBuf::from(OsStr::from_bytes(miss.path));
    let instruction = Address(miss.instruction);
    let question = question(socket, thread, path, miss.on_stack, instruction, counted);
    // On any error from here on the question is dropped, which lets the open through.
    let Err(question) = shared.callers.pass(question) else { return Ok(None) };
    let guest = Guest::executed_by(thread, Wish::Unsaid)?;
    let tree = found_tree(shared, &guest, reporter)?;
    if let Some((_, loader)) = thread.mapping_at(instruction) {
        let met = provide_loader(&tree, &loader, || tree.files.open(&loader));
        if let Err(error) = met {
            debug!(%error, "a loader cannot be read");
        }
    }
    admit(&tree, &guest, &NoProgress, false)?;
    let engine = InlineEngine::new(&shared.callers, thread, Some(question))?;
    Ok(Some((tree, Box::new(engine))))
}
