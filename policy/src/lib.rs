//! May this library be provided to this program?
//!
//! The supervisor asks before every library that it provides, wherever that happens. A policy is plain data and
//! a decision a total function of policy and request: nothing in here reads a file or knows a process.
//!
//! So far there is one policy, [`Policy::allow_all`]; the question is asked at the right places already.
#![forbid(unsafe_code)]

mod decision;
mod request;

pub use decision::Decision;
pub use request::{Package, Request, Source};

/// The rules in force.
#[derive(Debug, Clone, Default)]
pub struct Policy {}

impl Policy {
    /// The policy of a machine that has none: everything may be provided to everybody.
    #[must_use]
    pub fn allow_all() -> Self {
        Self {}
    }

    /// Decides about one library for one program.
    #[must_use]
    pub fn decide(&self, _request: &Request<'_>) -> Decision {
        Decision::Provide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_rules_everything_is_provided() {
        let request = Request {
            program: b"/opt/app/app",
            soname: b"libz.so.1",
            package: Package { attribute: "zlib", output: "out", store_path: "/nix/store/x-zlib" },
            source: Source::Needed,
        };
        assert_eq!(Policy::allow_all().decide(&request), Decision::Provide);
    }
}
