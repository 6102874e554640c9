//! The Nix store, through the `nix-store` command of the machine: the one interface that has stayed the same from
//! Nix 2.3 to today's (docs/decisions/0001-nix-store-command.md).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Store, StoreError, StorePath};

/// What `nix-store` may know of the program's environment. Everything else, `LD_LIBRARY_PATH` above all, was meant
/// for the program.
const KEPT: [&str; 16] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "NIX_REMOTE",
    "NIX_CONF_DIR",
    "NIX_CONFIG",
    "NIX_USER_CONF_FILES",
    "NIX_SSL_CERT_FILE",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "XDG_RUNTIME_DIR",
];

/// Nix, asked through its command.
#[derive(Debug)]
pub(crate) struct NixStore {
    command: Option<PathBuf>,
}

impl NixStore {
    /// `command` is an absolute path, or `None` where there is no Nix.
    pub(crate) fn new(command: Option<PathBuf>) -> Self {
        Self { command }
    }
}

impl Store for NixStore {
    fn has(&self, path: &StorePath) -> bool {
        Path::new(path.as_str()).exists()
    }

    fn realise(&self, paths: &[StorePath], root: &Path) -> Result<(), StoreError> {
        let program = self.command.as_ref().ok_or(StoreError::NoNix)?;
        let output = Command::new(program)
            .arg("--realise")
            .args(paths.iter().map(StorePath::as_str))
            .arg("--add-root")
            .arg(root)
            .arg("--indirect") // assumed since Nix 2.4, needed before
            .env_clear()
            .envs(KEPT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))))
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| StoreError::Command {
                command: program.display().to_string(),
                reason: error.to_string(),
            })?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = words
            .lines()
            .filter_map(|line| line.trim().strip_prefix("error: "))
            .filter(|line| !line.is_empty())
            .collect();
        let last_line = words.lines().rev().find(|line| !line.trim().is_empty());
        let reason =
            errors.first().copied().or(last_line).map_or_else(|| output.status.to_string(), strip_colours);
        Err(StoreError::Refused(format!("nix-store: {reason}")))
    }
}

/// Nix colours its messages even where nobody looks (`error: path '\x1b[35;1m/nix/store/…`).
fn strip_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        rest = rest[at..].find('m').map_or("", |end| &rest[at + end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn zlib() -> StorePath {
        StorePath::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1").unwrap()
    }

    fn fake(script: &str) -> (tempfile::TempDir, NixStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nix-store");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, NixStore::new(Some(path)))
    }

    fn reason(script: &str) -> String {
        let (_folder, store) = fake(script);
        store.realise(&[zlib()], Path::new("/root-link")).unwrap_err().to_string()
    }

    #[test]
    fn the_error_that_nix_gives_is_passed_on_without_colours() {
        let script =
            r"printf '\033[31;1merror:\033[0m no\nerror: path \033[35;1m/x\033[0m is missing\n' >&2; exit 1";
        assert_eq!(reason(script), "nix-store: path /x is missing");
        assert_eq!(reason("echo oh >&2; exit 3"), "nix-store: oh");
        assert_eq!(reason("exit 3"), "nix-store: exit status: 3");
    }

    #[test]
    fn without_nix_or_with_a_broken_one_the_reason_is_said() {
        let none = NixStore::new(None).realise(&[zlib()], Path::new("/r")).unwrap_err();
        assert!(matches!(none, StoreError::NoNix));
        let gone = NixStore::new(Some("/no/such/nix-store".into()));
        let error = gone.realise(&[zlib()], Path::new("/r")).unwrap_err().to_string();
        assert!(error.contains("/no/such/nix-store"), "{error}");
    }

    #[test]
    fn the_loaders_variables_are_kept_from_nix() {
        let (_folder, store) =
            fake(r#"test -z "$LD_LIBRARY_PATH$CARGO_PKG_NAME" && test "$HOME" = "$(cd; pwd)""#);
        store.realise(&[zlib()], Path::new("/r")).unwrap();
    }
}
