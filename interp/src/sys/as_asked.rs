//! The calls that a loader makes, made for it as it asks: nothing is made again, and errors stay what they are.

use core::ffi::{CStr, c_char};

use linux_raw_sys::general::{__NR_newfstatat, __NR_open, __NR_openat, AT_FDCWD};

use crate::arch::syscall;

/// Opens a path as the loader wants it; the result is the kernel's, errors as `-errno`.
pub(crate) fn open_raw(path: &CStr, flags: u32, mode: u32) -> isize {
    let arguments = [AT_FDCWD as usize, path.as_ptr() as usize, flags as usize, mode as usize, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read.
    unsafe { syscall(__NR_openat, arguments) }
}

/// The same by open(2), as loaders before glibc 2.26 make it.
pub(crate) fn open_by_path(path: &CStr, flags: u32, mode: u32) -> isize {
    let arguments = [path.as_ptr() as usize, flags as usize, mode as usize, 0, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read.
    unsafe { syscall(__NR_open, arguments) }
}

/// Looks at a file as the loader wants it (fstatat(2)); the result is the kernel's, errors as `-errno`.
///
/// # Safety
/// `path` must be null or a path with its NUL; the kernel must be allowed to write a `struct stat` to `status`.
pub(crate) unsafe fn look(folder: i32, path: *const c_char, status: usize, flags: u32) -> isize {
    // SAFETY: the caller's.
    unsafe { syscall(__NR_newfstatat, [folder as usize, path as usize, status, flags as usize, 0, 0]) }
}
