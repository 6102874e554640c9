//! Building the world, stage by stage. Each stage makes one folder or file of the world under a temporary name and
//! renames it when done, so that an interrupted build goes on where it stopped.

mod cache;
mod closure;
mod debs;
mod expression;
mod fhs;
mod fit;
mod host;
mod index;
mod layout;
mod live_store;
mod plan;
mod programs;
mod rivals;
mod site;
mod skeleton;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{Recipe, Size, World, world_folder};

pub use fit::fit;
use site::{Site, run};

/// Builds what is missing of the world and returns its folder.
pub fn build(size: Size) -> Result<PathBuf> {
    let folder = world_folder(size)?;
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let site = Site::open(folder, size)?;
    let _lock = site::lock(&crate::home_of_worlds()?)?;
    site.install_tool()?;
    if site.path(crate::world::COMPLETE).exists() {
        return Ok(site.folder().to_owned());
    }

    let recipe = Recipe::of(size)?;
    host::check(&recipe.packages.release)?;
    // The nix-index crate takes minutes to compile: start now, collect when the store paths are known.
    let writer = index::compile_writer(&site)?;
    let (archive, sets) = match debian_packages(&site, &recipe) {
        Err(error) if nix::unistd::geteuid().is_root() => {
            site.say(&format!("refreshing apt's lists, because of: {error:#}"));
            run(Command::new("apt-get").args(["update", "-qq"])).context("updating apt's lists")?;
            debian_packages(&site, &recipe)?
        }
        result => result?,
    };

    std::thread::scope(|scope| -> Result<()> {
        let aside = scope.spawn(|| -> Result<()> {
            fhs::build(&site, &recipe, &sets.all())?;
            programs::build(&site, &recipe)?;
            skeleton::build(&site)
        });
        let store = build_store(&site, &recipe, &archive, &sets, writer);
        let aside =
            aside.join().unwrap_or_else(|_| bail!("the thread that builds the reference root panicked"));
        store.and(aside)
    })?;
    fs::write(site.path(crate::world::COMPLETE), "").context("marking the world as complete")?;
    site.say("done");
    Ok(site.folder().to_owned())
}

/// Removes the worlds of other recipes, finished or not; downloads stay.
pub fn prune() -> Result<()> {
    let home = crate::home_of_worlds()?;
    let keep = [world_folder(Size::Small)?, world_folder(Size::Whole)?];
    let _lock = site::lock(&home)?;
    for entry in fs::read_dir(&home).with_context(|| format!("reading {}", home.display()))? {
        let path = entry.with_context(|| format!("reading {}", home.display()))?.path();
        if path.join("stage").is_dir() && !keep.contains(&path) {
            eprintln!("world: removing {}", path.display());
            crate::enter::remove_tree(&path)?;
        }
    }
    Ok(())
}

fn debian_packages(site: &Site, recipe: &Recipe) -> Result<(closure::Archive, DebSets)> {
    let archive = closure::Archive::read()?;
    let sets = DebSets::of(recipe, &archive, site.size)?;
    debs::download_and_unpack(site, &archive, &sets.all())?;
    Ok((archive, sets))
}

fn build_store(
    site: &Site,
    recipe: &Recipe,
    archive: &closure::Archive,
    sets: &DebSets,
    writer: index::Writer,
) -> Result<()> {
    if !site.path("packages.json").exists() {
        site.say("planning store paths");
        rivals::build(site, recipe)?;
        let plan = plan::plan(site, recipe, archive, sets)?;
        expression::build(site, recipe, &plan)?;
    }
    let world = World::unfinished(site.folder().to_owned(), site.size)?;
    let packages = world.packages()?;
    live_store::build(site, &world)?;
    cache::build(site, recipe, &packages)?;
    index::build(site, &packages, writer)
}

/// Which Debian packages are for what. They overlap.
pub(crate) struct DebSets {
    /// Libraries to provide: the closure of what is asked for and of the programs, without the programs.
    provide: BTreeSet<String>,
    /// Development files.
    dev: BTreeSet<String>,
    /// The root's own programs.
    system: BTreeSet<String>,
    /// The foreign programs and what only the reference root has.
    other: BTreeSet<String>,
}

impl DebSets {
    fn of(recipe: &Recipe, archive: &closure::Archive, size: Size) -> Result<DebSets> {
        let exclude = &recipe.packages.exclude;
        let programs: BTreeSet<String> = recipe.program_debs().into_iter().collect();
        let mut provide = archive.closure(&recipe.provide_roots(size), exclude)?;
        provide.retain(|deb| !programs.contains(deb));
        let other = programs.into_iter().chain(recipe.packages.fhs.debs.clone()).collect();
        Ok(DebSets {
            provide,
            dev: recipe.dev_debs(size).into_iter().collect(),
            system: archive.closure(&recipe.packages.system.debs, exclude)?,
            other,
        })
    }

    fn all(&self) -> BTreeSet<String> {
        [&self.provide, &self.dev, &self.system, &self.other].into_iter().flatten().cloned().collect()
    }
}
