//! What this process was given and Rust's runtime changes before `main`, so that a program that we become, or start, gets
//! it as it was: the runtime ignores `SIGPIPE` and opens `/dev/null` in place of closed standard descriptors.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::signals;

static IGNORES_SIGPIPE: AtomicBool = AtomicBool::new(false);
/// A bit for each of the descriptors 0, 1 and 2.
static CLOSED: AtomicU8 = AtomicU8::new(0);

// SAFETY: the C library calls the functions of this section before `main`, one after the other; this one needs nothing
// that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: sigaction(2) writes the old action; zeroed is a valid one, should it fail.
    let action = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    IGNORES_SIGPIPE.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
    for descriptor in 0..3 {
        // SAFETY: no pointers.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << descriptor, Ordering::Relaxed);
        }
    }
}

/// Puts everything back, right before a program is executed: from here on nothing may be printed.
pub(crate) fn restore() -> io::Result<()> {
    signals::set_pipe(IGNORES_SIGPIPE.load(Ordering::Relaxed))?;
    for descriptor in 0..3 {
        if CLOSED.load(Ordering::Relaxed) & (1 << descriptor) != 0 {
            // SAFETY: the runtime opened it, and nobody owns it.
            unsafe { libc::close(descriptor) };
        }
    }
    Ok(())
}
