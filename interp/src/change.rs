//! Changes a loader that is mapped and does not run yet: where it makes a system call it jumps into the shim instead.

use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};

use linux_raw_sys::errno::{EADDRNOTAVAIL, EINVAL};
use linux_raw_sys::general::{PROT_EXEC, PROT_READ, PROT_WRITE};
use sonde_interp::elf::{Image, PAGE, Segment};
use sonde_interp::site::{self, Replaced, Sites};

use crate::arch;
use crate::map::Loader;
use crate::sys::{self, Errno};

/// Writes the jumps; returns where the loader opens files, and how.
pub(crate) fn change(image: &Image<'_>, loader: &Loader, sites: Sites) -> Result<(u64, Replaced), Errno> {
    if sites.look != 0 {
        change_at(image, loader, sites.look, |replaced| match replaced {
            Replaced::Newfstatat => Some((arch::look as *const () as u64, &arch::BACK_FROM_LOOK)),
            _ => None,
        })?;
    }
    change_at(image, loader, sites.open, |replaced| match replaced {
        Replaced::Folder => Some((arch::open_without_folder as *const () as u64, &arch::BACK_FROM_OPEN)),
        Replaced::Openat => Some((arch::open_without_number as *const () as u64, &arch::BACK_FROM_OPEN)),
        Replaced::Open => Some((arch::open_by_path as *const () as u64, &arch::BACK_FROM_OPEN)),
        Replaced::Newfstatat => None,
    })
}

/// Writes one; `target` says where it leads, and who wants to know where that leads back to.
fn change_at(
    image: &Image<'_>,
    loader: &Loader,
    at: u32,
    target: fn(Replaced) -> Option<(u64, &'static AtomicUsize)>,
) -> Result<(u64, Replaced), Errno> {
    let (at, length) = (u64::from(at), site::LENGTH as u64);
    let is_code = |segment: &Segment| {
        segment.execute && segment.address <= at && at + length <= segment.address + segment.file_size
    };
    if !image.segments().any(|segment| is_code(&segment)) {
        return Err(EINVAL);
    }
    let address = at.wrapping_add(loader.bias);
    // SAFETY: these bytes lie in a segment that was mapped from the file; they are only read.
    let found = unsafe { slice::from_raw_parts(address as *const u8, site::LENGTH) };
    let replaced = Replaced::at(found).ok_or(EINVAL)?;
    let (target, back) = target(replaced).ok_or(EINVAL)?;
    let jump = site::jump(address, target).ok_or(EADDRNOTAVAIL)?;
    back.store((address + length) as usize, Ordering::Relaxed);
    let page = address & !(PAGE - 1);
    let pages = (address + length).next_multiple_of(PAGE) - page;
    // SAFETY: the loader does not run yet, and nobody refers to its bytes. If it cannot be made executable again it never
    // will: the caller unmaps it.
    unsafe {
        sys::protect(page, pages, PROT_READ | PROT_WRITE)?;
        slice::from_raw_parts_mut(address as *mut u8, site::JUMP).copy_from_slice(&jump);
        sys::protect(page, pages, PROT_READ | PROT_EXEC)?;
    }
    Ok((address, replaced))
}
