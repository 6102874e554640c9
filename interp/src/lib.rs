//! What the shim and the supervisor share, and the parts of the shim that can be tested on any host.
//!
//! The binary (`main.rs`) is the ELF interpreter itself: no libc, no allocation, no thread-local storage.
//! Everything in here keeps to the same rules, so that both sides compile the same definitions.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod command;
pub mod contents;
pub mod elf;
pub mod handoff;
pub mod plan;
pub mod sentence;
pub mod served;
pub mod site;
pub mod stack;
