//! Where each library of a program would come from, and what is missing: what `sonde plan` prints, as data and as JSON.
//! `text` is for people; `export` beside this has the forms that others read.

mod text;

use std::collections::HashMap;

use serde::Serialize;

use crate::index::Choice;
use crate::store::{Sizes, StorePath};
pub(crate) use text::{fetch, text, wrong};

/// Of the JSON form; a field that goes or changes its meaning makes a new one.
const VERSION: u32 = 1;

/// Where a library would come from, or why from nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// The program finds it by its own means.
    Bundled,
    /// In the folder that was asked about: whoever loads this file is expected to have loaded it.
    Beside,
    /// It comes with the loader.
    Glibc,
    /// A package of the store has it.
    Store,
    /// A driver of this machine.
    Host,
    /// Nobody has it.
    Absent,
    /// No package may provide it, and the host has it not.
    Excluded,
    /// Packages have it, and none with the versions that are needed.
    Unfit,
    /// A package has it that cannot be had.
    Unavailable,
    /// The policy forbids it.
    Forbidden,
}

impl Origin {
    /// The library would be there.
    pub(crate) fn is_satisfied(self) -> bool {
        matches!(self, Self::Bundled | Self::Beside | Self::Glibc | Self::Store | Self::Host)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Bundled => "bundled",
            Self::Beside => "beside",
            Self::Glibc => "glibc",
            Self::Store => "store",
            Self::Host => "host",
            Self::Absent => "absent",
            Self::Excluded => "excluded",
            Self::Unfit => "unfit",
            Self::Unavailable => "unavailable",
            Self::Forbidden => "forbidden",
        }
    }
}

/// A package that has a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    pub(crate) attribute: String,
    pub(crate) output: String,
    pub(crate) store_path: StorePath,
    /// In the store.
    pub(crate) realised: bool,
}

impl Package {
    pub(crate) fn of(choice: &Choice, realised: bool) -> Self {
        Self {
            attribute: choice.attribute.clone(),
            output: choice.output.clone(),
            store_path: choice.object.clone(),
            realised,
        }
    }

    /// `zlib.out`, as `nix-locate` says it; nothing for one that no index knows.
    fn name(&self) -> String {
        match self.attribute.as_str() {
            "" => "-".to_owned(),
            attribute => format!("{attribute}.{}", self.output),
        }
    }
}

/// One library, each soname once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Library {
    pub(crate) soname: String,
    /// The place in the list of the library that names it first; nothing: the file itself does.
    pub(crate) needed_by: Option<usize>,
    pub(crate) origin: Origin,
    /// By the index; others are found by the search path of who needs them.
    pub(crate) chosen: bool,
    /// It can be done without.
    pub(crate) optional: bool,
    /// Where it lies, or would lie.
    pub(crate) path: Option<String>,
    pub(crate) package: Option<Package>,
    /// Why it would not be there.
    pub(crate) reason: Option<String>,
}

impl Library {
    /// What the file cannot do without, and would not have.
    pub(crate) fn is_missed(&self) -> bool {
        !self.optional && !self.origin.is_satisfied()
    }

    /// The package that has to be realised for it.
    pub(crate) fn to_be_fetched(&self) -> Option<&Package> {
        let provided = matches!(self.origin, Origin::Store | Origin::Glibc);
        self.package.as_ref().filter(|package| provided && !package.realised)
    }

    fn from(&self) -> &'static str {
        if self.to_be_fetched().is_some() { "to fetch" } else { self.origin.word() }
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// It has a loader.
    Program,
    /// It needs none, and no libraries.
    Static,
    /// A shared object.
    Library,
}

/// One file, and everything that it would be given.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Planned {
    pub(crate) file: String,
    pub(crate) kind: Kind,
    /// The loader first, then in the order in which a loader meets them.
    pub(crate) libraries: Vec<Library>,
    /// What its loader would give up over, though it is there: a sentence for each.
    pub(crate) refused: Vec<String>,
}

/// A file or folder of which nothing can be said.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Unplanned {
    pub(crate) path: String,
    pub(crate) reason: String,
    /// It cannot be read; the others are not for this machine, or damaged.
    pub(crate) unreadable: bool,
}

/// What is to be downloaded.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct ToFetch {
    /// Packages that were chosen and are not in the store.
    pub(crate) packages: usize,
    /// With everything that they refer to; nothing where the store does not say.
    pub(crate) paths: Option<usize>,
    /// In bytes.
    pub(crate) download: Option<u64>,
    pub(crate) unpacked: Option<u64>,
}

