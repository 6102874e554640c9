//! What one program needs, and what each of it resolved to: everything that is missing is chosen and realised before the
//! loader starts.
//!
//! It need not be perfect: what it misses is caught at the trap.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_resolve::bundle::{Bundle, Files, Why};
use sonde_resolve::choose::coverage::Coverage;

use crate::guest::remote::GuestRoot;
use crate::index::fitting::Supply;
use crate::index::{Choice, Index};
use crate::store::STORE;

/// Bundled libraries larger than this are not looked into, in bytes; they are found all the same.
const LARGEST_BUNDLED: u64 = 1 << 30;

/// One soname that the program, or a library that came with it, is linked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Need {
    pub(crate) soname: String,
    /// The file that names it.
    pub(crate) needed_by: PathBuf,
    pub(crate) answer: Answer,
    /// Why this package and not the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// How much it defines of what is needed of it, in per cent; nothing where its symbols are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) coverage: Option<u8>,
}

/// Where a needed library comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// The loader finds it by the program's own means.
    Bundled,
    /// It is a member of the loader's glibc.
    Glibc,
    /// A package has it.
    Package(Choice),
    /// Packages have it, and all of them lack versions that the program needs; those that the best of them lacks.
    Unfit(Vec<String>),
    /// No package may provide it, for this reason; the host may have it.
    Excluded(String),
    /// Nobody has it.
    Absent,
}

/// A program's own needs and search paths.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// What it and its bundled libraries are linked against, each soname once.
    pub(crate) needs: Vec<Need>,
    /// What notes in them name, and is provided.
    pub(crate) noted: Vec<(String, Choice)>,
    /// Every folder that is in a search path of any of them.
    pub(crate) searched: HashSet<PathBuf>,
    /// What this program is given in place of the index's own choice; nothing, where all that there is would not do.
    pub(crate) choices: HashMap<String, Option<Choice>>,
    /// Files of the store that it finds by its own means.
    pub(crate) own: Vec<PathBuf>,
}

/// Chooses for everything that a bundle misses, and has it realised through `supply`.
pub(crate) fn resolve(bundle: &Bundle, files: &dyn Files, index: &Index, supply: &mut dyn Supply) -> Closure {
    let fits = index.choose_all(bundle, files, supply);
    let mut closure = Closure { searched: bundle.searched.iter().cloned().collect(), ..Closure::default() };
    let found = bundle.wants.iter().filter_map(|want| want.found.clone());
    closure.own = found.filter(|path| path.starts_with(STORE)).collect();
    let needed =
        |soname: &str| bundle.wants.iter().any(|want| want.why == Why::Needed && want.soname() == soname);
    let noted = fits.iter().filter(|fit| !needed(&fit.soname));
    closure.noted = noted.filter_map(|fit| Some((fit.soname.clone(), fit.choice.clone()?))).collect();
    for want in bundle.wants.iter().filter(|want| want.why == Why::Needed) {
        let soname = want.soname();
        let fit = fits.iter().find(|fit| fit.soname == soname);
        let answer = match fit {
            _ if want.found.is_some() => Answer::Bundled,
            _ if index.is_glibc(soname) => Answer::Glibc,
            Some(fit) => match (&fit.choice, &fit.coverage) {
                (Some(choice), _) => Answer::Package(choice.clone()),
                (None, Some(Coverage { missing_versions, .. })) if !missing_versions.is_empty() => {
                    Answer::Unfit(missing_versions.clone())
                }
                (None, _) => Answer::Absent,
            },
            None => index
                .exclusion_of(soname)
                .map_or(Answer::Absent, |group| Answer::Excluded(group.reason.clone())),
        };
        let own = match &answer {
            Answer::Package(choice) => Some(Some(choice.clone())),
            Answer::Unfit(_) => Some(None),
            _ => None,
        };
        if let Some(own) = own.filter(|own| *own != index.choose(soname)) {
            closure.choices.insert(soname.to_owned(), own);
        }
        let needed_by = bundle.wanted_by(want).to_owned();
        let packaged = fit.filter(|_| matches!(answer, Answer::Package(_)));
        let reason = packaged.and_then(|fit| fit.reason.clone());
        let coverage = packaged.and_then(|fit| Some(per_cent(fit.coverage.as_ref()?.share())));
        closure.needs.push(Need { soname: soname.to_owned(), needed_by, answer, reason, coverage });
    }
    closure
}

/// 100 only for all of it.
fn per_cent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0) as u8
}

/// A program's view of its file system, for following what it brings along.
pub(crate) struct GuestFiles<'r>(pub(crate) &'r GuestRoot);

impl Files for GuestFiles<'_> {
    fn contains(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        // Store libraries bring what they need along in their RUNPATH. Others are read, not mapped: their owner could
        // truncate them while we look.
        if path.starts_with(STORE) {
            return None;
        }
        let file = self.0.open(path).ok()?;
        if file.metadata().ok()?.len() > LARGEST_BUNDLED {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_BUNDLED).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}
