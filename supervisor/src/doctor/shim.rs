//! The shim beside this `sonde`, and what stands where foreign programs look for their loader.
//!
//! Nothing is run to find out: a shim has the words of its `--version` in its file, which begin with its release.

use std::env;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sonde_interp::command::VERSION;

use super::finding::Finding;
use crate::settings::find_shim;

/// The loader that foreign programs name (`PT_INTERP`; x86-64 psABI).
pub(super) const PLACE: &str = "/lib64/ld-linux-x86-64.so.2";

/// No loader is larger, in bytes.
const LARGEST: u64 = 16 << 20;

const MODULE: &str = "set `programs.sonde.enable = true;`, or start programs with `sonde run`";

/// What others have put at the loader's place, by something that is in no other's file.
const OTHERS: [(&[u8], &str); 3] = [
    (
        b"NixOS cannot run dynamically linked executables",
        "NixOS's own stub, which only says that it cannot run programs",
    ),
    (b"NIX_LD_LIBRARY_PATH", "nix-ld"),
    (b"ld.so (", "glibc's loader, as on other distributions"),
];

/// What a file at the loader's place is.
#[derive(Debug, PartialEq, Eq)]
enum Occupant {
    Nobody,
    Shim(About),
    Other(&'static str),
    Unknown,
}

/// What a shim says of itself.
#[derive(Debug, PartialEq, Eq)]
struct About {
    release: String,
    supervisor: PathBuf,
    loader: PathBuf,
}

/// Looks at both shims, and at what they need.
pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![beside_us()];
    match occupant(Path::new(PLACE)) {
        Ok(Occupant::Shim(about)) => {
            findings.push(installed(&about));
            findings.push(supervisor(&about));
            findings.push(loader(&about));
        }
        Ok(other) => findings.push(elsewhere(&other)),
        Err(error) => {
            let summary = format!("{PLACE}: {error}");
            findings.push(Finding::error("shim.installed", summary, MODULE));
        }
    }
    findings
}

/// Which `sonde run` and `sonde trace` start.
fn beside_us() -> Finding {
    const ID: &str = "shim.own";
    match find_shim() {
        Some(path) => Finding::ok(ID, format!("`sonde run` starts {}", resolved(&path).display())),
        None => Finding::error(
            ID,
            "sonde-interp is not beside this `sonde`, nor in ../libexec/sonde: `sonde run` cannot serve programs",
            "install both together, as nixos-module/package.nix does",
        ),
    }
}

fn installed(about: &About) -> Finding {
    const ID: &str = "shim.installed";
    let (own, theirs) = (env!("CARGO_PKG_VERSION"), &about.release);
    if theirs == own {
        return Finding::ok(
            ID,
            format!("{PLACE} is Sonde's, of this release: foreign programs run by themselves"),
        );
    }
    let summary = format!("{PLACE} is Sonde's, of release {theirs}, and this is {own}");
    Finding::warning(ID, summary, "install both from one package: `nixos-rebuild switch`")
}

fn elsewhere(occupant: &Occupant) -> Finding {
    const ID: &str = "shim.installed";
    let what = match occupant {
        Occupant::Nobody => {
            return Finding::warning(
                ID,
                format!("nothing is at {PLACE}: foreign programs only run under `sonde run`"),
                MODULE,
            );
        }
        Occupant::Other(who) => *who,
        Occupant::Unknown | Occupant::Shim(_) => "not Sonde's",
    };
    let summary =
        format!("{PLACE} is {what}: foreign programs that start by themselves get nothing from Sonde");
    Finding::warning(ID, summary, MODULE)
}

fn supervisor(about: &About) -> Finding {
    const ID: &str = "shim.supervisor";
    let named = env::var_os("SONDE_SUPERVISOR").filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = named.as_ref().unwrap_or(&about.supervisor);
    let source =
        if named.is_some() { "which SONDE_SUPERVISOR names" } else { "which is compiled into the shim" };
    let shown = path.display();
    if nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() {
        return Finding::ok(ID, format!("the shim starts {shown}"));
    }
    let remedy = if named.is_some() {
        "unset SONDE_SUPERVISOR"
    } else {
        "install sonde there, or build the shim with SONDE_DEFAULT_SUPERVISOR"
    };
    Finding::error(ID, format!("{shown}, {source}, cannot be executed: no program is served"), remedy)
}

