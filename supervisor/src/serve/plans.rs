//! The plans of a tree's programs: found when one starts, made when one has started anew, and added to when one asks for
//! more at run time. Writing is done when nobody waits for it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::CStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use sonde_interp::elf::{HEAD, build_id};
use sonde_interp::plan::{BUILT_BY_NIX, ELSEWHERE, INLINE, LOOKS_AT_CACHE, Plan, Stamp, digest, key};
use sonde_resolve::bundle::Bundle;
use tracing::debug;

use super::admission::Guest;
use super::provision::Provision;
use super::shared::{Open, Shared};
use super::tree::Tree;
use super::witness::lock;
use crate::index::Choice;
use crate::plan::closure::{Answer, Closure};
use crate::plan::conditions::{self, Conditions};
use crate::plan::contents::Contents;
use crate::plan::draft::{Body, Draft};
use crate::plan::reach::reach;
use crate::plan::roots;
use crate::plan::shelf::{Kept, Shelf, path_of};
use crate::settings::Settings;
use crate::store::{NoProgress, STORE, StoreFiles, StorePath};
use crate::sys::lock::{How, Lock};

/// A program that asks for more names that nobody has makes them up: its plan does not grow by them.
const MOST_ABSENT: usize = 4096;

/// The plans of the programs of a tree.
pub(super) struct Plans {
    settings: Settings,
    shelf: Shelf,
    conditions: Arc<Conditions>,
    /// Orders of a command line are for one start.
    keeps: bool,
    /// By program.
    known: Mutex<HashMap<PathBuf, Known>>,
    writing: Mutex<()>,
    sole: RwLock<Sole>,
}

/// The plan of a tree that runs one program, which is what most do: who asks need not be found out then.
#[derive(Default)]
enum Sole {
    #[default]
    Nobody,
    /// Digests of a plan, ascending as they stand in it.
    Known { settled: Vec<u64>, provided: Vec<u64> },
    /// Somebody has no plan, or there are several.
    Unknown,
}

struct Known {
    key: u64,
    state: State,
    /// What is on the disk is another one.
    is_new: bool,
    /// Others wait for it.
    turn: Option<Turn>,
}

enum State {
    /// As it was found.
    Kept(Kept),
    Draft(Box<Draft>),
}

impl Plans {
    pub(super) fn of(shared: &Shared, open: &Open) -> Self {
        Self {
            settings: shared.settings.clone(),
            shelf: Shelf::of(&shared.settings),
            conditions: open.conditions.clone(),
            keeps: shared.orders == super::Orders::default(),
            known: Mutex::default(),
            writing: Mutex::default(),
            sole: RwLock::default(),
        }
    }

    /// What a program's plan is called; `None` if it has none.
    pub(super) fn key_of(&self, guest: &Guest) -> Option<u64> {
        // What is searched depends on the working directory.
        let is_relative =
            |path: &[u8]| path.split(|byte| *byte == b':').any(|folder| !folder.starts_with(b"/"));
        let library_path = guest.variable("LD_LIBRARY_PATH").filter(|path| !path.is_empty());
        if !self.keeps || library_path.is_some_and(is_relative) {
            return None;
        }
        Some(key(guest.path.as_os_str().as_bytes(), |name| guest.variable(name)))
    }

    /// Where the gc roots of a program are.
    pub(super) fn roots_of(&self, program: &Path) -> PathBuf {
        roots::folder(&self.settings, program)
    }

    /// The plan with this key, if it is for this program as it is and nothing that decided has changed.
    pub(super) fn find(&self, key: u64, guest: &Guest, files: &StoreFiles) -> Option<Kept> {
        let kept = self.shelf.take(key)?;
        let plan = kept.plan()?;
        let stamp = conditions::stamp_of(&guest.file.metadata().ok()?);
        let is_as_it_was =
            |(path, stamp): (&CStr, Stamp)| conditions::stamp_in(&guest.root, path_of(path)) == stamp;
        let ours = self.conditions.iter().map(|(path, stamp)| (path.as_path(), *stamp));
        let holds = plan.stamp() == stamp
            && plan.program().to_bytes() == guest.path.as_os_str().as_bytes()
            && !plan.is_expired(now())
            && (plan.flags() & ELSEWHERE != 0) == files.are_elsewhere()
            && plan.build_id() == build_id_of(&guest.file)
            && plan.conditions().map(|(path, stamp)| (path_of(path), stamp)).eq(ours)
            && plan.bundled().all(is_as_it_was);
        holds.then_some(kept)
    }

    /// A program starts by its plan.
    pub(super) fn start_by(&self, key: u64, program: &Path, kept: Kept) {
        let known = Known { key, state: State::Kept(kept), is_new: false, turn: None };
        lock(&self.known).insert(program.to_owned(), known);
    }

