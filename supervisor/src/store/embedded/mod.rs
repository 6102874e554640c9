//! A store of Sonde's own, for machines without Nix: a client of binary caches, and a folder of the user's.
//!
//! It is not a Nix store: it builds nothing, has no daemon and no database, and what lies in it is found at another
//! path than its own. What a cache sends is believed when a trusted key has signed it and its hash is right; both are
//! checked before anything becomes visible.

mod cache;
mod error;
mod fetch;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hash;
mod http;
mod layout;
mod maintain;
mod nar;
mod narinfo;
mod pack;
mod remove;
mod signature;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use cache::Patience;
pub(crate) use error::EmbeddedError;
pub(crate) use http::{http_agent, http_get};
pub(crate) use maintain::Condition;
pub(crate) use signature::PublicKey;

use super::{Forecast, Gate, Limits, NoProgress, Progress, Sizes, Store, StoreError, StorePath};
use cache::Cache;
use fetch::Fetch;
use layout::Layout;

/// The user's own store.
pub(crate) struct EmbeddedStore {
    layout: Layout,
    caches: Vec<Cache>,
    keys: Vec<PublicKey>,
    limits: Limits,
    /// Caches and keys that the policy took away, in words.
    forbidden: Vec<String>,
}

/// The folder with the contents of all paths of the store in `folder`, made if it is not there: what `/nix/store` is to
/// Nix.
pub(super) fn objects(folder: &Path) -> Result<PathBuf, EmbeddedError> {
    let layout = Layout::new(folder.to_owned());
    layout.create()?;
    Ok(layout.objects())
}

impl EmbeddedStore {
    /// The store in `folder`, filled from these caches, in this order. An address that is none is left out.
    pub(crate) fn new(
        folder: PathBuf,
        caches: &[String],
        keys: Vec<PublicKey>,
        patience: Patience,
        limits: Limits,
    ) -> Self {
        let client = http::Client::new(patience.connect, patience.stall, fetch::LOOKUPS);
        let caches = caches.iter().filter_map(|address| Cache::new(address, &client, patience)).collect();
        Self { layout: Layout::new(folder), caches, keys, limits, forbidden: Vec::new() }
    }

    /// Remembers what was left out of caches and keys, and why.
    pub(super) fn forbidding(self, forbidden: Vec<String>) -> Self {
        Self { forbidden, ..self }
    }

    /// The folder that all of it lies in; its `nix/store` has the objects.
    pub(crate) fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Makes its folders, where they are missing, and returns [`EmbeddedStore::root`].
    pub(crate) fn prepare(&self) -> Result<&Path, EmbeddedError> {
        self.layout.create()?;
        Ok(self.root())
    }

    /// Makes the paths valid, if the gate has nothing against what comes along, each protected by a root of its own name
    /// in the folder.
    pub(crate) fn fetch(
        &self,
        paths: &[StorePath],
        gate: &dyn Gate,
        roots: &Path,
        progress: &dyn Progress,
    ) -> Result<(), EmbeddedError> {
        self.realise_with_roots(gate, paths, |_, path| Some(roots.join(path.base_name())), progress)
    }

    fn realise_with_roots(
        &self,
        gate: &dyn Gate,
        paths: &[StorePath],
        root_of: impl Fn(usize, &StorePath) -> Option<PathBuf>,
        progress: &dyn Progress,
    ) -> Result<(), EmbeddedError> {
        self.layout.create()?;
        // Until the roots stand, nothing else protects what is being fetched.
        let _lock = self.layout.lock_out_collection()?;
        Fetch::new(self, progress).closure(paths, gate)?;
        for (index, path) in paths.iter().enumerate() {
            let Some(link) = root_of(index, path) else { continue };
            write_root(&link, path).map_err(EmbeddedError::disk("writing the gc root", &link))?;
        }
        Ok(())
    }
}

impl Store for EmbeddedStore {
    fn has(&self, path: &StorePath) -> bool {
        self.layout.is_valid(path)
    }

    fn location(&self, path: &StorePath) -> PathBuf {
        self.layout.object(path)
    }

    fn sizes(&self, paths: &[StorePath]) -> Result<Sizes, StoreError> {
        Ok(Fetch::new(self, &NoProgress).sizes(paths)?)
    }

    fn forecast(&self, paths: &[StorePath]) -> Result<Forecast, StoreError> {
        Ok(Fetch::new(self, &NoProgress).forecast(paths))
    }

    fn realise_through(
        &self,
        gate: &dyn Gate,
        paths: &[StorePath],
        root: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<(), StoreError> {
        let root_of = |index, _: &StorePath| match index {
            0 => root.map(Path::to_owned),
            _ => root.map(|root| PathBuf::from(format!("{}-{}", root.display(), index + 1))),
        };
        Ok(self.realise_with_roots(gate, paths, root_of, progress)?)
    }
}

/// A root names the path as Nix would: what reads roots need not know which store they are of.
fn write_root(link: &Path, path: &StorePath) -> std::io::Result<()> {
    if fs::read_link(link).is_ok_and(|target| target == Path::new(path.as_str())) {
        return Ok(());
    }
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = link.with_file_name(format!(".new-{}-{}", std::process::id(), path.base_name()));
    std::os::unix::fs::symlink(path.as_str(), &unfinished)?;
    fs::rename(unfinished, link)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
