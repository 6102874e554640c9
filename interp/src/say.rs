//! What the shim says to people: one line on stderr, written in one call so that lines do not mix.

use linux_raw_sys::errno::{
    EACCES, EAGAIN, EBUSY, ECONNRESET, EINVAL, EIO, ELIBBAD, EMFILE, ENAMETOOLONG, ENOENT, ENOEXEC, ENOMEM,
    ENOSYS, ENOTCONN, ENOTDIR, EPERM, EPIPE,
};

use crate::sys::{self, Errno};

const STDERR: i32 = 2;
const LINE: usize = 1024;

/// Writes `sonde: ` and the pieces as one line to stderr; what does not fit is cut.
pub(crate) fn complain(pieces: &[&[u8]]) {
    let mut line = [0_u8; LINE];
    let mut length = 0;
    for piece in core::iter::once(&b"sonde: "[..]).chain(pieces.iter().copied()) {
        let count = piece.len().min(LINE - 1 - length);
        line[length..length + count].copy_from_slice(&piece[..count]);
        length += count;
    }
    line[length] = b'\n';
    sys::write(STDERR, &line[..=length]);
}

/// The usual words for an errno.
pub(crate) fn describe(errno: Errno) -> &'static [u8] {
    match errno {
        ENOENT => b"No such file or directory",
        EACCES => b"Permission denied",
        EPERM => b"Operation not permitted",
        ENOEXEC | ELIBBAD => b"Exec format error",
        ENOTDIR => b"Not a directory",
        ENOMEM => b"Cannot allocate memory",
        EBUSY => b"Device or resource busy",
        EMFILE => b"Too many open files",
        EAGAIN => b"Resource temporarily unavailable",
        EINVAL => b"Invalid argument",
        EIO => b"Input/output error",
        ENAMETOOLONG => b"File name too long",
        ENOSYS => b"Function not implemented",
        ENOTCONN | EPIPE | ECONNRESET => b"it ended without an answer",
        _ => b"an unexpected error",
    }
}
