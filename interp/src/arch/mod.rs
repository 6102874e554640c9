//! What differs between processors: the entry point, the jump to the loader, raw system calls.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the shim exists for x86-64 only, so far");
