//! The drivers of this machine: they must fit the kernel that runs, so no package's will do. They lie in folders that the
//! `[drivers]` section of `config.toml` names.
//!
//! The machine's file comes first; what the user's says replaces it.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sonde_resolve::index::is_shared_object_name;

use super::libraries::LibrariesError;
use crate::guest::remote::names;
use crate::index::Index;
use crate::settings::Settings;

const FILE: &str = "config.toml";

/// Where NixOS keeps the libraries of its graphics drivers (`hardware.graphics`, nixpkgs).
const FOLDER: &str = "/run/opengl-driver/lib";

/// The folders, of which the first that has a file counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drivers(Vec<PathBuf>);

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    drivers: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    folders: Option<Vec<PathBuf>>,
}

impl Default for Drivers {
    fn default() -> Self {
        Self(vec![FOLDER.into()])
    }
}

impl fmt::Display for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folders: Vec<_> = self.0.iter().map(|folder| folder.to_string_lossy()).collect();
        f.write_str(if folders.is_empty() { "a driver folder, of which none is configured" } else { "" })?;
        f.write_str(&folders.join(" or "))
    }
}

impl Drivers {
    /// Reads the files that there are.
    ///
    /// # Errors
    /// One of them cannot be read, is no TOML, or says what the section does not know.
    pub(crate) fn load(settings: &Settings) -> Result<Self, LibrariesError> {
        let mut drivers = Self::default();
        for (path, text) in settings.configured(FILE) {
            match text {
                Ok(text) => drivers.merge(&path, &text)?,
                Err(source) => return Err(LibrariesError::Read { path, source }),
            }
        }
        Ok(drivers)
    }

    fn merge(&mut self, path: &Path, text: &str) -> Result<(), LibrariesError> {
        let syntax = |error: toml::de::Error| LibrariesError::Syntax {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let Some(folders) = toml::from_str::<Configuration>(text).map_err(syntax)?.drivers.folders else {
            return Ok(());
        };
        if let Some(value) = folders.iter().find(|value| !value.is_absolute()).cloned() {
            return Err(LibrariesError::Relative { path: path.to_owned(), section: "drivers", value });
        }
        self.0 = folders;
        Ok(())
    }

    /// Where drivers are looked for, in order.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.0
    }

    /// Is it below one of the folders?
    pub(crate) fn have(&self, path: &Path) -> bool {
        self.0.iter().any(|folder| path.starts_with(folder))
    }

    /// The host's file for the longest of these paths, each relative to a folder `lib` or beginning with it.
    pub(crate) fn find(&self, paths: &[String]) -> Option<PathBuf> {
        let inside = |path: &String| {
            let path = path.strip_prefix("lib/").unwrap_or(path).to_owned();
            self.0.iter().map(move |folder| folder.join(&path))
        };
        paths.iter().flat_map(inside).find(|path| path.is_file())
    }

    /// The libraries in the folders themselves whose names are wanted, by name and path.
    pub(crate) fn libraries(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        for folder in &self.0 {
            let Some(at) = folder.to_str() else { continue };
            for name in names(folder).unwrap_or_default() {
                let is_library = is_shared_object_name(name.as_bytes()) && is_wanted(&name);
                if is_library && !all.iter().any(|(known, _)| *known == name) {
                    all.push((name.clone(), format!("{at}/{name}")));
                }
            }
        }
        all
    }
}

/// Do these folders answer for a name? For a driver's they alone do; for another one where no package has it and the lists
/// have nothing against it, such as `libdxcore.so` of WSL.
pub(crate) fn answer_for(index: &Index, soname: &str) -> bool {
    index.is_driver(soname) || (index.exclusion_of(soname).is_none() && index.choose(soname).is_none())
}

/// Opens a driver's file for the loader.
///
/// # Errors
/// It cannot be read, or is no file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drivers(text: &str) -> Result<Drivers, String> {
        let mut drivers = Drivers::default();
        let merged = drivers.merge(Path::new("/etc/config.toml"), text);
        merged.map(|()| drivers).map_err(|error| error.to_string())
    }

    #[test]
    fn the_longest_path_that_the_host_has_is_found() {
        let host = tempfile::tempdir().unwrap();
        let folders = ["first", "second"].map(|name| host.path().join(name));
        for file in ["first/libcuda.so.1", "second/libcuda.so.1", "second/dri/swrast_dri.so"] {
            let file = host.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let drivers = Drivers(folders.to_vec());
        let find = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            drivers.find(&paths)
        };
        let there = folders[1].join("dri/swrast_dri.so");
        assert_eq!(find(&["lib/dri/swrast_dri.so"]), Some(there.clone()));
        assert_eq!(
            find(&["lib/x/dri/swrast_dri.so", "x/dri/swrast_dri.so", "dri/swrast_dri.so"]),
            Some(there.clone())
        );
        assert_eq!(find(&["lib/dri/iris_dri.so", "lib/dri"]), None);
        let cuda = folders[0].join("libcuda.so.1");
        assert_eq!(find(&["libcuda.so.1"]), Some(cuda.clone()), "the first folder counts");
        let named = drivers.libraries(|name| name != "other.so");
        assert_eq!(named, [("libcuda.so.1".to_owned(), cuda.to_str().unwrap().to_owned())]);
        assert!(drivers.have(&there) && !drivers.have(host.path()));
    }

    #[test]
    fn what_is_configured_takes_the_place_of_the_default() {
        assert_eq!(drivers("[libraries]\npaths = []").unwrap(), Drivers::default());
        let named = drivers("[drivers]\nfolders = ['/usr/lib/wsl/lib']\n[other]\nx = 1").unwrap();
        assert_eq!(named.folders(), [Path::new("/usr/lib/wsl/lib")]);
        assert_eq!(drivers("[drivers]\nfolders = []").unwrap().folders(), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        let error = |text| drivers(text).unwrap_err();
        assert!(error("[drivers]\npaths = ['/a']").contains("unknown field `paths`"));
        let words = "/etc/config.toml: `a` in [drivers] must be an absolute path";
        assert_eq!(error("[drivers]\nfolders = ['a']"), words);
    }
}
