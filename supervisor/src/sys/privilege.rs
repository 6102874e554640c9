//! Privileges that a caller does not have: does executing a file give them, and has it given them to us?
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Set-user-id, set-group-id (inode(7): with group execute only) or file capabilities (capabilities(7)).
pub(crate) fn raised_by(path: &Path, metadata: &Metadata) -> bool {
    let mode = metadata.mode();
    mode & libc::S_ISUID != 0
        || mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP
        || has_capabilities(path)
}

/// Has this process privileges that whoever started it has not (`AT_SECURE`, getauxval(3))?
pub(crate) fn is_raised() -> bool {
    // SAFETY: it only reads what the kernel passed to this process, and may be called at any time.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end with NUL; with size 0 nothing is written.
    let size =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}
