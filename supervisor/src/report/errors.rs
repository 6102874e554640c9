//! Every sentence about a library that a user of a foreign program can meet.
//!
//! Each names the soname, who needs it, the cause, and what can be done.

use std::path::Path;

use crate::index::Choice;
use crate::store::StoreError;

/// No package has the library.
pub(crate) fn absent(soname: &str, needed_by: &Path) -> String {
    format!(
        "sonde: {soname}, needed by {}, is in no package of the index; put it in a folder that LD_LIBRARY_PATH names, or import \
         another index",
        needed_by.display()
    )
}

/// There is no index to look the library up in.
pub(crate) fn no_index(soname: &str, needed_by: &Path) -> String {
    format!(
        "sonde: {soname}, needed by {}, is not at hand, and there is no index to find it in; fetch one with `sonde index \
         update`",
        needed_by.display()
    )
}

/// No package may provide it.
pub(crate) fn excluded(soname: &str, needed_by: &Path, reason: &str) -> String {
    format!("sonde: {soname}, needed by {}, is not provided by packages: {reason}", needed_by.display())
}

/// Packages have it, and none with the versions that are needed.
pub(crate) fn unfit(soname: &str, needed_by: &Path, lacking: &[String]) -> String {
    format!(
        "sonde: {soname}, needed by {}, is in packages of the index, and in none with {}; `sonde find {soname}` lists them",
        needed_by.display(),
        lacking.join(", ")
    )
}

/// A package has it and cannot be had.
pub(crate) fn unavailable(soname: &str, needed_by: &Path, choice: &Choice, error: &StoreError) -> String {
    format!(
        "sonde: {soname}, needed by {}, is in {} ({}.{}), which cannot be had: {error}",
        needed_by.display(),
        choice.object,
        choice.attribute,
        choice.output
    )
}

/// The policy forbids it.
pub(crate) fn forbidden(soname: &str, needed_by: &Path, package: Option<&str>, rule: &str) -> String {
    let place = package.unwrap_or("the host's driver folder");
    format!(
        "sonde: {soname}, needed by {}, is in {place}, which the policy forbids: {rule}",
        needed_by.display()
    )
}

/// The policy would forbid it, if it were not only to be told.
pub(crate) fn would_be_forbidden(soname: &str, package: Option<&str>, rule: &str) -> String {
    let place = package.unwrap_or("the host's driver folder");
    format!("sonde: audit: {soname} of {place} would be forbidden by {rule}")
}

/// The policy cannot be read, so that it forbids everything.
pub(crate) fn faulty(fault: &str) -> String {
    format!("sonde: {fault}")
}