    /// Takes note of a program that starts, and of its plan, if it has one.
    pub(super) fn meet(&self, plan: Option<&Plan<'_>>) {
        let mut sole = self.sole.write().unwrap_or_else(PoisonError::into_inner);
        *sole = match (&*sole, plan) {
            // A program that was built by Nix has children that do not say hello.
            (Sole::Nobody, Some(plan)) if plan.flags() & BUILT_BY_NIX == 0 => {
                Sole::Known { settled: plan.settled().collect(), provided: plan.provided().collect() }
            }
            _ => Sole::Unknown,
        };
    }

    /// Is it settled that a search goes on if there is nothing at this path?
    pub(super) fn settles(&self, path: &Path) -> bool {
        match &*self.sole.read().unwrap_or_else(PoisonError::into_inner) {
            Sole::Known { settled, provided } => {
                let soname = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
                let has = |digests: &[u64], bytes| digests.binary_search(&digest(bytes)).is_ok();
                has(settled, soname) && !has(provided, path.as_os_str().as_bytes())
            }
            Sole::Nobody | Sole::Unknown => false,
        }
    }

    /// A program starts anew: what it starts with is its plan, to be completed and written soon.
    pub(super) fn begin(&self, key: u64, turn: Turn, guest: &Guest, made: &Made<'_>) {
        let Ok(data) = guest.file.metadata() else { return };
        let Made { bundle, closure, provision, .. } = made;
        let loader = &provision.loader;
        let mut flags = 0;
        for (flag, is_set) in [
            (BUILT_BY_NIX, made.built_by_nix),
            (LOOKS_AT_CACHE, loader.looks_at_cache),
            (ELSEWHERE, made.elsewhere),
            (INLINE, made.inline),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let came_along = bundle.wants.iter().filter_map(|want| want.found.as_ref());
        let came_along = came_along.filter(|path| !path.starts_with(STORE)).cloned();
        let bundled = came_along.map(|path| {
            let stamp = conditions::stamp_in(&guest.root, &path);
            (path, stamp)
        });
        let facts = bundle.members.first().map(|program| &program.facts);
        let whole_id = facts.and_then(|facts| facts.build_id.clone()).unwrap_or_default();
        let mut body = Body::new(&guest.path, &whole_id, now(), &loader.path, closure);
        body.loader_version = loader.version;
        body.seeds = provision.seeds.as_deref().cloned();
        let draft = Draft {
            flags,
            sites: loader.sites(),
            stamp: conditions::stamp_of(&data),
            build_id: build_id_of(&guest.file),
            loader_cache: loader.cache_path.clone(),
            served_cache: None,
            bundled: bundled.chain(made.at_hand.iter().cloned()).collect(),
            conditions: self.conditions.to_vec(),
            objects: BTreeSet::new(),
            settled: BTreeSet::new(),
            provided: BTreeSet::new(),
            contents: Contents::default(),
            body,
        };
        let known = Known { key, state: State::Draft(Box::new(draft)), is_new: true, turn: Some(turn) };
        lock(&self.known).insert(guest.path.clone(), known);
    }

    /// A program was given a library that it had asked for at run time; is that news?
    pub(super) fn learn(&self, program: &Path, soname: &str, choice: &Choice) -> bool {
        self.add(program, |body| {
            let is_needed = body.libraries.iter().any(|need| need.soname == soname);
            !is_needed && body.at_run_time.insert(soname.to_owned(), choice.clone()).as_ref() != Some(choice)
        })
    }

    /// A program has asked at run time for a library that nobody has. That is written down with the next thing that is
    /// worth it, or when the tree ends.
    pub(super) fn learn_absence(&self, program: &Path, soname: &str) {
        self.add(program, |body| {
            let is_needed = body.libraries.iter().any(|need| need.soname == soname);
            !is_needed && body.absent.len() < MOST_ABSENT && body.absent.insert(soname.to_owned())
        });
    }

    fn add(&self, program: &Path, change: impl FnOnce(&mut Body) -> bool) -> bool {
        let mut known = lock(&self.known);
        let Some(known) = known.get_mut(program) else { return false };
        if let State::Kept(kept) = &known.state {
            let Some(draft) = kept.plan().and_then(|plan| Draft::of(&plan)) else { return false };
            known.state = State::Draft(Box::new(draft));
        }
        let State::Draft(draft) = &mut known.state else { return false };
        let is_news = change(&mut draft.body);
        known.is_new |= is_news;
        is_news
    }

    /// Is there anything to be written?
    pub(super) fn has_news(&self) -> bool {
        lock(&self.known).values().any(|known| known.is_new)
    }

    /// Writes what is new. Whatever goes wrong, the next start begins anew.
    pub(super) fn write(&self, tree: &Tree) {
        // Who comes second waits until the first one's are written: then the tree may end.
        let _one_at_a_time = lock(&self.writing);
        let news: Vec<_> = lock(&self.known)
            .iter_mut()
            .filter_map(|(program, known)| match &known.state {
                State::Draft(draft) if std::mem::take(&mut known.is_new) => {
                    Some((program.clone(), known.key, draft.clone(), known.turn.take()))
                }
                _ => None,
            })
            .collect();
        for (program, key, mut draft, _turn) in news {
            if let Err(error) = complete(tree, &program, &mut draft).and_then(|()| {
                let bytes = draft.to_bytes().ok_or_else(|| "a path is no text, or has a NUL".to_owned())?;
                self.shelf.put(key, &bytes).map_err(|error| error.to_string())
            }) {
                debug!(program = %program.display(), error, "no plan is kept");
            }
        }
    }
}

/// What a program starts with that starts anew.
pub(super) struct Made<'m> {
    pub(super) bundle: &'m Bundle,
    pub(super) closure: &'m Closure,
    pub(super) provision: &'m Provision,
    /// What was looked at for its seeds and its loader.
    pub(super) at_hand: Conditions,
    pub(super) built_by_nix: bool,
    /// Store paths lie elsewhere.
    pub(super) elsewhere: bool,
    /// The next start need ask nobody: configuration wants the engine inline, and nothing stands against it.
    pub(super) inline: bool,
}

