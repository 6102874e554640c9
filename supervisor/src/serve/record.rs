//! What the next worker has to know of a tree: written down whenever it changes, and read by whoever takes the tree
//! over. What it can find out again is not in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::provision::Choices;

/// A tree, written down.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Record {
    /// The first program.
    pub(super) program: PathBuf,
    /// Where loaders are mapped, as an address.
    pub(super) base: u64,
    /// Where they lie.
    pub(super) loaders: Vec<PathBuf>,
    pub(super) special: Vec<Special>,
}

/// A program with seeds or choices of its own.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) program: PathBuf,
    pub(super) loader: PathBuf,
    /// The folders of its seeds, if these are its own.
    pub(super) seeds: Option<Vec<PathBuf>>,
    pub(super) choices: Choices,
}

impl Record {
    /// `None` where a path is no text: then the next worker does without.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
