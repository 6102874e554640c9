//! Sonde's ELF interpreter: entry and panic handler. `launch` tells the story.
#![no_std]
#![no_main]

mod arch;
mod change;
mod executable;
mod inline;
mod launch;
mod map;
mod relocate;
mod say;
mod supervisor;
mod sys;
mod warm;

use linux_raw_sys::elf::Elf_Dyn;
use sonde_interp::sentence::Sentence;
use sonde_interp::stack::InitialStack;

/// Called by `_start` with the stack pointer at entry, our load address and our dynamic section.
///
/// # Safety
/// Only `_start` may call this, once.
unsafe extern "C" fn entry(top: *mut usize, base: usize, dynamic: *const Elf_Dyn) -> ! {
    // SAFETY: `_start` passes what the kernel and the linker gave; this is the first thing that happens.
    let stack = unsafe {
        relocate::relocate_self(base, dynamic);
        InitialStack::new(top)
    };
    launch::launch(stack)
}

/// Where this image is mapped.
fn own_base() -> usize {
    unsafe extern "C" {
        #[link_name = "__ehdr_start"]
        static HEADER: u8;
    }
    (&raw const HEADER) as usize
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    say::complain(&Sentence::Impossible.pieces());
    sys::exit(127)
}