/// What a program runs under when there is no supervisor.
fn loader(about: &About) -> Finding {
    const ID: &str = "shim.fallback";
    let named = ["NIX_LD_x86_64_linux", "NIX_LD"].into_iter().find_map(|name| {
        let value = env::var_os(name).filter(|value| !value.as_bytes().is_empty())?;
        Some((name, PathBuf::from(value)))
    });
    let (source, path) = match &named {
        Some((name, path)) => (*name, path),
        None => ("the shim", &about.loader),
    };
    let shown = path.display();
    if path.is_file() {
        return Finding::ok(ID, format!("without a supervisor programs run under {shown}"));
    }
    Finding::warning(
        ID,
        format!(
            "{shown}, which {source} names, is not there: setuid programs, and any without a supervisor, do not run"
        ),
        "set `programs.sonde.loader`, or NIX_LD, to a glibc's ld-linux-x86-64.so.2",
    )
}

fn occupant(path: &Path) -> io::Result<Occupant> {
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nobody),
        Err(error) => return Err(error),
    };
    if !data.is_file() || data.len() > LARGEST {
        return Ok(Occupant::Unknown);
    }
    Ok(recognise(&fs::read(path)?))
}

fn recognise(bytes: &[u8]) -> Occupant {
    if let Some(about) = about(bytes) {
        return Occupant::Shim(about);
    }
    let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    OTHERS.iter().find(|(mark, _)| has(mark)).map_or(Occupant::Unknown, |(_, who)| Occupant::Other(who))
}

/// The words of a shim's `--version`, wherever they stand in its file.
fn about(bytes: &[u8]) -> Option<About> {
    let name = VERSION.split_inclusive(' ').next()?.as_bytes();
    let mut starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(name));
    starts.find_map(|at| {
        let text = &bytes[at + name.len()..];
        let mut lines = text.get(..text.len().min(3 * 4096))?.split(|byte| *byte == b'\n');
        let release = std::str::from_utf8(lines.next()?).ok()?.to_owned();
        let plain = |one: char| one.is_ascii_alphanumeric() || "+-.".contains(one);
        if !release.starts_with(|one: char| one.is_ascii_digit()) || !release.chars().all(plain) {
            return None; // the name stands in other texts, too
        }
        let mut path = |key: &[u8]| {
            let value = lines.next()?.strip_prefix(key)?;
            Some(PathBuf::from(std::ffi::OsStr::from_bytes(value)))
        };
        let (supervisor, loader) = (path(b"supervisor ")?, path(b"loader ")?);
        // The last line has an end as well.
        lines.next().map(|_| About { release, supervisor, loader })
    })
}

/// Where a link really leads.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_known_by_its_own_words_wherever_they_stand() {
        let file = [b"sonde-interp --help\0junk", VERSION.as_bytes(), b"\xff more"].concat();
        let Occupant::Shim(about) = recognise(&file) else { panic!("not known") };
        assert_eq!(about.release, env!("CARGO_PKG_VERSION"));
        assert_eq!(about.supervisor, Path::new("/run/current-system/sw/bin/sonde"));
        assert!(installed(&about).remedy.is_none());
        let older = About { release: "0.0.9".into(), ..about };
        assert!(installed(&older).summary.contains("release 0.0.9"));
    }

    #[test]
    fn what_is_cut_off_is_no_shim_and_nothing_panics() {
        for length in 0..VERSION.len() {
            assert_eq!(recognise(&VERSION.as_bytes()[..length]), Occupant::Unknown, "{length}");
        }
    }

    #[test]
    fn others_at_the_place_are_told_apart() {
        assert_eq!(recognise(b"\0NIX_LD_LIBRARY_PATH\0"), Occupant::Other("nix-ld"));
        let stub = b"NixOS cannot run dynamically linked executables intended for generic linux";
        assert!(matches!(recognise(stub), Occupant::Other(who) if who.contains("stub")));
        let glibc = b"ld.so (GNU libc) stable release version 2.42.";
        assert!(matches!(recognise(glibc), Occupant::Other(who) if who.contains("glibc")));
    }
}
