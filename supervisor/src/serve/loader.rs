//! The loader for a foreign program: the newest of the index's and the one that is at hand.
//!
//! A process has one glibc. Whatever comes from the index was built against the index's, which an older one would not do
//! for; libraries that were built against an older glibc run with a newer one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::debug;

use super::admission::provide_loader;
use super::hello::HelloError;
use super::provision::Provision;
use super::tree::Tree;
use crate::guest::remote::GuestRoot;
use crate::index::{Choice, IndexError};
use crate::plan::loader::{Loader, LoaderError, version_of_package};
use crate::store::{StoreError, StorePath};

/// The C library's name, in every glibc.
const C_LIBRARY: &str = "libc.so.6";

/// A loader that a program is told of by others than the index.
enum AtHand {
    /// The tree has it already.
    Met(Arc<Provision>),
    New(Loader),
}

/// The loaders that a foreign program could run under.
pub(super) struct ForeignLoader {
    /// The one that `NIX_LD` or the configuration names, if it is there.
    at_hand: Option<AtHand>,
    /// The index's, if it is newer, or the only one.
    of_index: Option<Choice>,
}

impl AtHand {
    fn find(tree: &Tree, path: &Path, root: &GuestRoot) -> Result<Self, LoaderError> {
        let read = |source| LoaderError::Read { path: path.to_owned(), source };
        let file = root.open(path).map_err(read)?;
        // Where it really lies: a link's folder is not where the rest of glibc is.
        let path = root.real_path(path).map_err(read)?;
        // Members of glibc come from its folder: one that lies alone starts nothing.
        if !root.contains(&path.with_file_name(C_LIBRARY)) {
            return Err(LoaderError::Elf { path, reason: "has no libc.so.6 beside it" });
        }
        match tree.provisions.find(|loader| loader.path == path) {
            Some(met) => Ok(Self::Met(met)),
            None => Loader::new(&path, file).map(Self::New),
        }
    }

    fn version(&self) -> Option<(u32, u32)> {
        match self {
            Self::Met(provision) => provision.loader.version,
            Self::New(loader) => loader.version,
        }
    }

    fn provide(self, tree: &Tree) -> Arc<Provision> {
        match self {
            Self::Met(provision) => provision,
            Self::New(loader) => tree.provisions.add(loader),
        }
    }
}

impl ForeignLoader {
    /// For a program with this environment and root.
    pub(super) fn of(tree: &Tree, environment: &[u8], root: &GuestRoot) -> Result<Self, HelloError> {
        let usable = |path: PathBuf| {
            let found = AtHand::find(tree, &path, root);
            found.inspect_err(|error| debug!(%error, "no loader at hand")).ok()
        };
        let at_hand = tree.libraries.loaders(environment).into_iter().find_map(usable);
        let is_newer = |choice: &Choice| {
            let own = at_hand.as_ref().and_then(AtHand::version);
            own.is_none_or(|own| version_of_package(choice.object.name()).is_none_or(|other| other > own))
        };
        let of_index = tree.index().loader().filter(is_newer);
        match (&at_hand, &of_index) {
            (None, None) if tree.index().is_empty() => {
                let folder = tree.index().folder().to_owned();
                Err(HelloError::Index(IndexError::None(folder).into()))
            }
            (None, None) => Err(HelloError::NoLoader),
            _ => Ok(Self { at_hand, of_index }),
        }
    }

    /// What has to be realised for it.
    pub(super) fn object(&self) -> Option<StorePath> {
        self.of_index.as_ref().map(|choice| choice.object.clone())
    }

    /// The loader, once that was tried; `failed` is what could not be had.
    pub(super) fn provide(
        self,
        tree: &Tree,
        failed: Vec<(StorePath, StoreError)>,
    ) -> Result<Arc<Provision>, HelloError> {
        let Some(choice) = self.of_index else {
            return self.at_hand.map(|at_hand| at_hand.provide(tree)).ok_or(HelloError::NoLoader);
        };
        let failed = failed.into_iter().find(|(object, _)| *object == choice.object);
        let had = match failed {
            Some((_, error)) if tree.fallback.helps(&error) => tree.build(&choice),
            Some((_, error)) => Err(error),
            None => Ok(choice.clone()),
        };
        match (had, self.at_hand) {
            (Ok(choice), _) => provide_loader(tree, &choice.file, || tree.files.open(&choice.file)),
            // An older one is better than none.
            (Err(error), Some(at_hand)) => {
                debug!(%error, "the index's loader cannot be had");
                Ok(at_hand.provide(tree))
            }
            (Err(source), None) => Err(HelloError::LoaderStore { path: choice.file, source }),
        }
    }
}
