//! Decides which store paths there are, what lies in each and which need which, from the unpacked packages alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::closure::Archive;
use super::layout::{link_target, store_place, upstream_version};
use super::{DebSets, Site, rivals};
use crate::elf::{self, Dynamic};
use crate::recipe::Label;
use crate::{Package, Recipe};

/// A folder whose files go into a store path.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Tree {
    /// Its name below the folder of unpacked packages.
    pub(super) name: String,
    /// A private folder whose files go to `lib/`.
    pub(super) promote: Option<String>,
    /// Whether interpreters and search paths are rewritten; glibc's own files are left alone.
    pub(super) patch: bool,
}

/// One store path to be.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Its name in the expression.
    pub(super) id: String,
    /// The name part of its store path.
    pub(super) name: String,
    /// How the index knows it; `store_path` is filled in later.
    pub(super) package: Package,
    pub(super) trees: Vec<Tree>,
    /// The other store paths that it needs, as positions in the plan.
    pub(super) needs: BTreeSet<usize>,
    /// Where sonames that it needs from others are: position and folder below that store path.
    pub(super) found: BTreeMap<String, (usize, PathBuf)>,
}

/// Everything to build.
pub(super) struct Plan {
    pub(super) packages: Vec<Planned>,
    pub(super) glibc: usize,
    pub(super) system: Vec<Tree>,
    /// Changes when the contents of any tree may have.
    pub(super) fingerprints: HashMap<String, String>,
}

/// What lies in a planned store path.
#[derive(Default)]
struct Contents {
    files: BTreeSet<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
    objects: Vec<(PathBuf, Dynamic)>,
}

pub(super) fn plan(site: &Site, recipe: &Recipe, archive: &Archive, sets: &DebSets) -> Result<Plan> {
    let unpacked = site.path("stage/unpacked");
    let mut groups: BTreeMap<Label, Vec<String>> = BTreeMap::new();
    for deb in sets.provide.iter().chain(&sets.dev) {
        groups.entry(recipe.names.label(deb)).or_default().push(deb.clone());
    }
    let mut packages = Vec::new();
    let mut contents = Vec::new();
    for (label, debs) in groups {
        let trees: Vec<Tree> = debs.iter().map(|deb| tree(deb, recipe)).collect();
        let inside = scan(&unpacked, &trees)?;
        if label.output != "dev" && inside.objects.is_empty() {
            continue; // data, documentation, an empty transition package
        }
        let version = upstream_version(&archive.deb(&debs[0])?.version);
        let mut name = format!("{}-{version}", recipe.names.pname(&label.attr));
        if label.output != "out" {
            name = format!("{name}-{}", label.output);
        }
        packages.push(planned(packages.len(), name, &label, true, None, trees));
        contents.push(inside);
    }
    let right = packages.len();
    for rival in &recipe.rivals {
        let label = Label { attr: rival.attr.clone(), output: "out".to_owned() };
        let trees = vec![Tree { name: rivals::tree_name(rival), promote: None, patch: true }];
        contents.push(scan(&unpacked, &trees)?);
        let why = Some(rival.why.clone());
        packages.push(planned(packages.len(), rival.name.clone(), &label, rival.toplevel, why, trees));
    }
    connect(&mut packages, &contents, right)?;
    refuse_cycles(&packages)?;

    let glibc = packages.iter().position(|planned| planned.package.attr == "glibc");
    let glibc = glibc.context("the plan has no glibc: recipe/names.toml must call libc6 `glibc`")?;
    let system = sets.system.iter().map(|deb| tree(deb, recipe)).collect();
    Ok(Plan { packages, glibc, system, fingerprints: fingerprints(archive, recipe, sets)? })
}

