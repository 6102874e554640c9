//! Debian's own metadata, and which packages a set of packages needs.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the archive says about one binary package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deb {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) sha256: String,
    depends: Vec<Vec<String>>,
}

impl Deb {
    /// The name that `apt-get download` gives the file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

/// The archive's packages by name, and who provides which virtual one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    debs: BTreeMap<String, Deb>,
    providers: BTreeMap<String, Vec<String>>,
}

impl Archive {
    /// Asks apt.
    pub(crate) fn read() -> Result<Archive> {
        let output =
            Command::new("apt-cache").arg("dumpavail").output().context("running apt-cache dumpavail")?;
        if !output.status.success() || output.stdout.is_empty() {
            bail!("apt-cache dumpavail says nothing: run `apt-get update`");
        }
        Ok(Archive::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(text: &str) -> Archive {
        let mut archive = Archive::default();
        for paragraph in text.split("\n\n") {
            let mut deb = Deb::default();
            let mut provides = "";
            // Continuation lines begin with a blank; no field that matters here has any.
            for (field, value) in paragraph.lines().filter_map(|line| line.split_once(": ")) {
                match field {
                    "Package" => deb.name = value.to_owned(),
                    "Version" => deb.version = value.to_owned(),
                    "Architecture" => deb.architecture = value.to_owned(),
                    "SHA256" => deb.sha256 = value.to_owned(),
                    "Depends" | "Pre-Depends" => deb.depends.extend(relations(value)),
                    "Provides" => provides = value,
                    _ => {}
                }
            }
            if deb.name.is_empty() || !matches!(deb.architecture.as_str(), "amd64" | "all") {
                continue;
            }
            for name in relations(provides).into_iter().flatten() {
                archive.providers.entry(name).or_default().push(deb.name.clone());
            }
            archive.debs.insert(deb.name.clone(), deb);
        }
        archive
    }

    /// One package.
    pub(crate) fn deb(&self, name: &str) -> Result<&Deb> {
        self.debs.get(name).with_context(|| {
            format!("Debian has no package {name} here: run `apt-get update`, or mend recipe/packages.toml")
        })
    }

    /// The packages and everything they depend on: first alternatives, `exclude` left out.
    pub(crate) fn closure(&self, roots: &[String], exclude: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut open: Vec<String> = roots.to_vec();
        while let Some(name) = open.pop() {
            if exclude.contains(&name) || found.contains(&name) {
                continue;
            }
            for alternatives in &self.deb(&name)?.depends {
                if alternatives.iter().any(|other| exclude.contains(other)) {
                    continue;
                }
                open.extend(alternatives.iter().find_map(|other| self.real(other)));
            }
            found.insert(name);
        }
        Ok(found)
    }

    fn real(&self, name: &str) -> Option<String> {
        if self.debs.contains_key(name) {
            return Some(name.to_owned());
        }
        self.providers.get(name)?.first().cloned()
    }
}

/// `a (>= 1) | b:any, c` as [[a, b], [c]].
fn relations(field: &str) -> Vec<Vec<String>> {
    let name = |text: &str| {
        let end = text.find([' ', '(', ':', '[']).unwrap_or(text.len());
        text[..end].to_owned()
    };
    field
        .split(',')
        .map(|group| group.split('|').map(|text| name(text.trim())).filter(|name| !name.is_empty()).collect())
        .filter(|group: &Vec<String>| !group.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVAILABLE: &str = "\
Package: app
Version: 1:2.0-1
Architecture: amd64
Depends: liba (>= 1), libmissing | libb:any, data
Description: text
 with: colons

Package: liba
Version: 1
Architecture: amd64
Pre-Depends: libc

Package: libb
Version: 1
Architecture: amd64
Depends: awk

Package: data
Version: 1
Architecture: all
Depends: perl

Package: mawk
Version: 1
Architecture: amd64
Provides: awk

Package: libc
Version: 1
Architecture: amd64

Package: libc
Version: 2
Architecture: i386
";

    #[test]
    fn a_closure_follows_alternatives_and_virtual_packages_but_not_exclusions() {
        let archive = Archive::parse(AVAILABLE);
        let exclude = BTreeSet::from(["data".to_owned()]);
        let closure = archive.closure(&["app".to_owned()], &exclude).expect("closure");
        assert_eq!(closure.into_iter().collect::<Vec<_>>(), ["app", "liba", "libb", "libc", "mawk"]);
    }

    #[test]
    fn an_unknown_root_is_an_error_with_a_way_out() {
        let error =
            Archive::parse(AVAILABLE).closure(&["nope".to_owned()], &BTreeSet::new()).expect_err("unknown");
        assert!(error.to_string().contains("nope") && error.to_string().contains("apt-get update"));
    }

    #[test]
    fn the_file_name_is_apts() {
        let archive = Archive::parse(AVAILABLE);
        assert_eq!(archive.deb("app").expect("app").file_name(), "app_1%3a2.0-1_amd64.deb");
    }
}
