//! Unpacks a NAR (Nix Archive, Dolstra 2006, figure 5.2) as it streams in, into a folder that nobody else has.
//!
//! An archive is hostile until its hash is known, which is when it has been unpacked. Each entry is made by its plain
//! name in the descriptor of its folder, exclusively, so that nothing in an archive leads out of it: no name has a
//! slash, no link is followed, nothing is overwritten.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::symlinkat;
use thiserror::Error;

/// The longest name of a file, and the longest target of a link, in bytes (`NAME_MAX`, `PATH_MAX`; limits.h).
const LONGEST_NAME: u64 = 255;
const LONGEST_TARGET: u64 = 4095;
/// Folders in folders; each costs a descriptor and some stack. node_modules reaches 40.
const DEEPEST: usize = 128;
/// Bytes that are moved at once.
const CHUNK: usize = 128 * 1024;
/// The time stamp of everything in a store, in seconds (`canonicalisePathMetaData`).
pub(super) const MTIME: TimeSpec = TimeSpec::new(1, 0);

/// What is wrong with an archive, or with the disk.
#[derive(Debug, Error)]
pub(super) enum NarError {
    /// No archive, or one that Nix would not have made.
    #[error("{0}")]
    Format(String),
    /// Its source failed.
    #[error(transparent)]
    Source(io::Error),
    /// The disk failed.
    #[error("{name}: {source}")]
    Disk { name: String, source: io::Error },
}

type Outcome<T> = Result<T, NarError>;

/// Unpacks the archive as `name` in `parent`, and reads its source to the end.
pub(super) fn unpack(source: impl Read, parent: BorrowedFd<'_>, name: &str) -> Outcome<()> {
    let mut archive = Archive { source: BufReader::with_capacity(CHUNK, source) };
    archive.expect("nix-archive-1")?;
    archive.node(parent, name.as_bytes(), 0)?;
    match archive.source.fill_buf() {
        Ok([]) => Ok(()),
        Ok(_) => Err(format("something follows its end")),
        Err(error) => Err(NarError::Source(error)),
    }
}

struct Archive<R> {
    source: BufReader<R>,
}