fn planned(
    position: usize,
    name: String,
    label: &Label,
    toplevel: bool,
    rival: Option<String>,
    trees: Vec<Tree>,
) -> Planned {
    let package = Package {
        attr: label.attr.clone(),
        output: label.output.clone(),
        toplevel,
        store_path: String::new(),
        rival,
        libraries: Vec::new(),
    };
    let id = format!("p{position}");
    Planned { id, name, package, trees, needs: BTreeSet::new(), found: BTreeMap::new() }
}

fn tree(deb: &str, recipe: &Recipe) -> Tree {
    Tree { name: deb.to_owned(), promote: recipe.packages.promote.get(deb).cloned(), patch: deb != "libc6" }
}

fn scan(unpacked: &Path, trees: &[Tree]) -> Result<Contents> {
    let mut contents = Contents::default();
    for tree in trees {
        let base = unpacked.join(&tree.name);
        for entry in WalkDir::new(&base) {
            let entry = entry.with_context(|| format!("walking {}", base.display()))?;
            let relative = entry.path().strip_prefix(&base).unwrap_or(entry.path());
            let Some(place) = store_place(relative, tree.promote.as_deref()) else { continue };
            if entry.file_type().is_file() {
                if let Some(dynamic) = elf::read(entry.path())? {
                    contents.objects.push((place.clone(), dynamic));
                }
                contents.files.insert(place);
            } else if entry.file_type().is_symlink() {
                let text = std::fs::read_link(entry.path())
                    .with_context(|| format!("reading the link {}", entry.path().display()))?;
                let target = link_target(relative, &text);
                if let Some(target) = store_place(&target, tree.promote.as_deref()) {
                    contents.links.push((place, target));
                }
            }
        }
    }
    Ok(contents)
}

/// Finds for every needed soname and every link that leads elsewhere the package that has it. Only the first `right`
/// packages may be found: rivals are there to be passed over.
fn connect(packages: &mut [Planned], contents: &[Contents], right: usize) -> Result<()> {
    let mut places: HashMap<&Path, usize> = HashMap::new();
    let mut sonames: HashMap<&str, (usize, &Path)> = HashMap::new();
    let dev = |position: usize| packages[position].package.output == "dev";
    for (position, inside) in contents.iter().enumerate().take(right).filter(|(position, _)| !dev(*position))
    {
        let linked = inside.links.iter().map(|(place, _)| place);
        for place in inside.files.iter().chain(linked) {
            places.entry(place).or_insert(position);
            let (Some(folder), Some(name)) =
                (place.parent(), place.file_name().and_then(|name| name.to_str()))
            else {
                continue;
            };
            if !place.starts_with("lib") || !name.contains(".so") {
                continue;
            }
            let public = folder == Path::new("lib");
            let known = sonames.get(name).is_some_and(|(_, other)| *other == Path::new("lib") || !public);
            if !known {
                sonames.insert(name, (position, folder));
            }
        }
    }
    let mut missing = Vec::new();
    for (position, inside) in contents.iter().enumerate() {
        let own: BTreeSet<&std::ffi::OsStr> = inside
            .files
            .iter()
            .chain(inside.links.iter().map(|(place, _)| place))
            .filter_map(|place| place.file_name())
            .collect();
        let planned = &mut packages[position];
        for (place, target) in &inside.links {
            if place == target
                || !(inside.files.contains(target) || inside.links.iter().any(|(other, _)| other == target))
            {
                planned.needs.extend(places.get(target.as_path()).filter(|other| **other != position));
            }
        }
        let patched = planned.trees.iter().any(|tree| tree.patch);
        for (place, dynamic) in &inside.objects {
            if dynamic.is_library {
                let soname = dynamic.soname.clone().unwrap_or_default();
                planned.package.libraries.push((place.display().to_string(), soname));
            }
            for needed in
                dynamic.needed.iter().filter(|needed| patched && !own.contains(std::ffi::OsStr::new(needed)))
            {
                match sonames.get(needed.as_str()) {
                    Some((other, folder)) => {
                        planned.needs.insert(*other);
                        planned.found.insert(needed.clone(), (*other, folder.to_path_buf()));
                    }
                    None => missing.push(format!("{} ({}) needs {needed}", planned.name, place.display())),
                }
            }
        }
    }
    if !missing.is_empty() {
        missing.sort();
        missing.dedup();
        bail!(
            "no planned package has what others need; mend recipe/packages.toml:\n  {}",
            missing.join("\n  ")
        );
    }
    Ok(())
}

