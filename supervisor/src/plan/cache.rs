//! The served cache: what the loader is given in place of its `ld.so.cache`.
//!
//! It maps every soname of the index to the path of its provider, whether that is valid already or not, glibc's own
//! members to the loader's folder, drivers to the host's, and the names of seeds to these.
//!
//! The first start that needs one makes it in a sealed memory file (memfd_create(2)). It is kept on disk afterwards, under
//! a number of what it was made from, and whoever needs the same one opens it there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Uid;
use sha2::{Digest, Sha256};
use sonde_resolve::ldcache::{self, Change};
use thiserror::Error;

use super::conditions::Conditions;
use super::drivers::{Drivers, answer_for};
use super::loader::Loader;
use super::seeds::Seeds;
use crate::index::late::LateIndex;
use crate::index::{Choice, Index};
use crate::settings::Settings;
use crate::store::StoreFiles;
use crate::sys::whole_file;

const EM_X86_64: u16 = 62;

/// Nobody changes one; it is replaced.
const MODE: u32 = 0o444;

/// A finished cache.
#[derive(Debug)]
pub(crate) struct ServedCache {
    file: File,
    /// Where it is kept, or is to be.
    place: PathBuf,
    is_kept: bool,
}

/// Why there is none; the loader then does without, and misses are caught at its last folder.
#[derive(Debug, Error)]
pub(crate) enum CacheError {
    #[error("the index's prebuilt cache: {0}")]
    Content(#[from] ldcache::CacheError),
    #[error("a memory file for the served cache: {0}")]
    Memory(#[from] io::Error),
}

/// Where this user's served caches are kept.
pub(crate) fn folder(settings: &Settings) -> PathBuf {
    settings.cache.join("served")
}

/// Where caches come from.
pub(crate) struct CacheSource<'a> {
    pub(crate) index: &'a LateIndex,
    pub(crate) store: &'a StoreFiles,
    /// Under which the index was opened.
    pub(crate) conditions: &'a Conditions,
    pub(crate) drivers: &'a Drivers,
    pub(crate) folder: &'a Path,
}

impl ServedCache {
    /// The cache for programs that run under `loader`, with these choices and seeds in place of the index's: the one that is
    /// kept, or a new one.
    pub(crate) fn of(
        source: &CacheSource<'_>,
        loader: &Loader,
        seeds: &Seeds,
        choices: &HashMap<String, Option<Choice>>,
    ) -> Result<Self, CacheError> {
        let place = source.folder.join(name(source.conditions, loader, seeds, choices));
        if let Some(kept) = Self::kept(&place) {
            return Ok(kept);
        }
        let bytes = content(source, loader, seeds, choices)?;
        let memory = memfd_create("ld.so.cache", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING);
        let mut file = File::from(memory.map_err(io::Error::from)?);
        file.write_all(&bytes)?;
        let seals =
            SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(io::Error::from)?;
        Ok(Self { file, place, is_kept: false })
    }

    /// The cache that is kept here, if this user alone can have written it.
    pub(crate) fn kept(place: &Path) -> Option<Self> {
        let file = File::open(place).ok()?;
        let data = file.metadata().ok()?;
        let is_ours = data.uid() == Uid::effective().as_raw() && data.mode() & 0o222 == 0;
        (data.is_file() && is_ours && data.len() > 0).then(|| Self {
            file,
            place: place.to_owned(),
            is_kept: true,
        })
    }

    /// Where it is kept, if it is already.
    pub(crate) fn place(&self) -> Option<&Path> {
        self.is_kept.then_some(&*self.place)
    }

    /// Sees to it that it is kept; returns where.
    pub(crate) fn keep(&self) -> io::Result<&Path> {
        if !self.is_kept && Self::kept(&self.place).is_none() {
            let mut bytes = Vec::new();
            let mut file = self.open()?;
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            self.place.parent().map_or(Ok(()), fs::create_dir_all)?;
            whole_file::write(&self.place, &bytes, MODE)?;
        }
        Ok(&self.place)
    }

    /// Opens it anew, for one process: descriptors that are copies of each other share a position.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd())))
    }

    /// What stat(2) says of it.
    pub(crate) fn metadata(&self) -> io::Result<nix::sys::stat::FileStat> {
        Ok(nix::sys::stat::fstat(&self.file)?)
    }
}

/// What tells one cache from another: everything that it is made from.
fn name(
    conditions: &Conditions,
    loader: &Loader,
    seeds: &Seeds,
    choices: &HashMap<String, Option<Choice>>,
) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(loader.folder().as_os_str().as_encoded_bytes());
    for (path, stamp) in conditions {
        add(path.as_os_str().as_encoded_bytes());
        add(&stamp.to_bytes());
    }
    add(&seeds.iter().count().to_le_bytes());
    for (soname, path) in seeds.iter() {
        add(soname.as_bytes());
        add(path.as_os_str().as_encoded_bytes());
    }
    let mut choices: Vec<_> = choices.iter().collect();
    choices.sort_by_key(|(soname, _)| *soname);
    for (soname, choice) in choices {
        add(soname.as_bytes());
        add(choice.as_ref().map_or(b"", |choice| choice.file.as_os_str().as_encoded_bytes()));
    }
    let digest = hash.finalize();
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    digits + ".cache"
}

fn content(
    source: &CacheSource<'_>,
    loader: &Loader,
    seeds: &Seeds,
    choices: &HashMap<String, Option<Choice>>,
) -> Result<Vec<u8>, ldcache::CacheError> {
    let index = source.index.get();
    let members = glibc_members(index, source.store, loader);
    let own = choices.iter().filter_map(|(soname, choice)| {
        let change = match choice {
            Some(choice) => Change::Provide(choice.file.to_str()?),
            None => Change::Withdraw,
        };
        Some((soname.as_str(), change))
    });
    // They must fit the kernel that runs, so no package's will do.
    let is_hosts =
        |name: &str| index.is_driver(name) || (seeds.get(name).is_none() && answer_for(index, name));
    let drivers = source.drivers.libraries(is_hosts);
    let fixed = members.iter().chain(&drivers);
    let fixed = fixed.map(|(soname, path)| (soname.as_str(), Change::Provide(path.as_str())));
    let seeds = seeds.iter().filter_map(|(soname, path)| Some((soname, Change::Provide(path.to_str()?))));
    let changes: Vec<(&str, Change<'_>)> = own.chain(seeds).chain(fixed).collect();
    let flags = ldcache::flags_of(EM_X86_64).unwrap_or_default();
    let empty = ldcache::write(&[])?;
    ldcache::patch(index.base_cache().unwrap_or(&empty), flags, &changes)
}

/// The libraries of the loader's own glibc, by name and path.
fn glibc_members(index: &Index, store: &StoreFiles, loader: &Loader) -> Vec<(String, String)> {
    let Some(folder) = loader.folder().to_str() else { return Vec::new() };
    let members = store.names_in(loader.folder()).into_iter().filter(|name| index.is_glibc(name));
    members.map(|name| (name.clone(), format!("{folder}/{name}"))).collect()
}
