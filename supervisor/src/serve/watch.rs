//! Who watches a tree that runs already (`sonde trace --pid`): which trees there are, and which of them a process is of.
//!
//! Only a tree's own user gets as far as this, by the door. The tree's programs are not asked, and do not notice.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use sonde_interp::handoff::{Answer, FORM, Refusal, Watch};
use tracing::info;

use super::door::shares_numbers;
use super::hello::{Greeting, HelloError, say};
use super::shared::Shared;
use super::tree::Tree;
use crate::guest::remote::{Address, Thread};
use crate::report::errors;
use crate::report::watcher::Watcher;

/// More ancestors than this are not asked about.
const GENERATIONS: usize = 64;

/// The trees that are served now.
#[derive(Default)]
pub(super) struct Roster(Mutex<Vec<One>>);

struct One {
    tree: Weak<Tree>,
    /// The process that is all of it.
    only: Option<Thread>,
}

impl Roster {
    /// A tree begins. `only`: the process, where a tree is one.
    pub(super) fn add(&self, tree: &Arc<Tree>, only: Option<Thread>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.tree.strong_count() > 0);
        all.push(One { tree: Arc::downgrade(tree), only });
    }

    /// The tree that a process is of.
    fn of(&self, process: Thread) -> Option<Arc<Tree>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alone = all.iter().find(|one| one.only == Some(process)).and_then(|one| one.tree.upgrade());
        let several: Vec<_> =
            all.iter().filter(|one| one.only.is_none()).map(|one| one.tree.clone()).collect();
        drop(all);
        alone.or_else(|| several.iter().filter_map(Weak::upgrade).find(|tree| is_member(tree, process)))
    }
}

/// Has the process, or one that it descends from, a loader where this tree has them? Nobody else has, as the place is
/// drawn. What was built by Nix and started in a tree has its own elsewhere, as has what is static.
fn is_member(tree: &Tree, process: Thread) -> bool {
    let parent = |one: &Thread| Thread::new(one.parent().ok()?);
    let mut line = std::iter::successors(Some(process), parent).take(GENERATIONS);
    line.any(|one| one.mapping_at(Address(tree.range.start)).is_some())
}

/// Lets somebody watch the tree of a process.
pub(super) fn meet(shared: &Shared, greeting: Greeting<'_>, watch: Watch) -> Result<(), HelloError> {
    let Greeting { socket, thread, .. } = greeting;
    let refuse = |message: &str| {
        say(&socket, Answer::Refusal(Refusal { exit_code: 1, message: message.as_bytes() }), &[])
    };
    // Where numbers mean other processes, this one is none of ours.
    let process = Thread::new(watch.process).filter(|_| shares_numbers(thread));
    let found = process.and_then(|process| Some((shared.trees.of(process)?, process)));
    let Some((tree, process)) = found else { return say(&socket, Answer::Absent, &[]) };
    if watch.form != FORM {
        return refuse(errors::OTHER_FORM);
    }
    if !tree.witness.may_attend() {
        return refuse(&errors::is_watched(watch.process));
    }
    // The events follow, and nothing else.
    say(&socket, Answer::Proceed, &[])?;
    let _tree = tree.span.enter();
    match tree.witness.attend(Watcher::new(socket), process) {
        Ok(()) => info!(by = thread.id(), "watched"),
        Err(_) => info!(by = thread.id(), "somebody else was faster"),
    }
    Ok(())
}
