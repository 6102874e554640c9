//! Store paths (Nix manual, "Store Path": `/nix/store/<32 characters of base 32>-<name>`).

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

const STORE: &str = "/nix/store/";
const HASH: usize = 32;

/// The path of a store object, checked: it can be passed to a command without being taken for an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StorePath(String);

impl StorePath {
    /// Checks a path that is to be a store object itself, not a file in one.
    pub(crate) fn new(path: &str) -> Option<Self> {
        let name = path.strip_prefix(STORE)?;
        let (hash, rest) = name.split_at_checked(HASH)?;
        let rest = rest.strip_prefix('-')?;
        let hash_ok = hash.bytes().all(|byte| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&byte));
        let name_ok = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte);
        (hash_ok && !rest.is_empty() && rest.len() <= 211 && rest.bytes().all(name_ok))
            .then(|| Self(path.to_owned()))
    }

    /// The object that a file of the store lies in.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let name = path.strip_prefix(STORE).ok()?.components().next()?;
        Self::new(Path::new(STORE).join(name).to_str()?)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the store folder: hash and name.
    pub(crate) fn base_name(&self) -> &str {
        &self.0[STORE.len()..]
    }
}

impl TryFrom<String> for StorePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        Self::new(&path).ok_or_else(|| format!("{path} is no store path"))
    }
}

impl From<StorePath> for String {
    fn from(path: StorePath) -> Self {
        path.0
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZLIB: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1";

    #[test]
    fn hash_and_name_follow_the_store_folder() {
        assert_eq!(StorePath::new(ZLIB).unwrap().base_name(), &ZLIB["/nix/store/".len()..]);
    }

    #[test]
    fn what_is_no_store_path_is_refused() {
        let hash = "0123456789abcdfghijklmnpqrsvwxyz";
        for wrong in [
            "/nix/store/".to_owned(),
            format!("/nix/store/{hash}"),
            format!("/nix/store/{hash}-"),
            format!("/nix/store/{hash}-a/b"),
            format!("/nix/store/{hash}-a b"),
            format!("/nix/store/{}-a", hash.replace('0', "e")),
            format!("/nix/store/--option-{hash}"),
            format!("/other/{hash}-a"),
        ] {
            assert_eq!(StorePath::new(&wrong), None, "{wrong}");
        }
    }
}
