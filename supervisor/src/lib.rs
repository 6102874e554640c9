//! Sonde runs foreign ELF programs on NixOS: it provides, at the moment of the failing open, the libraries that their
//! loader does not find.
//!
//! `docs/architecture.md` is the map. Dependencies point one way: `cli → doctor → serve → engine → pipeline → {plan, store,
//! report} → guest → rules → sys`. The binary is the only user of this library, and [`main`] its only door
//! (but for `fuzz/`, which has one of its own).

mod cli;
mod doctor;
mod engine;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod index;
mod pipeline;
mod plan;
mod report;
mod rules;
mod serve;
mod settings;
mod store;
mod sys;

pub use cli::main;
