//! The Nix store, through the `nix-store` command of the machine: the one interface that has stayed the same from
//! Nix 2.3 to today's (docs/decisions/0001-nix-store-command.md).

mod command;
mod dry_run;
mod fallback;
mod log;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tracing::info;

use super::gate::pass;
use super::progress::UnderWay;
use super::{Forecast, Gate, Limits, Progress, Sizes, Store, StoreError, StorePath};
pub(crate) use command::{DECISIVE, NIXPKGS};
pub(crate) use fallback::Fallback;

/// Nix, asked through its command.
#[derive(Debug)]
pub(crate) struct NixStore {
    command: Option<PathBuf>,
    limits: Limits,
    fallback: Option<Fallback>,
}

impl NixStore {
    /// `command` is an absolute path, or `None` where there is no Nix.
    pub(crate) fn new(command: Option<PathBuf>, limits: Limits, fallback: Option<Fallback>) -> Self {
        Self { command, limits, fallback }
    }

    fn command(&self) -> Result<&Path, StoreError> {
        self.command.as_deref().ok_or(StoreError::NoNix)
    }

    /// What Nix says that it would do.
    fn dry_run(&self, paths: &[StorePath]) -> Result<String, StoreError> {
        let arguments = ["--realise", "--dry-run"].into_iter().chain(paths.iter().map(StorePath::as_str));
        let words = command::run(self.command()?, arguments)?.stderr;
        Ok(String::from_utf8_lossy(&words).into_owned())
    }

    /// Offline, everything must be valid already.
    ///
    /// Nix is asked for exactly that. To forbid substituters instead (`--option substitute false`) would not do: a
    /// daemon takes such settings only from users that it trusts (`ClientSettings` in Nix's `src/libstore/daemon.cc`).
    fn allow_fetching(&self, paths: &[StorePath]) -> Result<(), StoreError> {
        if !self.limits.offline {
            return Ok(());
        }
        match self.invalid(paths)?.first() {
            Some(path) => Ok(self.limits.allow_fetching(path)?),
            None => Ok(()),
        }
    }

    /// Those of the paths that are not valid.
    fn invalid(&self, paths: &[StorePath]) -> Result<Vec<StorePath>, StoreError> {
        let arguments = ["--check-validity", "--print-invalid"].into_iter();
        let output = command::run(self.command()?, arguments.chain(paths.iter().map(StorePath::as_str)))?;
        let invalid = String::from_utf8_lossy(&output.stdout);
        let is_invalid = |path: &&StorePath| invalid.lines().any(|line| line.trim() == path.as_str());
        Ok(paths.iter().filter(is_invalid).cloned().collect())
    }
}

impl Store for NixStore {
    fn has(&self, path: &StorePath) -> bool {
        Path::new(path.as_str()).exists()
    }

    fn location(&self, path: &StorePath) -> PathBuf {
        path.as_str().into()
    }

    fn sizes(&self, paths: &[StorePath]) -> Result<Sizes, StoreError> {
        self.allow_fetching(paths)?;
        if self.limits.offline {
            // A valid path has valid references.
            return Ok(Sizes::default());
        }
        dry_run::sizes(&self.dry_run(paths)?).ok_or_else(unknown_size)
    }

    fn forecast(&self, paths: &[StorePath]) -> Result<Forecast, StoreError> {
        if self.limits.offline {
            let refuse = |path: StorePath| {
                let error = self.limits.allow_fetching(&path).err()?;
                Some((path, error.into()))
            };
            let unavailable = self.invalid(paths)?.into_iter().filter_map(refuse).collect();
            return Ok(Forecast { sizes: Some(Sizes::default()), unavailable, ..Forecast::default() });
        }
        let words = self.dry_run(paths)?;
        let unknown = dry_run::unknown(&words);
        let refuse = |path: &StorePath| {
            let refused = "no substituter has it, or none can be reached, and it cannot be built";
            (path.clone(), StoreError::Refused(refused.to_owned()))
        };
        Ok(Forecast {
            sizes: dry_run::sizes(&words),
            fetched: dry_run::paths(&words).into_iter().filter(|path| !unknown.contains(path)).collect(),
            unavailable: paths.iter().filter(|path| unknown.contains(path)).map(refuse).collect(),
        })
    }

