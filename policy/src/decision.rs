//! The answer, and how it came about.

use std::fmt;
use std::sync::Arc;

/// What is to be done about one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may be provided.
    Provide,
    /// It may not: for the program it is simply not there.
    Refuse {
        /// The rule that decided, as `file:line: text`.
        rule: Arc<str>,
    },
}

/// A decision with every rule that took part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What [`crate::Policy::decide`] says.
    pub decision: Decision,
    /// What decided, as `file:line: text`; of several files that allow it, the last. Nothing without a policy.
    pub by: Option<Arc<str>>,
    /// What each file says, in the order of the files.
    pub parts: Vec<Part>,
}

/// A rule that took part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The rule, as `file:line: text`.
    pub rule: Arc<str>,
    /// What it says about this library.
    pub says: Says,
    /// Where it stands.
    pub place: Place,
    /// What became of it.
    pub weight: Weight,
}

/// What a rule says about one library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Provide it.
    Allow,
    /// Do not.
    Deny,
}

/// Where a rule stands; what is greater is more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// It holds for all programs.
    General,
    /// In a section for programs whose paths have some shape.
    Glob,
    /// In a section for one path.
    Path,
    /// In a section for a build id.
    BuildId,
}

/// What became of a rule that matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is what its file's answer rests on.
    Decides,
    /// It says the same as what decides.
    Agrees,
    /// A deny of the same place, or a more specific place, says otherwise.
    Overruled,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Says::Allow { "allow" } else { "deny" })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::General => "general",
            Place::Glob => "section by glob",
            Place::Path => "section by path",
            Place::BuildId => "section by build id",
        })
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weight::Decides => "decides",
            Weight::Agrees => "agrees",
            Weight::Overruled => "overruled",
        })
    }
}
