//! One library that the loader asked for, and what became of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A finished load.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// The process that asked.
    pub(crate) process: u32,
    pub(crate) soname: String,
    /// The file that is linked against it; none for `dlopen`.
    pub(crate) needed_by: Option<PathBuf>,
    /// Attribute and output of the package, such as `zlib.out`.
    pub(crate) package: Option<String>,
    /// The file that was opened; none if there was none.
    pub(crate) path: Option<PathBuf>,
    pub(crate) how: How,
    /// From trap to answer.
    pub(crate) took: Duration,
}

/// How a library was found, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// In a `RUNPATH` of the library that needs it.
    Runpath,
    /// Through the served cache.
    ServedCache,
    /// Through the served cache, and it had to be realised first.
    Realised,
    /// Asked for by a path that does not exist, or in the loader's last folder; returned from a package.
    Redirected,
    /// No package has it.
    Absent,
    /// A package has it and cannot be had.
    Failed(String),
    /// The policy forbids it; the rule.
    Forbidden(String),
}

/// Where loads are reported to; nowhere, for a program that nobody watches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reporter(Option<Arc<Mutex<Kept>>>);

/// What was reported.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) loads: Vec<Load>,
    /// The engine, and why it is that one; none if the program runs unsupervised.
    pub(crate) engine: Option<String>,
}

impl Reporter {
    /// A reporter that keeps what it is told.
    pub(crate) fn keeping() -> Self {
        Self(Some(Arc::default()))
    }

    /// Is anybody listening? What only a report needs is not worked out otherwise.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Takes note of a load.
    pub(crate) fn report(&self, load: Load) {
        self.keep(|kept| kept.loads.push(load));
    }

    /// Takes note of the engine.
    pub(crate) fn engine(&self, words: &str) {
        self.keep(|kept| kept.engine = Some(words.to_owned()));
    }

    fn keep(&self, note: impl FnOnce(&mut Kept)) {
        if let Some(kept) = &self.0 {
            note(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Everything noted so far.
    pub(crate) fn take(&self) -> Kept {
        let mut all = Kept::default();
        self.keep(|kept| all = std::mem::take(kept));
        all
    }
}
