//! What a tree knows when it decides about a load of one of its threads.

use std::path::{Path, PathBuf};

use super::tree::Tree;
use crate::guest::notification::Notification;
use crate::guest::remote::{Presence, Thread};
use crate::index::Choice;
use crate::pipeline::{Folder, Knowledge};
use crate::plan::{drivers, folders};

/// A tree, seen from one of its threads.
pub(super) struct View<'t> {
    tree: &'t Tree,
    thread: Option<Thread>,
    notification: &'t Notification,
}

impl<'t> View<'t> {
    pub(super) fn new(tree: &'t Tree, notification: &'t Notification) -> Self {
        Self { tree, thread: notification.thread(), notification }
    }
}

impl Knowledge for View<'_> {
    fn is_cache(&self, path: &Path) -> bool {
        self.tree.provisions.find(|loader| loader.cache_path.as_deref() == Some(path)).is_some()
    }

    fn folder(&self, folder: &Path) -> Folder {
        if self.tree.provisions.find(|loader| loader.folder() == folder).is_some() {
            Folder::Searched
        } else if !folders::is_usual(folder) {
            Folder::Other
        } else if self.tree.is_searched(folder) {
            Folder::Searched
        } else {
            Folder::Usual
        }
    }

    /// glibc puts the paths of a search together on its stack, and has a copy on the heap of one that it was given whole
    /// (`open_path` and `_dl_map_object`, elf/dl-load.c). Where that cannot be seen, a folder that was searched before
    /// is searched again.
    fn is_search(&self, folder: &Path) -> bool {
        self.notification.has_path_on_stack().unwrap_or_else(|_| {
            self.tree.is_searched(folder)
                || self.tree.provisions.find(|loader| loader.folder() == folder).is_some()
        })
    }

    fn seed(&self, soname: &str) -> Option<PathBuf> {
        self.tree.provisions.seeds(self.thread).get(soname).map(Path::to_owned)
    }

    fn is_served(&self, soname: &str) -> bool {
        self.tree.is_served(soname) && !self.tree.is_withheld(soname, self.thread)
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
        if self.tree.plans.settles(path) {
            return None;
        }
        self.tree.index().at(path)
    }

    fn choose(&self, soname: &str) -> Option<Choice> {
        self.tree.choose_permitted(self.thread, soname)
    }

    fn choose_by_path(&self, paths: &[String]) -> Option<Choice> {
        self.tree.index().choose_by_path(paths)
    }

    fn is_served_by_the_host(&self, soname: &str) -> bool {
        drivers::answer_for(self.tree.index(), soname)
    }

    fn driver(&self, paths: &[String]) -> Option<PathBuf> {
        match paths {
            [name]
                if !name.contains('/')
                    && !drivers::answer_for(self.tree.index(), name)
                    && !self.tree.is_left_to_the_host(name, self.thread) =>
            {
                None
            }
            _ => self.tree.provisions.drivers.find(paths),
        }
    }
}
