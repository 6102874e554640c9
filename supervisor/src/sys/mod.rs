//! The unsafe folder: raw system calls and everything else that the compiler cannot check, each behind a safe
//! function. Nothing outside of `sys` holds an `unsafe` block, a raw descriptor or a raw remote pointer.

pub(crate) mod aside;
pub(crate) mod bell;
pub(crate) mod capabilities;
pub(crate) mod child_bell;
pub(crate) mod executable_memory;
pub(crate) mod features;
pub(crate) mod ledger;
pub(crate) mod listen;
pub(crate) mod lock;
pub(crate) mod mapped_file;
pub(crate) mod notify;
pub(crate) mod original;
pub(crate) mod pidfd;
pub(crate) mod privilege;
pub(crate) mod process_vm;
pub(crate) mod ptrace;
pub(crate) mod reaped;
pub(crate) mod scm_rights;
pub(crate) mod seccomp_notify;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod whole_file;
