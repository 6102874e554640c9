//! Writes what is on the disk as a NAR, for hashing: the inverse of [`super::nar`].

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Packs a file, link or folder. Its owner is this user, who may disturb it meanwhile: then its hash is another.
pub(super) fn pack(path: &Path, sink: &mut impl Write) -> io::Result<()> {
    text(sink, b"nix-archive-1")?;
    node(path, sink)
}

fn node(path: &Path, sink: &mut impl Write) -> io::Result<()> {
    let data = path.symlink_metadata()?;
    text(sink, b"(")?;
    text(sink, b"type")?;
    if data.is_symlink() {
        text(sink, b"symlink")?;
        text(sink, b"target")?;
        text(sink, fs::read_link(path)?.as_os_str().as_bytes())?;
    } else if data.is_dir() {
        text(sink, b"directory")?;
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().into_vec());
        }
        names.sort_unstable();
        for name in names {
            for word in [&b"entry"[..], b"(", b"name", &name, b"node"] {
                text(sink, word)?;
            }
            node(&path.join(std::ffi::OsStr::from_bytes(&name)), sink)?;
            text(sink, b")")?;
        }
    } else if data.is_file() {
        text(sink, b"regular")?;
        if data.permissions().mode() & 0o100 != 0 {
            text(sink, b"executable")?;
            text(sink, b"")?;
        }
        text(sink, b"contents")?;
        let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let length = data.len();
        sink.write_all(&length.to_le_bytes())?;
        let copied = io::copy(&mut file.take(length), sink)?;
        if copied != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pad(sink, length)?;
    } else {
        return Err(io::Error::other("neither a file nor a folder nor a link"));
    }
    text(sink, b")")
}

pub(super) fn text(sink: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    sink.write_all(&(bytes.len() as u64).to_le_bytes())?;
    sink.write_all(bytes)?;
    pad(sink, bytes.len() as u64)
}

fn pad(sink: &mut impl Write, length: u64) -> io::Result<()> {
    sink.write_all(&[0; 8][..(length.wrapping_neg() % 8) as usize])
}
