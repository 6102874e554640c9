//! From ELF files and nix-index databases to the package that provides a soname.
//!
//! This crate is a leaf and pure: it knows no process, no network and no store. It reads the bytes, readers
//! and callbacks that it is handed and returns plain values, so all of it can be fuzzed and reused without a
//! supervisor. The modules are in the order in which a load passes them: [`elf`] says what a file needs,
//! [`bundle`] what a program and all that came with it need, [`index`] who has it, [`choose`] which of them it
//! should be (with [`lists`] of the names that need care), and [`ldcache`] writes the answer in the form that
//! glibc's loader reads.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod choose;
pub mod dlopen_note;
pub mod elf;
pub mod import;
pub mod index;
pub mod ldcache;
pub mod lists;
pub mod search;
