//! What Debian says about who provides a soname, as store paths of the full test database.
//!
//! Two truths. *shlibs*: Debian's own metadata (`shlibs` control files, as in `/var/lib/dpkg/info`) names the
//! package that a program with a soname depends on. *contents*: of all rivals in the database, the ones that
//! are Debian's packages and not synthetic are listed in `debian-to-attr.tsv.gz`; who of them has the soname
//! in `/lib` is right. The first is Debian's word for as many packages as there are files, the second covers
//! every soname.

use sonde_resolve::choose::{Candidate, Context, Rule, rank_by};
use sonde_resolve::index::table::Table;
use sonde_resolve::lists::{GroupKind, Lists};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// Debian package → store path, and the store paths.
pub(crate) struct DebianMap {
    store_path_of: HashMap<String, String>,
    real: BTreeSet<String>,
}

impl DebianMap {
    /// Reads `debian-to-attr.tsv.gz`.
    pub(crate) fn read(path: &Path) -> Result<DebianMap, Box<dyn Error>> {
        let text = String::from_utf8(Command::new("gzip").arg("-dc").arg(path).output()?.stdout)?;
        let mut map = DebianMap { store_path_of: HashMap::new(), real: BTreeSet::new() };
        for line in text.lines().skip(1) {
            if let [package, _, _, path] = line.split('\t').collect::<Vec<_>>()[..] {
                map.store_path_of.insert(package.into(), path.into());
                map.real.insert(path.into());
            }
        }
        Ok(map)
    }
}

/// Soname → store paths that are right.
pub(crate) type Truth = BTreeMap<String, BTreeSet<String>>;

/// Who has each versioned name in `/lib`, among Debian's own packages.
pub(crate) fn from_contents<B: AsRef<[u8]>>(table: &Table<B>, map: &DebianMap) -> Truth {
    let mut truth = Truth::new();
    for provider in table.providers() {
        let store_path = provider.package.store_path();
        if provider.dir == "lib" && !provider.file_name.ends_with(".so") && map.real.contains(&store_path) {
            truth.entry(provider.file_name.into()).or_default().insert(store_path);
        }
    }
    truth
}

/// What the `*.shlibs` files of a folder say: lines of `libz 1 zlib1g (>= 1:1.2.13)`.
pub(crate) fn from_shlibs<B: AsRef<[u8]>>(
    folder: &Path,
    table: &Table<B>,
    map: &DebianMap,
) -> Result<Truth, Box<dyn Error>> {
    let mut truth = Truth::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_none_or(|extension| extension != "shlibs") {
            continue;
        }
        for line in std::fs::read_to_string(path)?.lines() {
            // `udeb: …` lines are for the installer.
            let words: Vec<_> = line.split_whitespace().collect();
            let [library, version, package, ..] = words[..] else { continue };
            if library.ends_with(':') || library.starts_with('#') {
                continue;
            }
            let Some(store_path) = map.store_path_of.get(package) else { continue };
            // `libfoo 1.2` is libfoo.so.1.2 or, where the version is before the suffix, libfoo-1.2.so.
            let spellings = [format!("{library}.so.{version}"), format!("{library}-{version}.so")];
            let known = spellings.iter().find(|soname| table.lookup(soname).next().is_some());
            let soname = known.unwrap_or(&spellings[0]).clone();
            truth.entry(soname).or_default().insert(store_path.clone());
        }
    }
    Ok(truth)
}

/// How ranking did.
#[derive(Default)]
pub(crate) struct Score {
    /// Sonames that were asked for.
    pub(crate) asked: usize,
    /// Of these, the ones with more than one provider.
    pub(crate) contested: usize,
    /// Of these, the ones for which Debian names several packages, any of which counts as right.
    pub(crate) several_right: usize,
    /// The right one came first.
    pub(crate) first: usize,
    /// The right one was among the first three.
    pub(crate) among_three: usize,
    /// Not the index's to decide: glibc's own, drivers, never provided.
    pub(crate) excluded: usize,
    /// No right provider is in the database.
    pub(crate) absent: usize,
    /// What went wrong: soname, what came first, what should have.
    pub(crate) misses: Vec<String>,
}

impl Score {
    /// Share of sonames whose right provider came first.
    pub(crate) fn top_1(&self) -> f64 {
        self.first as f64 / self.asked.max(1) as f64
    }

    /// Share among the first three.
    pub(crate) fn top_3(&self) -> f64 {
        self.among_three as f64 / self.asked.max(1) as f64
    }
}

/// Ranks every soname of the truth by some rules, with nothing known but the index.
pub(crate) fn measure<B: AsRef<[u8]>>(
    table: &Table<B>,
    truth: &Truth,
    lists: &Lists,
    rules: &[&'static Rule],
) -> Score {
    let context = Context::bare(lists);
    let mut score = Score::default();
    for (soname, right) in truth {
        if matches!(lists.kind_of(soname), Some(GroupKind::Glibc | GroupKind::Driver | GroupKind::Never)) {
            score.excluded += 1;
            continue;
        }
        let ranked = rank_by(rules.iter().copied(), table.lookup(soname).map(Candidate::new), &context);
        let place =
            ranked.iter().position(|one| right.contains(&one.candidate.provider.package.store_path()));
        let Some(place) = place else {
            score.absent += 1;
            continue;
        };
        score.asked += 1;
        score.contested += usize::from(ranked.len() > 1);
        score.several_right += usize::from(right.len() > 1);
        score.first += usize::from(place == 0);
        score.among_three += usize::from(place < 3);
        if place > 0 {
            let name = |at: usize| {
                let package = ranked[at].candidate.provider.package;
                format!("{} {}", package.attr, package.name())
            };
            let why = ranked[1..=place].iter().find_map(|one| one.beaten_by);
            score.misses.push(format!("{soname}: {} before {} ({why:?})", name(0), name(place)));
        }
    }
    score
}
