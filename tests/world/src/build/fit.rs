//! The builder of a store path: copies trees into `$out` in nixpkgs's layout and makes every ELF file find what it
//! needs in the store and nowhere else. Runs inside a Nix derivation, as `sonde-world fit`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::layout::{link_target, relative_link, store_place};
use super::site::run;
use crate::elf;

/// A builder's instructions, in the derivation's variable `spec`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Spec {
    pub(super) trees: Vec<FitTree>,
    /// Soname to the folder that has it, for what other store paths provide.
    pub(super) found: BTreeMap<String, String>,
    /// The other store paths, for links that lead into them.
    pub(super) roots: Vec<String>,
    /// The loader for executables; its own if absent.
    pub(super) interpreter: Option<String>,
    /// The top folders to take; all if empty.
    pub(super) only: Vec<String>,
    /// Additional links.
    pub(super) links: BTreeMap<String, String>,
}

/// See [`super::plan::Tree`].
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct FitTree {
    pub(super) path: PathBuf,
    pub(super) promote: Option<String>,
    pub(super) patch: bool,
    /// Not read: its change makes Nix build anew.
    pub(super) fingerprint: String,
}

/// Builds `$out` from `$spec`.
pub fn fit() -> Result<()> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("${name} is not set: this is for Nix to run"))
    };
    let spec: Spec = serde_json::from_str(&variable("spec")?).context("reading $spec")?;
    let out = PathBuf::from(variable("out")?);
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;

    let (objects, links) = copy_files(&spec, &out)?;
    make_links(&spec, &out, links)?;
    for (to, target) in &spec.links {
        symlink(target, out.join(to)).with_context(|| format!("linking {to}"))?;
    }
    let sonames = link_sonames(&out, &objects)?;
    let patchelf = variable("patchelf")?;
    objects
        .iter()
        .filter(|object| object.patch)
        .try_for_each(|object| patch(&spec, &out, object, &sonames, &patchelf))
}

struct Object {
    /// Below `$out`.
    place: PathBuf,
    dynamic: elf::Dynamic,
    patch: bool,
}

type Links = BTreeMap<PathBuf, PathBuf>;

fn copy_files(spec: &Spec, out: &Path) -> Result<(Vec<Object>, Links)> {
    let (mut objects, mut links) = (Vec::new(), Links::new());
    for tree in &spec.trees {
        for entry in WalkDir::new(&tree.path).sort_by_file_name() {
            let entry = entry.with_context(|| format!("walking {}", tree.path.display()))?;
            let relative = entry.path().strip_prefix(&tree.path).unwrap_or(entry.path());
            let Some(place) = store_place(relative, tree.promote.as_deref()) else { continue };
            if !spec.only.is_empty() && !spec.only.iter().any(|top| place.starts_with(top)) {
                continue;
            }
            let target = out.join(&place);
            if entry.file_type().is_symlink() {
                let text = fs::read_link(entry.path())
                    .with_context(|| format!("reading {}", entry.path().display()))?;
                if let Some(target) = store_place(&link_target(relative, &text), tree.promote.as_deref()) {
                    links.insert(place, target);
                }
            } else if entry.file_type().is_file() {
                if let Some(folder) = target.parent() {
                    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
                }
                let mode = entry.metadata().with_context(|| format!("reading {}", entry.path().display()))?;
                // No setuid in a store, and patchelf must be able to write.
                let mode = fs::Permissions::from_mode(mode.permissions().mode() & 0o777 | 0o200);
                fs::copy(entry.path(), &target)
                    .and_then(|_| fs::set_permissions(&target, mode))
                    .with_context(|| format!("copying {}", entry.path().display()))?;
                if let Some(dynamic) = elf::read(&target)? {
                    objects.push(Object { place, dynamic, patch: tree.patch });
                }
            }
        }
    }
    Ok((objects, links))
}

/// Links within the store path stay relative; links into another become absolute; the rest leads nowhere and goes.
fn make_links(spec: &Spec, out: &Path, links: Links) -> Result<()> {
    for (place, target) in &links {
        let inside = place != target && (links.contains_key(target) || out.join(target).exists());
        let text = if inside {
            relative_link(place, target)
        } else {
            let elsewhere = spec.roots.iter().map(|root| Path::new(root).join(target));
            match elsewhere.into_iter().find(|file| file.exists()) {
                Some(file) => file,
                None => continue,
            }
        };
        let at = out.join(place);
        if let Some(folder) = at.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        if fs::symlink_metadata(&at).is_err() {
            symlink(&text, &at).with_context(|| format!("linking {} to {}", at.display(), text.display()))?;
        }
    }
    Ok(())
}

/// Makes every library reachable by its soname, which in Debian ldconfig would do, and says where each name is.
fn link_sonames(out: &Path, objects: &[Object]) -> Result<BTreeMap<String, PathBuf>> {
    for object in objects {
        let Some(soname) = object.dynamic.soname.as_deref().filter(|soname| !soname.contains('/')) else {
            continue;
        };
        let at = out.join(object.place.with_file_name(soname));
        if object.place.starts_with("lib") && fs::symlink_metadata(&at).is_err() {
            let name = object.place.file_name().unwrap_or_default();
            symlink(name, &at).with_context(|| format!("linking {}", at.display()))?;
        }
    }
    let mut names = BTreeMap::new();
    let lib = out.join("lib");
    for entry in WalkDir::new(&lib).into_iter().flatten() {
        let Some(name) = entry.file_name().to_str().filter(|name| name.contains(".so")) else { continue };
        let folder = entry.path().parent().unwrap_or(&lib).to_owned();
        if folder == lib {
            names.insert(name.to_owned(), folder);
        } else {
            names.entry(name.to_owned()).or_insert(folder);
        }
    }
    Ok(names)
}

/// Sets the search path to exactly the folders of what the file needs, its own among them, and the loader.
fn patch(
    spec: &Spec,
    out: &Path,
    object: &Object,
    own: &BTreeMap<String, PathBuf>,
    patchelf: &str,
) -> Result<()> {
    let file = out.join(&object.place);
    let (mut folders, mut seen) = (Vec::new(), BTreeSet::new());
    for needed in &object.dynamic.needed {
        let sibling = file.with_file_name(needed);
        let folder = match (own.get(needed), spec.found.get(needed)) {
            (Some(_), _) if sibling.exists() => file.parent().unwrap_or(out).display().to_string(),
            (Some(folder), _) => folder.display().to_string(),
            (None, Some(folder)) => folder.clone(),
            (None, None) => bail!("{} needs {needed}, which nothing here has", object.place.display()),
        };
        if seen.insert(folder.clone()) {
            folders.push(folder);
        }
    }
    let mut command = Command::new(patchelf);
    let mut changes = false;
    if !folders.is_empty() {
        command.arg("--set-rpath").arg(folders.join(":"));
        changes = true;
    }
    if object.dynamic.interpreter.is_some() {
        let own = out.join("lib/ld-linux-x86-64.so.2").display().to_string();
        command.arg("--set-interpreter").arg(spec.interpreter.as_ref().unwrap_or(&own));
        changes = true;
    }
    if changes {
        run(command.arg(&file)).with_context(|| format!("patching {}", object.place.display()))?;
    }
    Ok(())
}
