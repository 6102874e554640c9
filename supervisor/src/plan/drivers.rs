//! The drivers of this machine: they must fit the kernel that runs, so no package's will do.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where NixOS keeps the libraries of its graphics drivers (`hardware.graphics`, nixpkgs).
pub(crate) const FOLDER: &str = "/run/opengl-driver/lib";

/// The host's file for the longest of these paths, each relative to a folder `lib` or beginning with it.
pub(crate) fn find(paths: &[String]) -> Option<PathBuf> {
    find_in(Path::new(FOLDER), paths)
}

/// Opens a driver's file for the loader.
///
/// # Errors
/// It cannot be read, or is no file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn find_in(folder: &Path, paths: &[String]) -> Option<PathBuf> {
    let inside = |path: &String| folder.join(path.strip_prefix("lib/").unwrap_or(path));
    paths.iter().map(inside).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_that_the_host_has_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dri")).unwrap();
        std::fs::write(folder.path().join("dri/swrast_dri.so"), "").unwrap();
        let find = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            find_in(folder.path(), &paths)
        };
        let there = folder.path().join("dri/swrast_dri.so");
        assert_eq!(find(&["lib/dri/swrast_dri.so"]), Some(there.clone()));
        assert_eq!(
            find(&["lib/x/dri/swrast_dri.so", "x/dri/swrast_dri.so", "dri/swrast_dri.so"]),
            Some(there)
        );
        assert_eq!(find(&["lib/dri/iris_dri.so", "lib/dri"]), None);
    }
}
