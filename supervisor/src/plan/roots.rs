//! Where a plan's gc roots lie. Nix keeps what an indirect root points to (Nix manual, "Garbage Collector Roots").

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// The folder of the roots of a program's plan: its name and a digest of its whole path.
pub(crate) fn folder(settings: &Settings, program: &Path) -> PathBuf {
    let name: String = program
        .file_name()
        .map(|name| name.to_string_lossy().chars().take(64).map(plain).collect())
        .unwrap_or_default();
    settings.state.join("roots").join(format!("{name}-{:016x}", digest(program.as_os_str().as_bytes())))
}

fn plain(character: char) -> char {
    if character.is_ascii_alphanumeric() || "+-._".contains(character) { character } else { '_' }
}

/// FNV-1a, 64 bits: stable between releases, which the standard library's hasher is not.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn programs_of_one_name_do_not_share_a_folder() {
        let settings = Settings::from_environment();
        let (a, b) = (folder(&settings, Path::new("/a/p")), folder(&settings, Path::new("/b/p")));
        assert_ne!(a, b);
        assert!(a.file_name().unwrap().to_str().unwrap().starts_with("p-"));
        assert!(!folder(&settings, Path::new("/x/a b\n")).to_str().unwrap().contains('\n'));
    }
}