/// Works out what a start does not wait for: the objects and their roots, the names that are settled, the served cache.
fn complete(tree: &Tree, program: &Path, draft: &mut Draft) -> Result<(), String> {
    let body = &draft.body;
    let chosen: Vec<(String, Choice)> =
        body.provided().map(|(soname, choice)| (soname.to_owned(), choice.clone())).collect();
    let glibc = body.libraries.iter().filter(|need| need.answer == Answer::Glibc);
    let folder = body.loader.parent().unwrap_or(Path::new("/"));
    let members: Vec<_> = glibc.map(|need| (need.soname.clone(), folder.join(&need.soname))).collect();
    let mut reached = reach(&tree.files, chosen.iter().map(|(_, choice)| choice.file.clone()));
    reached.folders.insert(folder.to_owned());
    let absent = body.absent.clone();

    draft.objects = chosen.iter().map(|(_, choice)| choice.object.clone()).collect();
    draft.objects.extend(StorePath::of_file(&draft.body.loader));
    for (soname, choice) in &chosen {
        draft.settle(soname, &choice.file);
    }
    for (soname, path) in members.iter().map(|(soname, path)| (soname, path)).chain(&reached.found) {
        draft.settle(soname, path);
        // Where no search finds it, the served cache has the index's choice.
        if let Some(choice) = tree.index().choose(soname) {
            draft.settle(soname, &choice.file);
        }
    }
    draft.settled.extend(absent.iter().map(|soname| digest(soname.as_bytes())));
    protect(tree, program, draft)?;
    // Nothing of this is collected as garbage while the roots are there.
    draft.contents = Contents::of(&tree.files, &reached.folders);
    let cache = tree.provisions.keep_cache(program, &draft.body.loader, draft.body.seeds.as_ref());
    draft.served_cache = Some(cache.map_err(|error| format!("the served cache cannot be kept: {error}"))?);
    Ok(())
}

/// Gives each object a gc root of the program's own.
fn protect(tree: &Tree, program: &Path, draft: &Draft) -> Result<(), String> {
    let folder = tree.plans.roots_of(program);
    let rooted: BTreeSet<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect();
    let unprotected = draft.objects.iter().filter(|object| !rooted.contains(Path::new(object.as_str())));
    let unprotected: Vec<StorePath> = unprotected.cloned().collect();
    let Some(first) = unprotected.first() else { return Ok(()) };
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let gate = tree.gate(tree.permission.askers.named(program));
    let root = folder.join(first.base_name());
    let realised = tree.realiser.store().realise_through(&gate, &unprotected, Some(&root), &NoProgress);
    realised.map_err(|error| error.to_string())
}

/// In seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// As the shim finds it, which sees no more than this of a file.
fn build_id_of(file: &File) -> Vec<u8> {
    let mut head = vec![0; HEAD];
    let length = std::os::unix::fs::FileExt::read_at(file, &mut head, 0).unwrap_or_default();
    build_id(&head[..length]).to_vec()
}

/// The right to work out a program's plan; of many starts at once one has it.
pub(super) struct Turn {
    _lock: Lock,
    waited: bool,
}

impl Turn {
    /// Takes the turn for the program whose gc roots are in this folder: at once or, if it may wait, when whoever has it is
    /// done. `None` if it cannot be had: then this start keeps no plan.
    pub(super) fn take(folder: &Path, may_wait: bool) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let file = File::open(folder).ok()?;
        match Lock::take(file, How::AloneAtOnce) {
            Ok(lock) => Some(Self { _lock: lock, waited: false }),
            Err((file, _)) if may_wait => {
                let lock = Lock::take(file, How::Alone).ok()?;
                Some(Self { _lock: lock, waited: true })
            }
            Err(_) => None,
        }
    }

    /// Has another one had it meanwhile?
    pub(super) fn has_waited(&self) -> bool {
        self.waited
    }
}