/// Nix cannot build what needs itself.
fn refuse_cycles(packages: &[Planned]) -> Result<()> {
    let mut graph: DiGraphMap<usize, ()> = DiGraphMap::new();
    for (position, planned) in packages.iter().enumerate() {
        graph.add_node(position);
        for other in &planned.needs {
            graph.add_edge(position, *other, ());
        }
    }
    if let Some(cycle) = tarjan_scc(&graph).into_iter().find(|group| group.len() > 1) {
        let names: Vec<&str> = cycle.iter().map(|position| packages[*position].name.as_str()).collect();
        bail!(
            "these store paths need each other: {}; give their Debian packages names of their own in \
             recipe/names.toml",
            names.join(", ")
        );
    }
    Ok(())
}

fn fingerprints(archive: &Archive, recipe: &Recipe, sets: &DebSets) -> Result<HashMap<String, String>> {
    let mut fingerprints = HashMap::new();
    for deb in sets.provide.iter().chain(&sets.dev).chain(&sets.system) {
        fingerprints.insert(deb.clone(), archive.deb(deb)?.sha256.clone());
    }
    for rival in &recipe.rivals {
        fingerprints.insert(rivals::tree_name(rival), rivals::fingerprint(rival)?);
    }
    Ok(fingerprints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(position: usize, name: &str, output: &str) -> Planned {
        let label = Label { attr: name.to_owned(), output: output.to_owned() };
        let trees = vec![Tree { name: name.to_owned(), promote: None, patch: true }];
        planned(position, name.to_owned(), &label, true, None, trees)
    }

    fn object(place: &str, needed: &[&str]) -> Contents {
        let place = PathBuf::from(place);
        let dynamic = Dynamic {
            needed: needed.iter().map(|name| name.to_string()).collect(),
            is_library: true,
            ..Dynamic::default()
        };
        Contents { files: BTreeSet::from([place.clone()]), links: vec![], objects: vec![(place, dynamic)] }
    }

    #[test]
    fn needs_are_found_in_lib_before_private_folders_and_never_in_rivals() {
        let mut packages = vec![
            package(0, "a", "out"),
            package(1, "private", "out"),
            package(2, "z", "out"),
            package(3, "rival", "out"),
        ];
        let contents = [
            object("lib/liba.so.1", &["libz.so.1"]),
            object("lib/private/libz.so.1", &[]),
            object("lib/libz.so.1", &[]),
            object("lib/libz.so.1", &[]),
        ];
        connect(&mut packages, &contents, 3).expect("all is there");
        assert_eq!(packages[0].needs, BTreeSet::from([2]));
        assert_eq!(packages[0].found["libz.so.1"], (2, PathBuf::from("lib")));
    }

    #[test]
    fn what_nobody_has_is_named_with_who_needs_it() {
        let mut packages = vec![package(0, "a", "out")];
        let error =
            connect(&mut packages, &[object("lib/liba.so.1", &["libq.so.9"])], 1).expect_err("missing");
        assert!(error.to_string().contains("a (lib/liba.so.1) needs libq.so.9"));
    }

    #[test]
    fn a_cycle_names_its_members() {
        let mut packages = vec![package(0, "a", "out"), package(1, "b", "out")];
        packages[0].needs.insert(1);
        packages[1].needs.insert(0);
        let error = refuse_cycles(&packages).expect_err("cycle").to_string();
        assert!(error.contains('a') && error.contains('b') && error.contains("names.toml"));
    }
}
