//! What of plans, served caches and gc roots nobody needs any more. Here it is only found out; removing is
//! [`Litter::remove`].

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::shelf::{Kept, Shelf, path_of};
use super::{cache, roots};
use crate::settings::Settings;
use crate::sys::lock::{How, Lock};

/// What is younger may be about to be written down somewhere.
const GRACE: Duration = Duration::from_secs(3600);

/// What is to go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    /// What has not been used for as long, and what cannot be used any more.
    OlderThan(Duration),
    /// Everything.
    All,
}

/// Why something is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Everything was asked for.
    All,
    /// Of a plan: its program does not exist.
    ProgramGone,
    /// Of a plan: it is damaged, or of another version.
    Useless,
    /// Of a plan: not used for long.
    Unused,
    /// Of a cache or a root: no plan names it.
    Unnamed,
}

impl Why {
    /// For people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::All => "all are to go",
            Self::ProgramGone => "the program is gone",
            Self::Useless => "damaged, or of another version",
            Self::Unused => "not used for long",
            Self::Unnamed => "no plan needs it",
        }
    }
}

/// Something that is to go.
#[derive(Debug)]
pub(crate) struct Litter {
    pub(crate) path: PathBuf,
    pub(crate) why: Why,
    /// The program, of a plan.
    pub(crate) program: Option<PathBuf>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    /// A folder of gc roots, with all that is in it.
    Roots,
}

impl Litter {
    /// Removes it; what has gone by itself is no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let removed = match self.kind {
            Kind::File => fs::remove_file(&self.path),
            Kind::Roots => remove_roots(&self.path),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Whoever works out a plan at this moment has the folder's lock, and keeps it.
fn remove_roots(folder: &Path) -> io::Result<()> {
    match Lock::take(File::open(folder)?, How::AloneAtOnce) {
        Ok(_lock) => fs::remove_dir_all(folder),
        Err(_) => Ok(()),
    }
}

/// Finds what nobody needs.
pub(crate) fn litter(settings: &Settings, which: Which) -> Vec<Litter> {
    let now = SystemTime::now();
    let mut all = Vec::new();
    let mut stays = Vec::new();
    for (path, kept) in Shelf::of(settings).all() {
        match fate(kept.as_ref(), which, now) {
            Some(why) => {
                let program = kept.as_ref().and_then(program_of);
                all.push(Litter { path, why, program, kind: Kind::File });
            }
            None => stays.extend(kept),
        }
    }
    all.extend(caches(settings, &stays, which, now));
    all.extend(unneeded_roots(settings, &stays, which, now));
    all
}

/// Why a plan is to go, if it is.
fn fate(kept: Option<&Kept>, which: Which, now: SystemTime) -> Option<Why> {
    let Which::OlderThan(age) = which else { return Some(Why::All) };
    let Some((kept, program)) = kept.and_then(|kept| Some((kept, program_of(kept)?))) else {
        return Some(Why::Useless);
    };
    let is_gone = fs::symlink_metadata(program).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_gone {
        return Some(Why::ProgramGone);
    }
    is_older(kept.used, age, now).then_some(Why::Unused)
}

/// The program of a plan.
pub(crate) fn program_of(kept: &Kept) -> Option<PathBuf> {
    kept.plan().map(|plan| path_of(plan.program()).to_owned())
}

fn caches(settings: &Settings, stays: &[Kept], which: Which, now: SystemTime) -> Vec<Litter> {
    let named: HashSet<PathBuf> = stays
        .iter()
        .filter_map(|kept| kept.plan())
        .map(|plan| path_of(plan.served_cache()).to_owned())
        .collect();
    let why = if matches!(which, Which::All) { Why::All } else { Why::Unnamed };
    entries(&cache::folder(settings))
        .filter(|(path, changed)| {
            !named.contains(path) && (why == Why::All || is_older(*changed, GRACE, now))
        })
        .map(|(path, _)| Litter { path, why, program: None, kind: Kind::File })
        .collect()
}

/// Folders of roots of programs without a plan, and roots that their program's plan does not name. A program may have no
/// plan because none could be kept; its roots stay as long as a plan would.
fn unneeded_roots(settings: &Settings, stays: &[Kept], which: Which, now: SystemTime) -> Vec<Litter> {
    let mut objects: HashMap<PathBuf, HashSet<PathBuf>> = HashMap::new();
    for plan in stays.iter().filter_map(Kept::plan) {
        let folder = roots::folder(settings, path_of(plan.program()));
        objects.entry(folder).or_default().extend(plan.objects().map(|object| path_of(object).to_owned()));
    }
    let mut all = Vec::new();
    for (folder, changed) in
        entries(&roots::all(settings)).filter(|(folder, _)| roots::is_of_a_program(folder))
    {
        match (objects.get(&folder), which) {
            (Some(named), _) => {
                let unnamed = entries(&folder).filter(|(root, changed)| {
                    let target = fs::read_link(root).unwrap_or_default();
                    !named.contains(&target) && !roots::is_built(root) && is_older(*changed, GRACE, now)
                });
                let litter = |(path, _)| Litter { path, why: Why::Unnamed, program: None, kind: Kind::File };
                all.extend(unnamed.map(litter));
            }
            (None, Which::All) => {
                all.push(Litter { path: folder, why: Why::All, program: None, kind: Kind::Roots });
            }
            (None, Which::OlderThan(age)) if is_older(changed, age.max(GRACE), now) => {
                all.push(Litter { path: folder, why: Why::Unnamed, program: None, kind: Kind::Roots });
            }
            (None, Which::OlderThan(_)) => {}
        }
    }
    all
}

/// What is in a folder, and when it was last changed, by path.
fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, SystemTime)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.modified().ok()?)))
        .collect();
    all.sort();
    all.into_iter()
}

fn is_older(time: SystemTime, age: Duration, now: SystemTime) -> bool {
    now.duration_since(time).is_ok_and(|past| past > age)
}
