//! The recipe as data: what recipe/*.toml says, typed. The texts are compiled in, so that a library user far from
//! this folder still finds the world they belong to.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::Size;

const PACKAGES: &str = include_str!("../recipe/packages.toml");
const NAMES: &str = include_str!("../recipe/names.toml");
const RIVALS: &str = include_str!("../recipe/rivals.toml");
const PROGRAMS: &str = include_str!("../recipe/programs.toml");

/// The C sources that `rivals.toml` names.
const RIVAL_SOURCES: &[(&str, &str)] = &[
    ("rivals/zlib_lite.c", include_str!("../recipe/rivals/zlib_lite.c")),
    ("rivals/openssl_unversioned.c", include_str!("../recipe/rivals/openssl_unversioned.c")),
    ("rivals/curl_minimal.c", include_str!("../recipe/rivals/curl_minimal.c")),
    ("rivals/cuda_stub.c", include_str!("../recipe/rivals/cuda_stub.c")),
];

/// Every text that belongs to the recipe.
pub(crate) fn texts() -> Vec<&'static str> {
    let mut texts = vec![PACKAGES, NAMES, RIVALS, PROGRAMS];
    texts.extend(RIVAL_SOURCES.iter().map(|(_, text)| *text));
    texts
}

/// All recipe files, parsed.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// packages.toml
    pub packages: Packages,
    /// names.toml
    pub names: Names,
    /// rivals.toml
    pub rivals: Vec<Rival>,
    /// programs.toml
    pub programs: Vec<Program>,
}

/// Which Debian packages are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// The Debian release that the recipe was written for.
    pub release: String,
    /// Depends that are not followed.
    pub exclude: BTreeSet<String>,
    /// Debian package to the private folder whose files go to `lib/` itself.
    pub promote: BTreeMap<String, String>,
    /// The NixOS-like root's own programs.
    pub system: Debs,
    /// The FHS reference root's additions.
    pub fhs: Fhs,
    /// Provided in both sizes.
    pub small: Provide,
    /// Provided only in the whole world.
    pub whole: Provide,
    /// Development outputs.
    pub dev: Dev,
    /// The binary cache.
    pub cache: Cache,
}

/// A list of Debian packages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debs {
    /// Their names.
    pub debs: Vec<String>,
}

/// The FHS reference root.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fhs {
    /// Debian packages that only it has.
    pub debs: Vec<String>,
    /// Library folders that Debian's alternatives would have made reachable.
    pub library_dirs: Vec<String>,
}

/// A list of Debian packages to provide, their closure included.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provide {
    /// Their names.
    pub provide: Vec<String>,
}

/// Debian packages that become `dev` outputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dev {
    small: Vec<String>,
    whole: Vec<String>,
}

/// How the binary cache is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Attributes (with `^output`) that are compressed with xz.
    pub xz: BTreeSet<String>,
}

/// What nixpkgs calls things.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    packages: BTreeMap<String, String>,
    pnames: BTreeMap<String, String>,
}

/// A worse provider of a soname.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rival {
    /// The store path's name.
    pub name: String,
    /// Its attribute.
    pub attr: String,
    /// What is wrong with it.
    pub why: String,
    /// Whether the index says that it is a top-level package.
    #[serde(default = "yes")]
    pub toplevel: bool,
    #[serde(default)]
    small: bool,
    /// Libraries to compile.
    #[serde(default)]
    pub library: Vec<RivalLibrary>,
    /// Right libraries to copy.
    #[serde(default)]
    pub copy: Vec<RivalCopy>,
    /// Links to right libraries.
    #[serde(default)]
    pub link: Vec<RivalLink>,
}

/// A library compiled from C.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RivalLibrary {
    /// Where it goes in the store path.
    pub path: String,
    /// The C file, relative to the recipe folder.
    pub source: String,
    /// Its DT_SONAME.
    pub soname: String,
    /// A linker version script, if its symbols have versions.
    pub versions: Option<String>,
}

/// A file taken from a provided package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RivalCopy {
    /// Where it goes in the store path.
    pub path: String,
    /// Which file.
    pub of: String,
    /// Of which attribute (with `^output`).
    pub from: String,
}

/// A link to the same path in a provided package.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RivalLink {
    /// Where it goes, and where it points to in the package.
    pub path: String,
    /// Which attribute (with `^output`).
    pub from: String,
}

/// A foreign program, how to run it inside the root and how to know that it ran.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its name, and its folder's below `/opt/programs`.
    pub name: String,
    #[serde(default)]
    small: bool,
    /// Debian packages that it is unpacked from.
    #[serde(default)]
    pub debs: Vec<String>,
    /// An npm package, `name@version`.
    pub npm: Option<String>,
    /// PyPI wheels, `name==version`.
    #[serde(default)]
    pub wheels: Vec<String>,
    /// The foreign executable, as a path inside the root.
    pub executable: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, on top of the root's default one.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What it reads from its standard input.
    #[serde(default)]
    pub stdin: String,
    /// A regular expression that its standard output matches.
    pub expect: String,
}

