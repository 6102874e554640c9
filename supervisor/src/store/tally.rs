//! How much this user has downloaded in all, for the policy's `download-total`: one small file that outlives every process.
//!
//! It is counted before the download, by the size that was told for it, so nothing that dies on the way is forgotten. The
//! file is replaced as a whole, under a lock of its folder, so it is never half written and no count is lost. One that is
//! damaged all the same permits nothing until somebody removes it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::size;
use crate::settings::Settings;
use crate::sys::lock::{How, Lock};

const FILE: &str = "downloaded";

/// Longer than any count is written.
const LONGEST: u64 = 64;

/// In seconds.
const DAY: u64 = 24 * 60 * 60;

/// Where it is counted.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    path: PathBuf,
    /// Otherwise it is only looked at.
    counts: bool,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) bytes: u64,
    /// When the first of them was, in seconds since 1970.
    since: u64,
}

/// Why nobody knows how much it was.
#[derive(Debug, Error)]
pub(crate) enum TallyError {
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{} is damaged; `rm {}` begins a new count", path.display(), path.display())]
    Damaged { path: PathBuf },
}

impl Tally {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self { path: settings.state.join(FILE), counts: true }
    }

    /// One that says what it would say, and counts nothing.
    pub(crate) fn looked_at(self) -> Self {
        Self { counts: false, ..self }
    }

    /// What was counted so far; nothing without a file.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) fn count(&self) -> Result<Option<Count>, TallyError> {
        // A FIFO would be waited for (open(2)).
        let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.disk(error)),
        };
        let damaged = || TallyError::Damaged { path: self.path.clone() };
        if !file.metadata().map_err(|error| self.disk(error))?.is_file() {
            return Err(damaged());
        }
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text).map_err(|error| self.disk(error))?;
        Count::parse(&text).ok_or_else(damaged).map(Some)
    }

    /// Adds what is about to be downloaded, unless that comes to more than `most`; then what there is stays as it is.
    /// Was it added?
    ///
    /// # Errors
    /// Nothing can be counted, or what was cannot be read.
    pub(crate) fn add(&self, bytes: u64, most: u64) -> Result<bool, TallyError> {
        if !self.counts {
            return Ok(self.sum_with(bytes)?.1 <= most);
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let locked = || -> io::Result<Lock> {
            fs::create_dir_all(folder)?;
            Lock::take(File::open(folder)?, How::Alone).map_err(|(_, error)| error)
        };
        let lock = locked().map_err(|error| self.disk(error))?;
        let (before, sum) = self.sum_with(bytes)?;
        if sum > most {
            return Ok(false);
        }
        let count = Count { bytes: sum, since: before.map_or_else(now, |count| count.since) };
        // Nobody else is here, and what somebody left who died here is written over.
        let unfinished = self.path.with_extension("new");
        let replaced = || -> io::Result<()> {
            let mut file = File::create(&unfinished)?;
            file.write_all(count.written().as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            lock.sync_all()
        };
        replaced().map_err(|error| self.disk(error))?;
        Ok(true)
    }

    /// What was counted, and what it would come to.
    fn sum_with(&self, bytes: u64) -> Result<(Option<Count>, u64), TallyError> {
        let before = self.count()?;
        Ok((before, before.map_or(0, |count| count.bytes).saturating_add(bytes)))
    }

    fn disk(&self, source: io::Error) -> TallyError {
        TallyError::Disk { path: self.path.clone(), source }
    }
}

/// What was counted, since when, and how to begin anew: for people.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            Ok(None) => f.write_str("nothing was counted so far"),
            Ok(Some(count)) => {
                let (days, rm) = (count.days(), self.path.display());
                let days = format!("{days} day{}", if days == 1 { "" } else { "s" });
                write!(f, "{} were downloaded in {days}; `rm {rm}` begins a new count", size(count.bytes))
            }
            Err(error) => write!(f, "what was downloaded is not known: {error}"),
        }
    }
}

impl Count {
    /// For how many days it has been counted; at least one.
    fn days(&self) -> u64 {
        1 + now().saturating_sub(self.since) / DAY
    }

    fn written(&self) -> String {
        format!("{} bytes since {}\n", self.bytes, self.since)
    }