    fn realise_through(
        &self,
        gate: &dyn Gate,
        paths: &[StorePath],
        root: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<(), StoreError> {
        let program = self.command()?;
        let _under_way = UnderWay::begin(progress, paths.len());
        self.allow_fetching(paths)?;
        if self.limits.max_download.is_some() {
            self.limits.allow(self.sizes(paths)?)?;
        }
        if !gate.is_open() {
            let words = self.dry_run(paths)?;
            pass(gate, paths, dry_run::paths(&words).iter(), dry_run::sizes(&words))?;
        }
        info!(paths = paths.len(), "asking Nix");
        let mut arguments = vec![OsStr::new("--realise")];
        arguments.extend(paths.iter().map(|path| OsStr::new(path.as_str())));
        if let Some(root) = root {
            // --indirect is assumed since Nix 2.4, and needed before.
            arguments.extend([OsStr::new("--add-root"), root.as_os_str(), OsStr::new("--indirect")]);
        }
        command::run_persistently(program, &arguments, progress).map(drop)
    }
}

fn unknown_size() -> StoreError {
    StoreError::Refused(
        "nix-store --dry-run does not say how much it would download, so max-download-size cannot be kept to; \
         remove it from the [store] section of config.toml"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NoProgress;
    use std::os::unix::fs::PermissionsExt;

    fn zlib() -> StorePath {
        StorePath::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1").unwrap()
    }

    fn fake(script: &str) -> (tempfile::TempDir, NixStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nix-store");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, NixStore::new(Some(path), Limits::default(), None))
    }

    fn reason(script: &str) -> String {
        let (_folder, store) = fake(script);
        store.realise(&[zlib()], Path::new("/root-link"), &NoProgress).unwrap_err().to_string()
    }

    #[test]
    fn the_error_that_nix_gives_is_passed_on_without_colours() {
        let script =
            r"printf '\033[31;1merror:\033[0m path \033[35;1m/x\033[0m is missing\nerror: no\n' >&2; exit 1";
        assert_eq!(reason(script), "nix-store: path /x is missing");
        assert_eq!(reason("echo oh >&2; exit 3"), "nix-store: oh");
        assert_eq!(reason("exit 3"), "nix-store: exit status: 3");
    }

    #[test]
    fn without_nix_or_with_a_broken_one_the_reason_is_said() {
        let none = NixStore::new(None, Limits::default(), None)
            .realise(&[zlib()], Path::new("/r"), &NoProgress)
            .unwrap_err();
        assert!(matches!(none, StoreError::NoNix));
        let gone = NixStore::new(Some("/no/such/nix-store".into()), Limits::default(), None);
        let error = gone.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap_err().to_string();
        assert!(error.contains("/no/such/nix-store"), "{error}");
    }

    #[test]
    fn a_refusal_that_passes_is_not_the_last_word() {
        let (folder, store) = fake(
            "n=$(cat \"$0.count\" 2>/dev/null); echo x$n >\"$0.count\"; case $n in xx) exit 0;; \
             *) echo 'error: executing SQLite statement: database is busy' >&2; exit 1;; esac",
        );
        store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("nix-store.count")).unwrap(), "xxx\n");
    }

    #[test]
    fn a_nix_without_a_log_for_programs_is_asked_without_one() {
        let script = "case \"$*\" in *--log-format*) echo \"error: unrecognised flag '--log-format'\" >&2; exit 1;; esac";
        let (_folder, store) = fake(script);
        store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap();
        assert_eq!(reason(&format!("{script}; echo 'error: no' >&2; exit 1")), "nix-store: no");
    }

    #[test]
    fn whoever_lives_on_with_its_words_is_not_waited_for() {
        let begun = std::time::Instant::now();
        assert_eq!(reason("sleep 100 & echo 'error: no' >&2; exit 1"), "nix-store: no");
        assert!(begun.elapsed().as_secs() < 60);
    }

    #[test]
    fn the_loaders_variables_are_kept_from_nix() {
        let (_folder, store) =
            fake(r#"test -z "$LD_LIBRARY_PATH$CARGO_PKG_NAME" && test "$HOME" = "$(cd; pwd)""#);
        store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap();
    }

    /// A `nix-store` that has nothing, would download 2 MiB, and writes down what it was asked to do in earnest.
    const EMPTY: &str = r#"case "$*" in
        *--print-invalid*) shift 2; printf '%s\n' "$@";;
        *--dry-run*) echo 'these paths will be fetched (2.00 MiB download, 9.00 MiB unpacked):' >&2
                     echo '  /nix/store/x' >&2;;
        *) echo "$@" >> "$0.log";;
    esac"#;

    #[test]
    fn offline_only_what_is_valid_is_realised() {
        let (folder, mut store) = fake(EMPTY);
        store.limits.offline = true;
        let error = store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap_err().to_string();
        assert!(error.starts_with(&format!("offline: {} is not in the store", zlib())), "{error}");
        assert!(store.sizes(&[zlib()]).is_err());
        assert!(!folder.path().join("nix-store.log").exists());
        let (_folder, mut store) = fake("exit 0");
        store.limits.offline = true;
        store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap();
        assert_eq!(store.sizes(&[zlib()]).unwrap(), Sizes::default());
    }

    #[test]
    fn what_would_be_too_much_is_not_begun() {
        let (folder, mut store) = fake(EMPTY);
        assert_eq!(store.sizes(&[zlib()]).unwrap(), Sizes { paths: 1, download: 2 << 20, unpacked: 9 << 20 });
        store.limits.max_download = Some(1 << 20);
        let error = store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap_err().to_string();
        assert!(error.starts_with("would download 2.0 MiB, max-download-size is 1.0 MiB"), "{error}");
        assert!(!folder.path().join("nix-store.log").exists());
        store.limits.max_download = Some(2 << 20);
        store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap();
        let log = std::fs::read_to_string(folder.path().join("nix-store.log")).unwrap();
        assert_eq!(
            log,
            format!("--realise {} --add-root /r --indirect --log-format internal-json\n", zlib())
        );
    }

    #[test]
    fn a_nix_that_does_not_say_how_much_is_not_trusted_with_a_limit() {
        let (_folder, mut store) = fake("echo 'these paths will be fetched:' >&2");
        store.limits.max_download = Some(1);
        let error = store.realise(&[zlib()], Path::new("/r"), &NoProgress).unwrap_err().to_string();
        assert!(error.contains("max-download-size cannot be kept to"), "{error}");
    }

    #[test]
    fn a_root_is_dropped_and_nothing_else_is() {
        let (folder, store) = fake("exit 0");
        let root = folder.path().join("root");
        std::os::unix::fs::symlink(zlib().as_str(), &root).unwrap();
        store.drop_root(&root).unwrap();
        assert!(root.symlink_metadata().is_err());
        store.drop_root(&root).unwrap();
        std::fs::write(&root, "a file").unwrap();
        let error = store.drop_root(&root).unwrap_err().to_string();
        assert!(error.starts_with("removing the gc root /") && root.exists(), "{error}");
    }
}
