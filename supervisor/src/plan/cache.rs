//! The served cache: what the loader is given in place of its `ld.so.cache`.
//!
//! It maps every soname of the index to the path of its provider, whether that is valid already or not, and glibc's
//! own members to the loader's folder, and drivers to the host's. It lies in a sealed memory file (memfd_create(2)), shared by the whole tree.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sonde_resolve::ldcache::{self, Change};
use thiserror::Error;

use super::drivers;
use super::loader::Loader;
use crate::guest::remote::names;
use crate::index::{Choice, Index};
use crate::store::StoreFiles;

const EM_X86_64: u16 = 62;

/// A finished cache.
#[derive(Debug)]
pub(crate) struct ServedCache(File);

/// Why there is none; the loader then does without, and misses are caught at its last folder.
#[derive(Debug, Error)]
pub(crate) enum CacheError {
    #[error("the index's prebuilt cache: {0}")]
    Content(#[from] ldcache::CacheError),
    #[error("a memory file for the served cache: {0}")]
    Memory(#[from] io::Error),
}

impl ServedCache {
    /// The cache for programs that run under `loader`, with these choices in place of the index's.
    pub(crate) fn build(
        index: &Index,
        store: &StoreFiles,
        loader: &Loader,
        choices: &HashMap<String, Option<Choice>>,
    ) -> Result<Self, CacheError> {
        let members = glibc_members(index, store, loader);
        let own = choices.iter().filter_map(|(soname, choice)| {
            let change = match choice {
                Some(choice) => Change::Provide(choice.file.to_str()?),
                None => Change::Withdraw,
            };
            Some((soname.as_str(), change))
        });
        let drivers = host_drivers(index);
        let fixed = members.iter().chain(&drivers);
        let fixed = fixed.map(|(soname, path)| (soname.as_str(), Change::Provide(path.as_str())));
        let changes: Vec<(&str, Change<'_>)> = own.chain(fixed).collect();
        let flags = ldcache::flags_of(EM_X86_64).unwrap_or_default();
        let empty = ldcache::write(&[])?;
        let bytes = ldcache::patch(index.base_cache().unwrap_or(&empty), flags, &changes)?;

        let memory = memfd_create("ld.so.cache", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING);
        let mut file = File::from(memory.map_err(io::Error::from)?);
        file.write_all(&bytes)?;
        let seals =
            SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(io::Error::from)?;
        Ok(Self(file))
    }

    /// Opens it anew, for one process: descriptors that are copies of each other share a position.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd())))
    }

    /// What stat(2) says of it.
    pub(crate) fn metadata(&self) -> io::Result<nix::sys::stat::FileStat> {
        Ok(nix::sys::stat::fstat(&self.0)?)
    }
}

/// The libraries of the loader's own glibc, by name and path.
fn glibc_members(index: &Index, store: &StoreFiles, loader: &Loader) -> Vec<(String, String)> {
    libraries(loader.folder(), store.names_in(loader.folder()), |name| index.is_glibc(name))
}

/// The drivers of this machine, by name and path: they must fit the kernel that runs, so no package's will do.
fn host_drivers(index: &Index) -> Vec<(String, String)> {
    let folder = Path::new(drivers::FOLDER);
    libraries(folder, names(folder).unwrap_or_default(), |name| index.is_driver(name))
}

fn libraries(folder: &Path, names: Vec<String>, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let Some(folder) = folder.to_str() else { return Vec::new() };
    let wanted = names.into_iter().filter(|name| wanted(name));
    wanted.map(|name| (name.clone(), format!("{folder}/{name}"))).collect()
}
