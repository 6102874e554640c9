//! A log file that stays small: when it is full it becomes the old one, and the old one goes.
//!
//! Several supervisors write to it, each through a description of its own. Lines are appended whole (`O_APPEND`, write(2)),
//! and whoever meets a full file renames it, under a lock that nobody waits for: a supervisor that is stopped must not stop
//! others. Whatever goes wrong costs lines and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOCTTY, O_NONBLOCK};

use crate::sys::lock::{How, Lock};

/// What is behind the name of the file that was full.
const OLD: &str = ".old";

/// A line is cut here, in bytes, so that files stay within their limit but for a line of each writer.
const LONGEST_LINE: usize = 16 << 10;

/// The file, open to be appended to.
#[derive(Debug)]
pub(super) struct CappedFile {
    path: PathBuf,
    file: File,
    /// Bytes that a file may have.
    limit: u64,
}

impl CappedFile {
    /// Opens or makes the file, and the folder that it is in.
    ///
    /// # Errors
    /// It cannot be opened, or is no plain file.
    pub(super) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        Ok(Self { path: path.to_owned(), file: append_to(path)?, limit })
    }

    /// Appends an event as one line, if there is room.
    fn append(&mut self, event: &[u8]) -> io::Result<()> {
        let line = line(event);
        if !self.has_room_for(&line)? {
            self.renew()?;
        }
        if self.has_room_for(&line)? { self.file.write_all(&line) } else { Ok(()) }
    }

    fn has_room_for(&self, line: &[u8]) -> io::Result<bool> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(self.file.metadata()?.len().saturating_add(length) <= self.limit)
    }

    /// Makes this file the old one, unless somebody else has, and goes on with the new one.
    fn renew(&mut self) -> io::Result<()> {
        let full = self.file.try_clone()?;
        // Whoever has the lock is doing it at this moment.
        let Ok(_lock) = Lock::take(full, How::AloneAtOnce) else { return Ok(()) };
        let own = self.file.metadata()?;
        let there = fs::metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            let mut old = self.path.clone().into_os_string();
            old.push(OLD);
            fs::rename(&self.path, old)?;
        }
        self.file = append_to(&self.path)?;
        Ok(())
    }
}

impl Write for CappedFile {
    /// Takes an event, which it is given whole. A log that cannot be written is nobody's problem but its reader's, so that
    /// there are no errors.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let _ = self.append(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For the user alone: paths of programs are in it. Opening a FIFO would wait for a reader, and a terminal become ours
/// (open(2)).
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file =
        options.create(true).append(true).mode(0o600).custom_flags(O_NONBLOCK | O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The event behind the process that it is of, in one line: names of files may hold anything.
fn line(event: &[u8]) -> Vec<u8> {
    let mut line = format!("{} ", std::process::id()).into_bytes();
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    line.extend(text.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
    line.truncate(LONGEST_LINE - 1);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LIMIT: u64 = 64 << 10;

    fn lengths(path: &Path) -> Vec<u64> {
        let files = fs::read_dir(path.parent().unwrap()).unwrap().flatten();
        files.map(|file| file.metadata().unwrap().len()).collect()
    }

    #[test]
    fn a_full_file_becomes_the_old_one_and_the_last_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/sonde.log");
        let mut log = CappedFile::open(&path, LIMIT).unwrap();
        for number in 0..10_000 {
            log.write_all(format!("event {number} {}\n", "x".repeat(50)).as_bytes()).unwrap();
        }
        assert!(lengths(&path).iter().all(|length| *length <= LIMIT), "{:?}", lengths(&path));
        assert_eq!(lengths(&path).len(), 2);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("event 9999 ") && !text.contains("event 0 "));
        assert!(text.starts_with(&format!("{} event ", std::process::id())), "{text}");
    }

    #[test]
    fn several_writers_keep_to_the_limit_and_do_not_mix_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sonde.log");
        const WRITERS: u64 = 4;
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let path = &path;
                scope.spawn(move || {
                    let mut log = CappedFile::open(path, LIMIT).unwrap();
                    let event = format!("{}\n", writer.to_string().repeat(100));
                    (0..5_000).for_each(|_| log.write_all(event.as_bytes()).unwrap());
                });
            }
        });
        let most = LIMIT + WRITERS * 200;
        assert!(lengths(&path).len() == 2 && lengths(&path).iter().all(|length| *length <= most));
        for name in ["sonde.log", "sonde.log.old"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            for line in text.lines() {
                let event = line.split(' ').nth(1).unwrap_or_default();
                assert!(
                    event.len() == 100 && event.bytes().all(|byte| byte == event.as_bytes()[0]),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_no_error() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut log = CappedFile { path: "/dev/full".into(), file, limit: LIMIT };
        assert!(log.append(b"event\n").unwrap_err().raw_os_error() == Some(nix::libc::ENOSPC));
        log.write_all(b"event\n").unwrap();
        // Nor is a folder that has gone, or that cannot be written to.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sonde.log");
        let mut log = CappedFile::open(&path, 100).unwrap();
        folder.close().unwrap();
        (0..10).for_each(|_| log.write_all(&[b'x'; 80]).unwrap());
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let long = "y".repeat(1 << 20);
        for event in ["a\nb\x1b[31m\n", "", "\n", long.as_str()] {
            let line = line(event.as_bytes());
            assert_eq!(line.iter().filter(|byte| byte.is_ascii_control()).count(), 1, "{event}");
            assert!(line.ends_with(b"\n") && line.len() <= LONGEST_LINE);
        }
    }

    #[test]
    fn what_is_no_plain_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sonde.log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(CappedFile::open(&path, LIMIT).is_err());
        assert!(CappedFile::open(Path::new("/dev/null"), LIMIT).is_err());
    }
}
