//! Does executing a file give privileges that its caller does not have?
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

fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end with NUL; with size 0 nothing is written.
    let size =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    size > 0
}
