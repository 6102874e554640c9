//! Processes of a tree that no shim has started: children that were built by Nix, whose loader the kernel has put
//! anywhere. Under a wide filter all that looks like a loader's open arrives; here it is told whether it was one.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::guest::remote::{Address, Thread};

/// More threads are not remembered: then they are looked at again.
const MOST: usize = 4096;

/// What was found out about threads.
#[derive(Default)]
pub(super) struct Strangers {
    known: Mutex<HashMap<Thread, Known>>,
}

/// A thread's loader, and instructions that are none of it.
#[derive(Default)]
struct Known {
    loader: Option<Range<u64>>,
    others: HashSet<u64>,
}

/// Who has made a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The loader.
    Loader,
    /// The loader, which is seen for the first time in this thread; where it lies.
    NewLoader(PathBuf),
    /// Anything else.
    Other,
}

impl Strangers {
    /// Who has made the call at this instruction? A thread that executes another program has all of it somewhere else, so
    /// that what was remembered is not met again but by a chance of one in millions.
    pub(super) fn caller(&self, thread: Thread, instruction: Address) -> Caller {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        let one = known.entry(thread).or_default();
        if one.others.contains(&instruction.0) {
            return Caller::Other;
        }
        if one.loader.as_ref().is_some_and(|loader| loader.contains(&instruction.0)) {
            return Caller::Loader;
        }
        match thread.loader_at(instruction) {
            Some((range, path)) => {
                *one = Known { loader: Some(range), others: HashSet::new() };
                Caller::NewLoader(path)
            }
            None => {
                one.others.insert(instruction.0);
                Caller::Other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_loader_is_told_from_our_own_code() {
        let this = Thread::new(std::process::id()).unwrap();
        let strangers = Strangers::default();
        let here = our_own_loader_is_told_from_our_own_code as fn() as usize as u64;
        assert_eq!(strangers.caller(this, Address(here)), Caller::Other);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains(" r-xp ") && line.contains("/ld-")).unwrap();
        let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        let path = line.split_whitespace().last().unwrap();
        assert_eq!(strangers.caller(this, Address(start + 1)), Caller::NewLoader(path.into()));
        assert_eq!(strangers.caller(this, Address(start + 2)), Caller::Loader);
    }
}
