//! Where a world lies: a folder named by a hash of everything that decides its contents, so that a changed recipe
//! gets a new world and an unchanged one is found again.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::recipe;

/// How much of the recipe a world holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// curl, hello and what they need.
    Small,
    /// Everything.
    Whole,
}

/// The sources that decide what is built. What only enters, serves or reports is not among them.
const SOURCES: &[&str] = &[
    include_str!("build/cache.rs"),
    include_str!("build/closure.rs"),
    include_str!("build/debs.rs"),
    include_str!("build/expression.rs"),
    include_str!("build/fhs.rs"),
    include_str!("build/fit.rs"),
    include_str!("build/index.rs"),
    include_str!("build/layout.rs"),
    include_str!("build/live_store.rs"),
    include_str!("build/plan.rs"),
    include_str!("build/programs.rs"),
    include_str!("build/rivals.rs"),
    include_str!("build/skeleton.rs"),
    include_str!("../index-writer/src/main.rs"),
];

/// The folder that holds all worlds and their downloads.
pub fn home_of_worlds() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("SONDE_WORLD_DIR") {
        return Ok(PathBuf::from(dir));
    }
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            let home =
                std::env::var_os("HOME").context("neither SONDE_WORLD_DIR nor HOME is set: set one")?;
            PathBuf::from(home).join(".cache")
        }
    };
    Ok(cache.join("sonde-world"))
}

/// The folder of the world of this recipe and size, built or not.
pub fn world_folder(size: Size) -> Result<PathBuf> {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(home_of_worlds()?.join(key(&recipe::texts(), SOURCES, codename(&os_release), size)))
}

fn codename(os_release: &str) -> &str {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.unwrap_or("unknown").trim_matches('"')
}

fn key(recipe: &[&str], sources: &[&str], codename: &str, size: Size) -> String {
    let mut hash = Sha256::new();
    for text in recipe.iter().chain(sources).chain([&codename]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let hex: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    match size {
        Size::Whole => hex,
        Size::Small => format!("{hex}-small"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_changes_with_every_ingredient() {
        let base = key(&["a", "b"], &["c"], "bookworm", Size::Whole);
        assert_eq!(base, key(&["a", "b"], &["c"], "bookworm", Size::Whole));
        assert_ne!(
            base,
            key(&["ab", ""], &["c"], "bookworm", Size::Whole),
            "texts must not run into each other"
        );
        assert_ne!(base, key(&["a", "b"], &["d"], "bookworm", Size::Whole));
        assert_ne!(base, key(&["a", "b"], &["c"], "trixie", Size::Whole));
        assert_eq!(format!("{base}-small"), key(&["a", "b"], &["c"], "bookworm", Size::Small));
    }

    #[test]
    fn the_codename_is_read_with_and_without_quotes() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), "bookworm");
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n"), "trixie");
        assert_eq!(codename(""), "unknown");
    }
}
