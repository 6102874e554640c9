//! What a tree knows when it decides about a load of one of its threads.

use std::path::Path;

use super::tree::Tree;
use crate::guest::remote::{Presence, Thread};
use crate::index::Choice;
use crate::pipeline::{Folder, Knowledge};

/// Where foreign programs expect libraries (filesystem hierarchy standard, and Debian's multiarch folders).
const LIBRARY_FOLDERS: [&str; 8] = [
    "/lib",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// A tree, seen from one of its threads.
pub(super) struct View<'t> {
    tree: &'t Tree,
    thread: Option<Thread>,
}

impl<'t> View<'t> {
    pub(super) fn new(tree: &'t Tree, thread: Option<Thread>) -> Self {
        Self { tree, thread }
    }
}

impl Knowledge for View<'_> {
    fn is_cache(&self, path: &Path) -> bool {
        self.tree.provisions.find(|loader| loader.cache_path.as_deref() == Some(path)).is_some()
    }

    fn folder(&self, folder: &Path) -> Folder {
        let usual = LIBRARY_FOLDERS.iter().any(|usual| folder == Path::new(usual));
        if self.tree.provisions.find(|loader| loader.folder() == folder).is_some() {
            Folder::Searched
        } else if !usual {
            Folder::Other
        } else if self.tree.is_searched(folder) {
            Folder::Searched
        } else {
            Folder::Usual
        }
    }

    fn is_served(&self, soname: &str) -> bool {
        self.tree.is_served(soname)
    }

    /// In the store it is our own view that counts, which is the one that can be mended: a thread with another store, or
    /// none, gets the kernel's own answer. Everywhere else it is the thread's root; where that cannot be seen the call is
    /// let through.
    fn presence(&self, path: &Path) -> Presence {
        if path.starts_with("/nix/store") {
            return self.tree.files.presence(path);
        }
        let root = self.thread.and_then(|thread| thread.root().ok());
        root.map_or(Presence::Complete, |root| root.presence(path))
    }

    fn at(&self, path: &Path) -> Option<Choice> {
        self.tree.index.at(path)
    }

    fn choose(&self, soname: &str) -> Option<Choice> {
        self.tree.provisions.choose(self.thread, soname)
    }
}
