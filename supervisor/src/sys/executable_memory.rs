//! Whether memory that was written may be made executable (mprotect(2)): forbidden by `MemoryDenyWriteExecute=`
//! (systemd.exec(5)), `PR_SET_MDWE` (prctl(2), Linux 6.3) and SELinux's `execmem`.
#![allow(unsafe_code)]

use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Tries it with a page of its own.
pub(crate) fn may_be_made() -> bool {
    let (Some(length), writable) = (NonZeroUsize::new(4096), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    else {
        return false;
    };
    // SAFETY: a mapping anywhere replaces nothing.
    let Ok(page) = (unsafe { mmap_anonymous(None, length, writable, MapFlags::MAP_PRIVATE) }) else {
        return false;
    };
    // SAFETY: nobody else knows of the page, and nothing in it is ever run.
    let made = unsafe {
        page.cast::<u8>().write(0);
        let made = mprotect(page, length.get(), ProtFlags::PROT_READ | ProtFlags::PROT_EXEC);
        let _ = munmap(page, length.get());
        made
    };
    made.is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn here_it_may() {
        assert!(super::may_be_made());
    }
}
