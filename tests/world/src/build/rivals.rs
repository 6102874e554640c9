//! Makes the rivals' trees: libraries compiled from a few lines of C, copies of right ones at wrong places, links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::layout::store_place;
use super::site::{Site, run};
use crate::Recipe;
use crate::enter::remove_tree;
use crate::recipe::{Label, Rival, RivalLibrary};

/// The tree's name among the unpacked packages.
pub(super) fn tree_name(rival: &Rival) -> String {
    format!("rival-{}", rival.name)
}

/// Changes with the rival's recipe and sources.
pub(super) fn fingerprint(rival: &Rival) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{rival:?}"));
    for library in &rival.library {
        hash.update(Recipe::rival_source(&library.source)?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn build(site: &Site, recipe: &Recipe) -> Result<()> {
    for rival in &recipe.rivals {
        let tree = site.path("stage/unpacked").join(tree_name(rival));
        remove_tree(&tree)?;
        make(site, recipe, rival, &tree).with_context(|| format!("making the rival {}", rival.name))?;
    }
    Ok(())
}

fn make(site: &Site, recipe: &Recipe, rival: &Rival, tree: &Path) -> Result<()> {
    let target = |path: &str| -> Result<PathBuf> {
        let target = tree.join(path);
        let folder = target.parent().unwrap_or(tree);
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(target)
    };
    for library in &rival.library {
        compile(site, library, &target(&library.path)?)?;
    }
    for copy in &rival.copy {
        let source = right_file(site, recipe, &Label::parse(&copy.from), &copy.of)?;
        fs::copy(&source, target(&copy.path)?).with_context(|| format!("copying {}", source.display()))?;
    }
    for link in &rival.link {
        right_file(site, recipe, &Label::parse(&link.from), &link.path)?;
        // A link to its own place: the plan finds the package that really has it, the fitter writes the store path.
        symlink(Path::new("/").join(&link.path), target(&link.path)?).context("making a link")?;
    }
    Ok(())
}

fn compile(site: &Site, library: &RivalLibrary, output: &Path) -> Result<()> {
    let source = site.path("stage/rival.c");
    fs::write(&source, Recipe::rival_source(&library.source)?)
        .with_context(|| format!("writing {}", source.display()))?;
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wl,--build-id=none", "-Wl,-z,noseparate-code"]);
    cc.arg(format!("-Wl,-soname,{}", library.soname)).arg("-o").arg(output).arg(&source);
    if let Some(versions) = &library.versions {
        let script = site.path("stage/rival.map");
        fs::write(&script, versions).with_context(|| format!("writing {}", script.display()))?;
        cc.arg(format!("-Wl,--version-script,{}", script.display()));
    }
    run(&mut cc).with_context(|| format!("compiling {}", library.source)).map(drop)
}

/// Finds the file at a store place among the unpacked packages of a label.
fn right_file(site: &Site, recipe: &Recipe, label: &Label, place: &str) -> Result<PathBuf> {
    let unpacked = site.path("stage/unpacked");
    for entry in fs::read_dir(&unpacked).with_context(|| format!("reading {}", unpacked.display()))? {
        let entry = entry.with_context(|| format!("reading {}", unpacked.display()))?;
        let deb = entry.file_name().to_string_lossy().into_owned();
        if recipe.names.label(&deb) != *label || deb.starts_with("rival-") {
            continue;
        }
        for file in walkdir::WalkDir::new(entry.path()) {
            let file = file.with_context(|| format!("walking {}", entry.path().display()))?;
            let relative = file.path().strip_prefix(entry.path()).unwrap_or(file.path());
            if store_place(relative, None).as_deref() == Some(Path::new(place)) {
                return file
                    .path()
                    .canonicalize()
                    .with_context(|| format!("resolving {}", file.path().display()));
            }
        }
    }
    bail!("no Debian package called {label} has {place}: mend recipe/rivals.toml")
}
