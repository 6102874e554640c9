//! Programs that run foreign programs in an FHS root of their making: `proot` and `bwrap`, taken from this machine, with
//! a loader and libraries of their own, since the world has none where they look.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::harness::{Who, fixture, run};
use crate::ways::{Libraries, Way};

/// Where the FHS root is that they show to a program.
pub(crate) const FHS: &str = "/fhs";

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Rewrites the paths of system calls, stopping at them.
    Proot,
    /// Makes a root in a user namespace, as nixpkgs's `buildFHSEnv` does; the shell script that it runs inside is not
    /// run here.
    Bwrap,
}

impl Peer {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Proot => "`proot`, an FHS root",
            Self::Bwrap => "`bwrap`, an FHS root (`buildFHSEnv`)",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Proot => "proot",
            Self::Bwrap => "bwrap",
        }
    }

    /// What stands before the program.
    pub(crate) fn prefix(self) -> Vec<&'static str> {
        let words = match self {
            Self::Proot => "/guests/peers/proot -r /fhs -w / -b /dev -b /proc -b /tmp -b /opt -b /guests",
            Self::Bwrap => {
                "/guests/peers/bwrap --unshare-user --die-with-parent --dev-bind /dev /dev --proc /proc \
                 --ro-bind /fhs/usr /usr --ro-bind /fhs/etc /etc --ro-bind /nix /nix --bind /tmp /tmp \
                 --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 \
                 --bind /home /home --ro-bind /opt /opt --ro-bind /guests /guests --"
            }
        };
        words.split_whitespace().collect()
    }

    /// Makes it ready to be used; or says why it cannot be.
    pub(crate) fn install(self, who: Who) -> Result<()> {
        let name = self.name();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        let found =
            found.with_context(|| format!("{name} is not installed (Debian: apt-get install {name})"))?;
        let folder = fixture().guests().join("peers");
        fs::create_dir_all(&folder)?;
        move_in(&found, &folder)?;
        let root = Way::Peer(self).root(who, &Libraries::default())?;
        let words = self.prefix();
        let outcome = run(root.command(words[0]).args(&words[1..]).arg("/usr/bin/true"));
        ensure!(outcome.succeeded(), "{name} does not work here: {outcome}");
        Ok(())
    }
}

/// Copies a program into a folder, and beside it the loader and libraries that it has on this machine.
fn move_in(program: &Path, folder: &Path) -> Result<()> {
    let listed = Command::new("ldd").arg(program).output().context("running ldd")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let files = listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    let target = folder.join(program.file_name().context("a program with a name")?);
    for (from, to) in files
        .filter_map(|file| Some((file.clone(), folder.join(file.file_name()?))))
        .chain([(program.to_owned(), target.clone())])
    {
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    let status = Command::new("patchelf")
        .args(["--set-interpreter", "/guests/peers/ld-linux-x86-64.so.2"])
        .args(["--force-rpath", "--set-rpath", "/guests/peers"])
        .arg(&target)
        .status()
        .context("running patchelf")?;
    ensure!(status.success(), "patchelf failed at {}", target.display());
    Ok(())
}