impl<R: Read> Archive<R> {
    fn node(&mut self, parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> Outcome<()> {
        self.expect("(")?;
        self.expect("type")?;
        match &*self.text(16)? {
            b"regular" => self.file(parent, name),
            b"symlink" => self.link(parent, name),
            b"directory" if depth < DEEPEST => self.folder(parent, name, depth),
            b"directory" => Err(format("more than 128 folders in each other")),
            other => Err(format(format!("`{}` is no kind of file", show(other)))),
        }
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Outcome<()> {
        let disk = |errno| disk(name, errno);
        let (mut executable, mut word) = (false, self.text(16)?);
        if *word == *b"executable" {
            self.expect("")?;
            (executable, word) = (true, self.text(16)?);
        }
        if *word != *b"contents" {
            return Err(format(format!("`{}` instead of contents", show(&word))));
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(parent, name, flags, Mode::from_bits_truncate(0o600)).map_err(disk)?;
        let mut file = File::from(file);
        let length = self.number()?;
        let mut left = length;
        while left > 0 {
            let ready = self.source.fill_buf().map_err(NarError::Source)?;
            let count = ready.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(cut_off());
            }
            file.write_all(&ready[..count]).map_err(|source| write_error(name, source))?;
            self.source.consume(count);
            left -= count as u64;
        }
        self.padding(length)?;
        let mode = if executable { 0o555 } else { 0o444 };
        fchmod(&file, Mode::from_bits_truncate(mode)).map_err(disk)?;
        futimens(&file, &MTIME, &MTIME).map_err(disk)?;
        self.expect(")")
    }

    fn link(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> Outcome<()> {
        self.expect("target")?;
        let target = self.text(LONGEST_TARGET)?;
        if target.is_empty() || target.contains(&0) {
            return Err(format(format!("the link {} has no proper target", show(name))));
        }
        symlinkat(&*target, parent, name).map_err(|errno| disk(name, errno))?;
        utimensat(parent, name, &MTIME, &MTIME, UtimensatFlags::NoFollowSymlink)
            .map_err(|errno| disk(name, errno))?;
        self.expect(")")
    }

    fn folder(&mut self, parent: BorrowedFd<'_>, name: &[u8], depth: usize) -> Outcome<()> {
        let disk = |errno| disk(name, errno);
        mkdirat(parent, name, Mode::from_bits_truncate(0o700)).map_err(disk)?;
        let folder = open_folder(parent, name).map_err(disk)?;
        let mut last: Option<Vec<u8>> = None;
        loop {
            match &*self.text(8)? {
                b")" => break,
                b"entry" => {}
                other => return Err(format(format!("`{}` instead of an entry", show(other)))),
            }
            self.expect("(")?;
            self.expect("name")?;
            let entry = self.text(LONGEST_NAME)?;
            if entry.is_empty()
                || *entry == *b"."
                || *entry == *b".."
                || entry.iter().any(|byte| b"/\0".contains(byte))
            {
                return Err(format(format!("`{}` is no name for a file", show(&entry))));
            }
            if last.as_deref().is_some_and(|last| last >= &*entry) {
                return Err(format(format!("the name {} is there twice or out of order", show(&entry))));
            }
            self.expect("node")?;
            self.node(folder.as_fd(), &entry, depth + 1)?;
            self.expect(")")?;
            last = Some(entry);
        }
        fchmod(&folder, Mode::from_bits_truncate(0o555)).map_err(disk)?;
        futimens(&folder, &MTIME, &MTIME).map_err(disk)
    }

    fn number(&mut self) -> Outcome<u64> {
        let mut bytes = [0; 8];
        self.source.read_exact(&mut bytes).map_err(source_error)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn text(&mut self, longest: u64) -> Outcome<Vec<u8>> {
        let length = self.number()?;
        if length > longest {
            return Err(format(format!("{length} bytes where at most {longest} can be")));
        }
        // `longest` is small, so the length is.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.source.read_exact(&mut bytes).map_err(source_error)?;
        self.padding(length)?;
        Ok(bytes)
    }

    /// Everything is filled up to a multiple of eight, with zeros only: one content has one archive.
    fn padding(&mut self, length: u64) -> Outcome<()> {
        let mut bytes = [0; 8];
        let filler = &mut bytes[..(length.wrapping_neg() % 8) as usize];
        self.source.read_exact(filler).map_err(source_error)?;
        if filler.iter().any(|byte| *byte != 0) { Err(format("its padding is not zero")) } else { Ok(()) }
    }

    fn expect(&mut self, word: &str) -> Outcome<()> {
        let length = self.number()?;
        if length != word.len() as u64 {
            return Err(format(format!("`{word}` is not where it should be")));
        }
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..word.len()];
        self.source.read_exact(bytes).map_err(source_error)?;
        if bytes != word.as_bytes() {
            return Err(format(format!("`{word}` is not where it should be")));
        }
        self.padding(length)
    }
}

/// A folder, and not a link to one.
pub(super) fn open_folder<P: ?Sized + NixPath>(parent: impl AsFd, name: &P) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn format(reason: impl Into<String>) -> NarError {
    NarError::Format(reason.into())
}

fn cut_off() -> NarError {
    format("it ends in the middle")
}

fn source_error(error: io::Error) -> NarError {
    if error.kind() == io::ErrorKind::UnexpectedEof { cut_off() } else { NarError::Source(error) }
}

fn disk(name: &[u8], errno: Errno) -> NarError {
    write_error(name, errno.into())
}

fn write_error(name: &[u8], source: io::Error) -> NarError {
    NarError::Disk { name: show(name), source }
}

/// Names are shown in messages, and are not ours.
fn show(name: &[u8]) -> String {
    name.iter().take(60).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect()
}

#[cfg(test)]
mod tests;
