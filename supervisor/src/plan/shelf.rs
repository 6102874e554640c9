//! The folder of a user's plans. Each file is there whole or not at all, and what is no sound plan of this user's is as
//! good as absent: it is made anew.

use std::ffi::{CStr, OsStr};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::unistd::Uid;
use sonde_interp::plan::{FOLDER, LARGEST, Plan, file_name};

use crate::settings::Settings;
use crate::sys::whole_file;

/// How old the time of a plan's last use may be when it is used again; what is exact to a day costs nothing.
const USE_IS_NOTED: Duration = Duration::from_secs(24 * 3600);

/// Where a user's plans are.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    folder: PathBuf,
}

/// The bytes of a sound plan.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// When it was last used, more or less.
    pub(crate) used: SystemTime,
}

impl Kept {
    pub(crate) fn plan(&self) -> Option<Plan<'_>> {
        Plan::read(&self.bytes)
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl Shelf {
    pub(crate) fn of(settings: &Settings) -> Self {
        let name = Path::new(FOLDER).file_name().unwrap_or_default();
        Self { folder: settings.cache.join(name) }
    }

    pub(crate) fn path(&self, key: u64) -> PathBuf {
        self.folder.join(String::from_utf8_lossy(&file_name(key)).as_ref())
    }

    /// The plan with this key, if it is there and sound.
    pub(crate) fn take(&self, key: u64) -> Option<Kept> {
        let (kept, file) = open(&self.path(key))?;
        let age = kept.used.elapsed().unwrap_or_default();
        if age > USE_IS_NOTED {
            // Whoever clears away what is old will take it for older than it is.
            let _ = file.set_modified(SystemTime::now());
        }
        Some(kept)
    }

    /// Keeps a plan in place of the one before.
    pub(crate) fn put(&self, key: u64, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        whole_file::write(&self.path(key), bytes, 0o600)
    }

    /// Every file that is or was a plan: its path, and the plan if it is sound.
    pub(crate) fn all(&self) -> Vec<(PathBuf, Option<Kept>)> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "plan"))
            .map(|path| {
                let kept = open(&path).map(|(kept, _)| kept);
                (path, kept)
            })
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}

/// A path of a plan.
pub(crate) fn path_of(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

/// Only what this user alone can have written is believed: a plan names the loader.
fn open(path: &Path) -> Option<(Kept, File)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let data = file.metadata().ok()?;
    let is_ours = data.uid() == Uid::effective().as_raw() && data.mode() & 0o022 == 0;
    if !data.is_file() || !is_ours || data.len() > LARGEST {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(data.len()).ok()?);
    Read::by_ref(&mut file).take(LARGEST).read_to_end(&mut bytes).ok()?;
    Plan::read(&bytes)?;
    Some((Kept { bytes, used: data.modified().ok()? }, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn shelf(folder: &Path) -> Shelf {
        Shelf { folder: folder.join("plans") }
    }

    #[test]
    fn what_is_put_is_taken_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(folder.path());
        let plan = crate::plan::draft::tests::draft().to_bytes().unwrap();
        assert!(shelf.take(1).is_none() && shelf.all().is_empty());
        shelf.put(1, &plan).unwrap();
        assert_eq!(shelf.take(1).unwrap().bytes, plan);
        assert_eq!(fs::metadata(shelf.path(1)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(shelf.take(2).is_none());

        shelf.put(2, &plan[..plan.len() - 1]).unwrap(); // torn
        symlink(shelf.path(1), shelf.path(3)).unwrap();
        fs::create_dir(shelf.path(4)).unwrap();
        nix::unistd::mkfifo(&shelf.path(5), nix::sys::stat::Mode::S_IRWXU).unwrap();
        shelf.put(6, &plan).unwrap();
        fs::set_permissions(shelf.path(6), fs::Permissions::from_mode(0o620)).unwrap();
        for key in 2..7 {
            assert!(shelf.take(key).is_none(), "{key}");
        }
        let all = shelf.all();
        assert_eq!(all.len(), 6);
        assert_eq!(all.iter().filter(|(_, kept)| kept.is_some()).count(), 1);
    }

    #[test]
    fn a_use_is_noted_once_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(folder.path());
        shelf.put(1, &crate::plan::draft::tests::draft().to_bytes().unwrap()).unwrap();
        let set = |age: u64| {
            let time = SystemTime::now() - Duration::from_secs(age * 3600);
            File::open(shelf.path(1)).unwrap().set_modified(time).unwrap();
            time
        };
        let time = set(23);
        shelf.take(1).unwrap();
        assert_eq!(shelf.take(1).unwrap().used, time);
        let time = set(25);
        shelf.take(1).unwrap();
        assert!(shelf.take(1).unwrap().used > time);
    }
}