impl ToFetch {
    pub(crate) fn of(packages: usize, sizes: Option<Sizes>) -> Self {
        Self {
            packages,
            paths: sizes.map(|sizes| sizes.paths),
            download: sizes.map(|sizes| sizes.download),
            unpacked: sizes.map(|sizes| sizes.unpacked),
        }
    }
}

/// The plan of a program, or of every file of a folder.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Plans {
    pub(crate) files: Vec<Planned>,
    pub(crate) left_out: Vec<Unplanned>,
    pub(crate) fetch: ToFetch,
}

/// A library that somebody misses, and who.
#[derive(Debug, Serialize)]
pub(crate) struct Missed<'p> {
    pub(crate) soname: &'p str,
    pub(crate) origin: Origin,
    pub(crate) reason: &'p str,
    /// Files, or libraries of packages.
    pub(crate) needed_by: Vec<&'p str>,
}

impl Plans {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.left_out.is_empty()
    }

    /// What is missing over all, each soname once for each reason.
    pub(crate) fn missed(&self) -> Vec<Missed<'_>> {
        let mut missed: Vec<Missed<'_>> = Vec::new();
        for file in &self.files {
            for library in file.libraries.iter().filter(|library| library.is_missed()) {
                let reason = library.reason.as_deref().unwrap_or_default();
                let by = file.needing(library);
                let same = |one: &&mut Missed<'_>| one.soname == library.soname && one.reason == reason;
                match missed.iter_mut().find(same) {
                    Some(there) if there.needed_by.contains(&by) => {}
                    Some(there) => there.needed_by.push(by),
                    None => missed.push(Missed {
                        soname: &library.soname,
                        origin: library.origin,
                        reason,
                        needed_by: vec![by],
                    }),
                }
            }
        }
        missed
    }

    /// Would a loader give up over something that is there?
    pub(crate) fn is_refused(&self) -> bool {
        self.files.iter().any(|file| !file.refused.is_empty())
    }

    /// Is something forbidden, or not to be read?
    pub(crate) fn is_forbidden(&self) -> bool {
        let missed = self.files.iter().flat_map(|file| &file.libraries).filter(|one| one.is_missed());
        missed.into_iter().any(|one| one.origin == Origin::Forbidden)
            || self.left_out.iter().any(|one| one.unreadable)
    }
}

impl Planned {
    /// The packages that have to be realised for it, each once.
    pub(crate) fn to_be_fetched(&self) -> Vec<StorePath> {
        let mut all = Vec::new();
        for package in self.libraries.iter().filter_map(Library::to_be_fetched) {
            if !all.contains(&package.store_path) {
                all.push(package.store_path.clone());
            }
        }
        all
    }

    /// Takes away what would come from a package.
    pub(crate) fn withhold(&mut self, package: &StorePath, origin: Origin, reason: &str) {
        let is_of = |library: &&mut Library| {
            library.to_be_fetched().is_some_and(|fetched| fetched.store_path == *package)
        };
        for library in self.libraries.iter_mut().filter(is_of) {
            library.origin = origin;
            library.reason = Some(reason.to_owned());
        }
    }

    /// Who names a library: another one, or the file itself.
    fn needing<'p>(&'p self, library: &'p Library) -> &'p str {
        let parent = library.needed_by.and_then(|place| self.libraries.get(place));
        parent.map_or(&self.file, |parent| parent.path.as_deref().unwrap_or(&parent.soname))
    }

    /// The libraries as a tree: each below the one that names it, with its depth.
    fn tree(&self) -> Vec<(usize, &Library)> {
        let mut below: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for (place, library) in self.libraries.iter().enumerate() {
            below.entry(library.needed_by).or_default().push(place);
        }
        let mut open: Vec<(usize, usize)> = Vec::new();
        let push = |open: &mut Vec<(usize, usize)>, parent, depth| {
            let children = below.get(&parent).into_iter().flatten();
            open.extend(children.rev().map(|place| (depth, *place)));
        };
        push(&mut open, None, 0);
        let mut tree = Vec::new();
        while let Some((depth, place)) = open.pop() {
            tree.extend(self.libraries.get(place).map(|library| (depth, library)));
            push(&mut open, Some(place), depth + 1);
        }
        tree
    }
}

/// For programs.
pub(crate) fn json(plans: &Plans, status: u8) -> String {
    #[derive(Serialize)]
    struct Whole<'p> {
        version: u32,
        status: u8,
        #[serde(flatten)]
        plans: &'p Plans,
        missing: Vec<Missed<'p>>,
    }
    let whole = Whole { version: VERSION, status, plans, missing: plans.missed() };
    serde_json::to_string_pretty(&whole).unwrap_or_default() + "\n"
}
