//! Proves that a world is what it says: no program runs in the bare root, every one runs in the reference root and
//! runs in the root once it is given every library, substitution works and is guarded, and every provided library
//! finds what it needs where its search path says.

mod libraries;
mod programs;
mod substitution;
mod transparency;

use anyhow::{Context, Result};

use crate::World;
use crate::serve::CacheServer;

pub use programs::as_expected;

/// Prints tables and says whether all is as it should be.
pub fn check(world: &World) -> Result<bool> {
    let packages = world.packages()?;
    let server = CacheServer::start(&world.cache(), 0)?;
    let libraries = libraries::check(world, &packages)?;
    let substitution = substitution::check(world, &packages, &server.url())?;
    let transparency = transparency::check(world)?;
    let state = tempfile::tempdir().context("creating a state folder")?;
    let programs = programs::check(world, &packages, state.path(), &server.url());
    // Nix leaves read-only folders, which an ordinary user's plain removal trips over.
    crate::enter::remove_tree(state.path())?;
    Ok(libraries && substitution && transparency && programs?)
}

/// A line of a table; returns `good`.
fn report(what: &str, good: bool, detail: &str) -> bool {
    println!("{:<62} {}", what, if good { "ok" } else { detail });
    good
}
