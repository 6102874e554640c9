//! Where libraries are that nobody has to look for, and the loader beside them: what the program's environment says, in
//! the variables of nix-ld, else the `[libraries]` section of `config.toml`, else the folder that nix-ld has.
//!
//! Of the configuration the machine's file comes first; what the user's says replaces it, key by key.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::settings::Settings;

const FILE: &str = "config.toml";

/// The name for this machine's kind of program stands in place of the general one.
const FOLDERS: [&str; 2] = ["NIX_LD_LIBRARY_PATH_x86_64_linux", "NIX_LD_LIBRARY_PATH"];
const LOADER: [&str; 2] = ["NIX_LD_x86_64_linux", "NIX_LD"];

/// Where nix-ld and our own NixOS module put the libraries of the system, and a link to its loader.
const SYSTEM_FOLDER: &str = "/run/current-system/sw/share/nix-ld/lib";
const SYSTEM_LOADER: &str = "/run/current-system/sw/share/nix-ld/lib/ld.so";

/// The `[libraries]` section, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Libraries {
    paths: Vec<PathBuf>,
    loader: PathBuf,
}

/// What is wrong with a section of `config.toml` that names folders.
#[derive(Debug, Error)]
pub(crate) enum LibrariesError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("{}: `{}` in [{section}] must be an absolute path", path.display(), value.display())]
    Relative { path: PathBuf, section: &'static str, value: PathBuf },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    libraries: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    paths: Option<Vec<PathBuf>>,
    loader: Option<PathBuf>,
}

impl Default for Libraries {
    fn default() -> Self {
        Self { paths: vec![SYSTEM_FOLDER.into()], loader: SYSTEM_LOADER.into() }
    }
}

impl Libraries {
    /// Reads the files that there are.
    ///
    /// # Errors
    /// One of them cannot be read, is no TOML, or says what the section does not know.
    pub(crate) fn load(settings: &Settings) -> Result<Self, LibrariesError> {
        let mut libraries = Self::default();
        for (path, text) in settings.configured(FILE) {
            match text {
                Ok(text) => libraries.merge(&path, &text)?,
                Err(source) => return Err(LibrariesError::Read { path, source }),
            }
        }
        Ok(libraries)
    }

    fn merge(&mut self, path: &Path, text: &str) -> Result<(), LibrariesError> {
        let syntax = |error: toml::de::Error| LibrariesError::Syntax {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let Section { paths, loader } = toml::from_str::<File>(text).map_err(syntax)?.libraries;
        let mut named = paths.iter().flatten().chain(&loader);
        if let Some(value) = named.find(|value| !value.is_absolute()) {
            let (path, value) = (path.to_owned(), value.clone());
            return Err(LibrariesError::Relative { path, section: "libraries", value });
        }
        self.paths = paths.unwrap_or_else(|| std::mem::take(&mut self.paths));
        self.loader = loader.unwrap_or_else(|| std::mem::take(&mut self.loader));
        Ok(())
    }

    /// The folders for a program with this environment, in order: its own, then those that are configured. A component
    /// that is empty or relative would depend on the working directory, and is passed over.
    pub(crate) fn folders(&self, environment: &[u8]) -> Vec<PathBuf> {
        let own = variable(environment, FOLDERS).unwrap_or_default();
        let own = own.split(|byte| *byte == b':').map(|folder| PathBuf::from(OsStr::from_bytes(folder)));
        let mut folders: Vec<PathBuf> = own.filter(|folder| folder.is_absolute()).collect();
        folders.extend(self.paths.iter().filter(|path| !folders.contains(path)).cloned().collect::<Vec<_>>());
        folders
    }

    /// The folders for programs of which nothing is known.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The loaders for a program with this environment, of which the first that can be used counts: its own, then the one
    /// that is configured. None of them need exist.
    pub(crate) fn loaders(&self, environment: &[u8]) -> Vec<PathBuf> {
        let own = variable(environment, LOADER).map(|path| PathBuf::from(OsStr::from_bytes(path)));
        let own = own.filter(|path| path.is_absolute() && *path != self.loader);
        own.into_iter().chain([self.loader.clone()]).collect()
    }
}

/// The first of these variables that is set, and not to nothing.
fn variable<'e>(environment: &'e [u8], names: [&str; 2]) -> Option<&'e [u8]> {
    let value = |name: &str| {
        let entries = environment.split(|byte| *byte == 0);
        let mut values = entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        values.next().filter(|value| !value.is_empty())
    };
    names.into_iter().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libraries(text: &str) -> Libraries {
        let mut libraries = Libraries::default();
        libraries.merge(Path::new("config.toml"), text).unwrap();
        libraries
    }

    fn texts(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().filter_map(|path| path.to_str()).collect()
    }

    #[test]
    fn the_programs_own_folders_come_before_the_configured() {
        let configured = libraries("[libraries]\npaths = ['/a', '/b']\n[other]\nx = 1");
        assert_eq!(texts(&configured.folders(b"")), ["/a", "/b"]);
        assert_eq!(texts(&configured.folders(b"NIX_LD_LIBRARY_PATH=/c:/a\0")), ["/c", "/a", "/b"]);
        assert_eq!(texts(&Libraries::default().folders(b"X=1\0")), [SYSTEM_FOLDER]);
        assert_eq!(texts(&libraries("[libraries]\npaths = []").folders(b"")), [""; 0]);
    }

    #[test]
    fn the_name_for_the_system_replaces_the_general_one_unless_it_is_empty() {
        let none = libraries("[libraries]\npaths = []");
        let both = b"NIX_LD_LIBRARY_PATH=/c\0NIX_LD_LIBRARY_PATH_x86_64_linux=/d\0NIX_LD=/l\0";
        assert_eq!(texts(&none.folders(both)), ["/d"]);
        let empty = b"NIX_LD_LIBRARY_PATH=/c\0NIX_LD_LIBRARY_PATH_x86_64_linux=\0NIX_LD=\0";
        assert_eq!(texts(&none.folders(empty)), ["/c"]);
        assert_eq!(texts(&none.loaders(both)), ["/l", SYSTEM_LOADER]);
        assert_eq!(texts(&none.loaders(empty)), [SYSTEM_LOADER]);
        assert_eq!(texts(&none.loaders(b"NIX_LD=/l\0NIX_LD_x86_64_linux=/m\0")), ["/m", SYSTEM_LOADER]);
    }

    #[test]
    fn nothing_depends_on_the_working_directory() {
        let none = libraries("[libraries]\npaths = []");
        assert_eq!(texts(&none.folders(b"NIX_LD_LIBRARY_PATH=:/c::lib:.\0")), ["/c"]);
        assert_eq!(texts(&none.loaders(b"NIX_LD=ld.so\0")), [SYSTEM_LOADER]);
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        let error =
            |text| Libraries::default().merge(Path::new("/etc/config.toml"), text).unwrap_err().to_string();
        assert!(error("[libraries]\npath = '/a'").contains("unknown field `path`"));
        assert!(error("[libraries]\npaths = ['a']").contains("/etc/config.toml: `a` in [libraries]"));
        assert!(error("[libraries]\nloader = 'a'").contains("must be an absolute path"));
    }
}
