//! The answer.

/// What is to be done about one library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may be provided.
    Provide,
    /// It may not: for the program it is simply not there.
    Refuse {
        /// The rule that decided, as `file:line: text`.
        rule: String,
    },
}
