//! What a plan depends on besides its program: indexes, lists, configuration, policies and the host's drivers. Each is
//! known by its stamp, so that whoever starts a program need not read any of them.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sonde_interp::plan::Stamp;

use super::drivers::Drivers;
use super::libraries::LibrariesError;
use crate::guest::remote::GuestRoot;
use crate::settings::Settings;

/// The files of a configuration folder that decide what is provided, and how.
const FILES: [&str; 3] = ["config.toml", "lists.toml", "policy.toml"];

/// Files and folders by path, and what they were when they were looked at.
pub(crate) type Conditions = Vec<(PathBuf, Stamp)>;

/// Everything that decides for this user, as it is now, and the folders of drivers that are part of it.
///
/// Indexes are replaced by rename, which changes their folder; configuration may be written in place.
///
/// # Errors
/// The configuration does not say where drivers are.
pub(crate) fn now(settings: &Settings) -> Result<(Conditions, Drivers), LibrariesError> {
    let stamped = |path: PathBuf| {
        let stamp = stamp_at(&path);
        (path, stamp)
    };
    let configuration = settings.configuration.iter().flat_map(|folder| FILES.map(|file| folder.join(file)));
    // Looked at before it is read: what changes meanwhile is noticed by the next one.
    let mut all: Conditions =
        settings.index_folders.iter().cloned().chain(configuration).map(stamped).collect();
    let drivers = Drivers::load(settings)?;
    all.extend(drivers.folders().iter().cloned().map(stamped));
    Ok((all, drivers))
}

/// Is everything as it was?
pub(crate) fn hold(conditions: &Conditions) -> bool {
    conditions.iter().all(|(path, stamp)| stamp_at(path) == *stamp)
}

/// What is at a path of ours; what cannot be looked at is not there.
pub(crate) fn stamp_at(path: &Path) -> Stamp {
    fs::metadata(path).map_or(Stamp::ABSENT, |data| stamp_of(&data))
}

/// What is at a path of a program's own root.
pub(crate) fn stamp_in(root: &GuestRoot, path: &Path) -> Stamp {
    root.metadata(path).map_or(Stamp::ABSENT, |data| stamp_of(&data))
}

/// As a plan has it.
pub(crate) fn stamp_of(data: &Metadata) -> Stamp {
    let nanoseconds = |value: i64| u32::try_from(value).unwrap_or_default();
    Stamp {
        device: data.dev(),
        inode: data.ino(),
        size: data.size(),
        modified: data.mtime(),
        changed: data.ctime(),
        modified_nanoseconds: nanoseconds(data.mtime_nsec()),
        changed_nanoseconds: nanoseconds(data.ctime_nsec()),
    }
}
