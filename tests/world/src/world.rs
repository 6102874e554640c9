//! A built world, as its users see it: folders with fixed names, programs to run, packages that could be provided.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{Program, Size, world_folder};

/// The file whose presence says that a world is finished.
pub(crate) const COMPLETE: &str = "complete";

/// A store path of the binary cache and the index.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Package {
    /// The attribute that the index gives it.
    pub attr: String,
    /// The output that the index gives it.
    pub output: String,
    /// Whether the index calls it top-level.
    pub toplevel: bool,
    /// `/nix/store/…`
    pub store_path: String,
    /// What is wrong with it, if it is there to be avoided.
    pub rival: Option<String>,
    /// Shared libraries in it: path below the store path, and soname.
    pub libraries: Vec<(String, String)>,
}

/// A finished world.
#[derive(Clone, Debug)]
pub struct World {
    path: PathBuf,
    programs: Vec<Program>,
}

impl World {
    /// The whole world of this recipe, or an error that says how to build it.
    pub fn locate() -> Result<World> {
        World::locate_size(Size::Whole)
    }

    /// The world of this recipe and the given size.
    pub fn locate_size(size: Size) -> Result<World> {
        let path = world_folder(size)?;
        if !path.join(COMPLETE).exists() {
            bail!(
                "there is no finished test world at {}: run `make world` (or `sonde-world build{}`)",
                path.display(),
                if size == Size::Small { " --small" } else { "" }
            );
        }
        World::open(&path)
    }

    /// The finished world in a folder, whatever recipe it is of.
    pub fn open(path: &Path) -> Result<World> {
        let list = path.join("programs.json");
        let text = std::fs::read_to_string(&list).with_context(|| {
            format!("reading {}: is the world finished? run `make world`", list.display())
        })?;
        let programs = serde_json::from_str(&text).with_context(|| format!("parsing {}", list.display()))?;
        Ok(World { path: path.to_owned(), programs })
    }

    /// A world under construction, for the builder's own use.
    #[cfg(feature = "tool")]
    pub(crate) fn unfinished(path: PathBuf, size: Size) -> Result<World> {
        Ok(World { path, programs: crate::Recipe::of(size)?.programs })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The foreign programs.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// One of them.
    pub fn program(&self, name: &str) -> Result<&Program> {
        let found = self.programs.iter().find(|program| program.name == name);
        found.with_context(|| format!("the world has no program {name}: see recipe/programs.toml"))
    }

    /// Where a program lies on this machine; `/opt/programs/<name>` inside the root.
    pub fn program_dir(&self, name: &str) -> PathBuf {
        self.path.join("programs").join(name)
    }

    /// The store paths that the cache and the index hold, rivals included.
    pub fn packages(&self) -> Result<Vec<Package>> {
        let path = self.path.join("packages.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// The binary cache, to be served or used as `file://`.
    pub fn cache(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// The folder with the nix-index database `files`.
    pub fn index(&self) -> PathBuf {
        self.path.join("index")
    }

    /// The FHS reference root.
    pub fn fhs(&self) -> PathBuf {
        self.path.join("fhs")
    }

    /// The real store that the cache was made from: this machine's view of a `/nix/store/…` path.
    pub fn on_host(&self, store_path: &str) -> PathBuf {
        self.path.join("stage/nix").join(store_path.trim_start_matches("/nix/"))
    }

    /// The store path with the root's own programs.
    pub fn system_path(&self) -> Result<String> {
        self.line("system-path")
    }

    /// A folder of the system path, on this machine.
    pub fn on_system(&self, folder: &str) -> Result<PathBuf> {
        let system = self.system_path()?;
        Ok(self.path.join("store").join(system.trim_start_matches("/nix/store/")).join(folder))
    }

    /// The key that the cache is signed with, as nix.conf wants it.
    pub fn public_key(&self) -> Result<String> {
        self.line("cache-key.pub")
    }

    /// The world's own copy of this tool; always of the same recipe as the world.
    pub fn tool(&self) -> PathBuf {
        self.path.join("bin/sonde-world")
    }

    fn line(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("reading {}: is the world finished? run `make world`", path.display())
        })?;
        Ok(text.trim_end().to_owned())
    }
}
