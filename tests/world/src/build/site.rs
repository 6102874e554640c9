//! The building site: the world's folder, its lock, its unfinished parts, and commands run in view of its /nix.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::enter::remove_tree;
use crate::{Size, home_of_worlds};

/// A world under construction.
pub(crate) struct Site {
    folder: PathBuf,
    pub(crate) size: Size,
    pub(crate) cores: usize,
}

impl Site {
    pub(super) fn open(folder: PathBuf, size: Size) -> Result<Site> {
        fs::create_dir_all(folder.join("stage/mnt"))
            .with_context(|| format!("creating {}/stage/mnt", folder.display()))?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Site { folder, size, cores })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One line of progress on stderr.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("world: {text}");
    }

    /// Downloads that outlive this world.
    pub(crate) fn downloads(&self, kind: &str) -> Result<PathBuf> {
        let folder = home_of_worlds()?.join("downloads").join(kind);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// Makes a folder of the world unless it is there; `make` gets an empty one that is renamed when it returns.
    pub(crate) fn once(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let target = self.path(name);
        if target.exists() {
            return Ok(());
        }
        let unfinished = target.with_extension("unfinished");
        remove_tree(&unfinished)?;
        fs::create_dir_all(&unfinished).with_context(|| format!("creating {}", unfinished.display()))?;
        make(&unfinished).with_context(|| format!("making {}", target.display()))?;
        fs::rename(&unfinished, &target).with_context(|| format!("renaming {}", unfinished.display()))
    }

    /// Writes a file of the world in one step.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let (target, unfinished) = (self.path(name), self.path(&format!("{name}.unfinished")));
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &target))
            .with_context(|| format!("writing {}", target.display()))
    }

    /// Puts this executable into the world, for library users and for the Nix builder.
    pub(super) fn install_tool(&self) -> Result<()> {
        let source = std::env::current_exe().context("finding this executable")?;
        let target = self.path("bin/sonde-world");
        let same = || Some(fs::read(&source).ok()? == fs::read(&target).ok()?);
        if source == target || same() == Some(true) {
            return Ok(());
        }
        let unfinished = self.path("bin/sonde-world.unfinished");
        fs::create_dir_all(self.path("bin")).context("creating the world's bin folder")?;
        fs::copy(&source, &unfinished)
            .and_then(|_| fs::rename(&unfinished, &target))
            .with_context(|| format!("copying {} to {}", source.display(), target.display()))
    }

    /// A command that sees the given folder as /nix, with the unpacked packages and this tool inside it.
    pub(crate) fn in_nix(&self, nix: &Path, program: &str) -> Command {
        let bind = |from: &Path, to: &str| {
            let mut pair = OsString::from(from);
            pair.push(":");
            pair.push(to);
            pair
        };
        let mut command = Command::new(self.path("bin/sonde-world"));
        command
            .arg("host-view")
            .arg("--mount-point")
            .arg(self.path("stage/mnt"))
            .args([OsString::from("--bind"), bind(nix, "/nix")])
            .args([OsString::from("--bind"), bind(&self.path("stage/unpacked"), "/nix/.unpacked")])
            .args([OsString::from("--bind"), bind(&self.path("bin/sonde-world"), "/nix/.fit")])
            .args(["--", program])
            .env("NIX_CONFIG", self.nix_config())
            .env("NIX_CONF_DIR", self.path("stage"))
            .env_remove("NIX_REMOTE")
            .env_remove("NIX_PATH")
            .env("HOME", self.path("stage"))
            .env("XDG_CACHE_HOME", self.path("stage/nix-cache"));
        command
    }

    fn nix_config(&self) -> String {
        format!(
            "build-users-group =\nsandbox = false\nfilter-syscalls = false\nsubstituters =\nfsync-metadata = false\n\
             max-jobs = {}\ncores = 1\nexperimental-features = nix-command\n",
            self.cores
        )
    }
}

/// Serialises builds of the same home of worlds; held until dropped.
pub(super) fn lock(home: &Path) -> Result<Flock<File>> {
    let path = home.join("lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, nix::Error::EWOULDBLOCK)) => {
            eprintln!("world: waiting for another build to end");
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| errno)
                .context("waiting for the lock")
        }
        Err((_, errno)) => Err(errno).with_context(|| format!("locking {}", path.display())),
    }
}

/// Runs a command to its end; its stderr becomes part of the error.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let line = format!("{:?}", command.get_program());
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {line}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        bail!("{line} ended with {}:\n{tail}", output.status);
    }
    Ok(output)
}