impl Program {
    /// The executable followed by its arguments.
    pub fn argv(&self) -> Vec<String> {
        std::iter::once(&self.executable).chain(&self.args).cloned().collect()
    }
}

fn yes() -> bool {
    true
}

impl Recipe {
    /// The recipe of a size.
    pub fn of(size: Size) -> Result<Recipe> {
        #[derive(Deserialize)]
        struct Rivals {
            rival: Vec<Rival>,
        }
        #[derive(Deserialize)]
        struct Programs {
            program: Vec<Program>,
        }
        let packages = toml::from_str(PACKAGES).context("reading recipe/packages.toml")?;
        let names = toml::from_str(NAMES).context("reading recipe/names.toml")?;
        let Rivals { rival: mut rivals } = toml::from_str(RIVALS).context("reading recipe/rivals.toml")?;
        let Programs { program: mut programs } =
            toml::from_str(PROGRAMS).context("reading recipe/programs.toml")?;
        if size == Size::Small {
            rivals.retain(|rival| rival.small);
            programs.retain(|program| program.small);
        }
        Ok(Recipe { packages, names, rivals, programs })
    }

    /// The Debian packages whose closure is provided, programs' own needs included.
    pub fn provide_roots(&self, size: Size) -> Vec<String> {
        let mut roots = self.packages.small.provide.clone();
        if size == Size::Whole {
            roots.extend(self.packages.whole.provide.iter().cloned());
        }
        roots.extend(self.program_debs());
        roots
    }

    /// The Debian packages that become `dev` outputs.
    pub fn dev_debs(&self, size: Size) -> Vec<String> {
        let more = if size == Size::Whole { self.packages.dev.whole.as_slice() } else { &[] };
        self.packages.dev.small.iter().chain(more).cloned().collect()
    }

    /// The Debian packages that foreign programs are unpacked from; they are never provided.
    pub fn program_debs(&self) -> Vec<String> {
        self.programs.iter().flat_map(|program| program.debs.clone()).collect()
    }

    /// The C source that a rival names.
    pub fn rival_source(name: &str) -> Result<&'static str> {
        let found = RIVAL_SOURCES.iter().find(|(path, _)| *path == name);
        found.map(|(_, text)| *text).with_context(|| {
            format!("recipe/rivals.toml names {name}, which src/recipe.rs does not include: add it to RIVAL_SOURCES")
        })
    }
}

/// What a store path is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// nixpkgs's attribute.
    pub attr: String,
    /// The output.
    pub output: String,
}

impl Label {
    /// Reads `attr` or `attr^output`.
    pub fn parse(text: &str) -> Label {
        let (attr, output) = text.split_once('^').unwrap_or((text, "out"));
        Label { attr: attr.to_owned(), output: output.to_owned() }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.output.as_str() {
            "out" => f.write_str(&self.attr),
            output => write!(f, "{}^{output}", self.attr),
        }
    }
}

impl Names {
    /// The attribute and output of a Debian package.
    pub fn label(&self, deb: &str) -> Label {
        match self.packages.get(deb) {
            Some(text) => Label::parse(text),
            None => Label { attr: deb.replace(['.', '+'], "_"), output: "out".to_owned() },
        }
    }

    /// The name part of the store path: `zlib`, `gcc`, `openssl`.
    pub fn pname<'a>(&'a self, attr: &'a str) -> &'a str {
        match self.pnames.get(attr) {
            Some(name) => name,
            None => attr.rsplit('.').next().unwrap_or(attr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_parses_in_both_sizes() {
        let small = Recipe::of(Size::Small).expect("small recipe");
        let whole = Recipe::of(Size::Whole).expect("whole recipe");
        assert!(small.programs.len() < whole.programs.len());
        assert!(small.rivals.iter().all(|rival| rival.small));
        for rival in &whole.rivals {
            for library in &rival.library {
                Recipe::rival_source(&library.source).expect("the source is compiled in");
            }
        }
    }

    #[test]
    fn debian_names_become_nixpkgs_names() {
        let names = Recipe::of(Size::Whole).expect("recipe").names;
        assert_eq!(names.label("libx11-6").to_string(), "xorg.libX11");
        assert_eq!(names.label("libgcc-s1").to_string(), "stdenv.cc.cc^lib");
        assert_eq!(names.label("libunheard-of1.2").attr, "libunheard-of1_2");
        assert_eq!(names.pname("stdenv.cc.cc"), "gcc");
        assert_eq!(names.pname("xorg.libX11"), "libX11");
    }
}
