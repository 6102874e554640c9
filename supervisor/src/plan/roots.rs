//! Where a plan's gc roots lie. Nix keeps what an indirect root points to (Nix manual, "Garbage Collector Roots").

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sonde_interp::plan::digest;

use crate::settings::Settings;
use crate::store::StorePath;

/// How the names of roots begin that keep what was built: no plan names it, since it stands in for what one names.
const BUILT: &str = "built-";

/// The folder of the roots of a program's plan: its name and a digest of its whole path.
pub(crate) fn folder(settings: &Settings, program: &Path) -> PathBuf {
    let name: String = program
        .file_name()
        .map(|name| name.to_string_lossy().chars().take(64).map(plain).collect())
        .unwrap_or_default();
    all(settings).join(format!("{name}-{:016x}", digest(program.as_os_str().as_bytes())))
}

fn plain(character: char) -> char {
    if character.is_ascii_alphanumeric() || "+-._".contains(character) { character } else { '_' }
}

/// The root of what was built in place of this object.
pub(crate) fn built(object: &StorePath) -> String {
    format!("{BUILT}{}", object.base_name())
}

/// Does this root keep something that was built?
pub(crate) fn is_built(root: &Path) -> bool {
    root.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(BUILT))
}

/// Where all of them are.
pub(crate) fn all(settings: &Settings) -> PathBuf {
    settings.state.join("roots")
}

/// Is this the folder of a program's roots, by its name? What was fetched by hand lies beside them.
pub(crate) fn is_of_a_program(folder: &Path) -> bool {
    let digits = folder.file_name().and_then(|name| name.to_str()?.rsplit_once('-'));
    digits
        .is_some_and(|(_, digits)| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_one_name_do_not_share_a_folder() {
        let settings = Settings::from_environment();
        let (a, b) = (folder(&settings, Path::new("/a/p")), folder(&settings, Path::new("/b/p")));
        assert_ne!(a, b);
        assert!(is_of_a_program(&a) && !is_of_a_program(Path::new("/roots/fetched")));
        assert!(a.file_name().unwrap().to_str().unwrap().starts_with("p-"));
        assert!(!folder(&settings, Path::new("/x/a b\n")).to_str().unwrap().contains('\n'));
    }
}