    /// The end of the line belongs to it: without it something may be missing.
    fn parse(text: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let (bytes, since) = line.split_once(" bytes since ")?;
        let count = Self { bytes: bytes.parse().ok()?, since: since.parse().ok()? };
        (count.written().as_bytes() == text).then_some(count)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn tally() -> (tempfile::TempDir, Tally) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/sonde").join(FILE);
        (folder, Tally { path, counts: true })
    }

    #[test]
    fn the_limit_itself_is_allowed_and_what_is_refused_is_not_counted() {
        let (_folder, tally) = tally();
        assert_eq!(tally.count().unwrap(), None);
        assert!(tally.add(60, 100).unwrap());
        let first = tally.count().unwrap().unwrap();
        assert_eq!((first.bytes, first.days()), (60, 1));
        assert!(!tally.add(41, 100).unwrap());
        assert!(tally.add(40, 100).unwrap() && !tally.add(1, 100).unwrap());
        assert!(!tally.add(u64::MAX, u64::MAX - 1).unwrap(), "the sum has an end");
        assert_eq!(tally.count().unwrap(), Some(Count { bytes: 100, ..first }));
        assert!(tally.to_string().starts_with("100 B were downloaded in 1 day; `rm /"), "{tally}");
        fs::remove_file(&tally.path).unwrap();
        assert_eq!(tally.to_string(), "nothing was counted so far");
        assert!(tally.add(100, 100).unwrap(), "who removes it begins anew");
    }

    #[test]
    fn no_count_is_lost_in_a_crowd() {
        let (_folder, tally) = tally();
        thread::scope(|scope| {
            for _ in 0..50 {
                // Each opens the folder by itself, as a process does.
                scope.spawn(|| (0..4).for_each(|_| assert!(tally.add(3, 10_000).unwrap())));
            }
        });
        assert_eq!(tally.count().unwrap().unwrap().bytes, 600);
    }

    #[test]
    fn what_is_damaged_permits_nothing_and_is_left_as_it_is() {
        let (_folder, tally) = tally();
        tally.add(7, 100).unwrap();
        let sound = fs::read(&tally.path).unwrap();
        let cut = (0..sound.len()).map(|end| sound[..end].to_vec());
        let others = [&b"-1 bytes since 5\n"[..], b"+1 bytes since 5\n", b"01 bytes since 5\n", b"\xff\n"];
        let more = [b"99999999999999999999999 bytes since 5\n".to_vec(), vec![b'1'; 1 << 16]];
        for text in cut.chain(others.map(<[u8]>::to_vec)).chain(more) {
            fs::write(&tally.path, &text).unwrap();
            let error = tally.add(1, u64::MAX).unwrap_err().to_string();
            assert!(error.contains("is damaged; `rm /") && error.contains("downloaded` begins"), "{error}");
            assert_eq!(fs::read(&tally.path).unwrap(), text);
        }
        fs::remove_file(&tally.path).unwrap();
        nix::unistd::mkfifo(&tally.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(tally.add(1, u64::MAX).is_err(), "a FIFO is not waited for");
    }

    #[test]
    fn what_somebody_left_who_died_is_no_obstacle() {
        let (_folder, tally) = tally();
        tally.add(7, 100).unwrap();
        fs::write(tally.path.with_extension("new"), "9999999 by").unwrap();
        assert!(tally.add(1, 100).unwrap());
        assert_eq!(tally.count().unwrap().unwrap().bytes, 8);
    }

    #[test]
    fn who_only_looks_counts_nothing() {
        let (_folder, tally) = tally();
        let looked_at = tally.clone().looked_at();
        assert!(looked_at.add(5, 5).unwrap() && !looked_at.add(6, 5).unwrap());
        assert_eq!(tally.count().unwrap(), None);
        assert!(tally.add(4, 5).unwrap());
        assert!(!looked_at.add(2, 5).unwrap());
    }

    #[test]
    fn where_nothing_can_be_written_that_is_said() {
        let tally = Tally { path: "/proc/sonde/downloaded".into(), counts: true };
        assert!(tally.add(1, 2).unwrap_err().to_string().starts_with("/proc/sonde/downloaded: "));
    }
}
