//! The world that Sonde's tests run in: a NixOS-like root without a single FHS library, a signed binary cache and
//! a nix-index database of what could be provided, and foreign programs that cannot run there by themselves.
//!
//! Tests use [`World`] to find a built world and [`RootBuilder`] to run a command inside it; neither builds anything.
//! Building, entering and serving are behind the feature `tool`, which is the binary `sonde-world`.

mod location;
mod recipe;
mod root;
mod world;

#[cfg(feature = "tool")]
pub mod build;
#[cfg(feature = "tool")]
pub mod check;
#[cfg(feature = "tool")]
pub mod elf;
#[cfg(feature = "tool")]
pub mod enter;
#[cfg(feature = "serve")]
pub mod serve;

pub use location::{Size, home_of_worlds, world_folder};
pub use recipe::{Program, Recipe};
pub use root::{Daemon, RootBuilder};
pub use world::{Package, World};
