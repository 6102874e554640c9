//! Whether a program may start, and with what: by its plan, where there is one that still holds, or else by looking at the
//! program, choosing, and having everything realised.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_interp::handoff::{Engine, Hello, Wish};
use sonde_interp::plan::{BUILT_BY_NIX, LOOKS_AT_CACHE};
use sonde_interp::site::Sites;
use sonde_resolve::bundle::Bundle;
use tracing::debug;

use super::hello::HelloError;
use super::loader::ForeignLoader;
use super::plans::{Made, Turn};
use super::provision::Provision;
use super::tree::Tree;
use crate::engine::choose::POLICY_IN_FORCE;
use crate::guest::remote::{GuestRoot, Thread, variable_in};
use crate::plan::cache::ServedCache;
use crate::plan::closure::{GuestFiles, resolve};
use crate::plan::conditions::{self, Conditions};
use crate::plan::draft::Body;
use crate::plan::loader::{Loader, LoaderError};
use crate::plan::objections::objections;
use crate::plan::permission::Traits;
use crate::plan::shelf::{Kept, path_of};
use crate::store::{Progress, STORE, StorePath};
use crate::sys::mapped_file::MappedFile;

/// A program that said hello.
pub(super) struct Guest {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// What the kernel says that its process executes.
    pub(super) executable: Option<PathBuf>,
    pub(super) wish: Wish,
    pub(super) root: GuestRoot,
    /// As execve(2) was given it, each variable with a NUL behind it.
    pub(super) environment: Vec<u8>,
}

impl Guest {
    /// The program of a hello, and what came with that.
    pub(super) fn of(
        hello: &Hello<'_>,
        descriptors: Vec<OwnedFd>,
        thread: Thread,
    ) -> Result<Self, HelloError> {
        debug!(program = %String::from_utf8_lossy(hello.program), direct = hello.direct, "hello");
        // What the kernel executed, or, where the shim maps the program itself, what it sent.
        let Some(file) = descriptors.into_iter().next().filter(|_| hello.direct) else {
            return Self::executed_by(thread, hello.wish);
        };
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Self::new(path, file.into(), thread.executable_path().ok(), thread, hello.wish)
    }

    /// The program that the kernel has executed.
    pub(super) fn executed_by(thread: Thread, wish: Wish) -> Result<Self, HelloError> {
        Self::new(thread.executable_path()?, thread.executable()?, None, thread, wish)
    }

    fn new(
        path: PathBuf,
        file: File,
        executable: Option<PathBuf>,
        thread: Thread,
        wish: Wish,
    ) -> Result<Self, HelloError> {
        let root = thread.root().or_else(|_| GuestRoot::own())?;
        let environment = thread.environment().unwrap_or_default();
        Ok(Self { path, file, executable, wish, root, environment })
    }

    /// One of its environment variables.
    pub(super) fn variable(&self, name: &str) -> Option<&[u8]> {
        variable_in(&self.environment, name)
    }
}

/// A program that may start.
pub(super) struct Admitted {
    pub(super) provision: Arc<Provision>,
    pub(super) built_by_nix: bool,
    /// What its loader will not take, each in a sentence.
    pub(super) objections: Vec<String>,
}

/// Admits a program. `may_wait`: if another start of the same program is being worked out, this one waits for its plan.
pub(super) fn admit(
    tree: &Tree,
    guest: &Guest,
    progress: &dyn Progress,
    may_wait: bool,
) -> Result<Admitted, HelloError> {
    let progress = &tree.witness.sightings.counting(progress);
    let Some(key) = tree.plans.key_of(guest) else { return admit_anew(tree, guest, progress, None) };
    let by_plan = || {
        let kept = tree.plans.find(key, guest, &tree.files)?;
        admit_by_plan(tree, guest, (key, kept), progress)
    };
    if let Some(admitted) = by_plan() {
        return Ok(admitted);
    }
    let turn = Turn::take(&tree.plans.roots_of(&guest.path), may_wait);
    if turn.as_ref().is_some_and(Turn::has_waited)
        && let Some(admitted) = by_plan()
    {
        return Ok(admitted);
    }
    admit_anew(tree, guest, progress, turn.map(|turn| (key, turn)))
}

/// As the plan says; what of it has been collected as garbage is realised again. `None` if that cannot be done.
fn admit_by_plan(
    tree: &Tree,
    guest: &Guest,
    (key, kept): (u64, Kept),
    progress: &dyn Progress,
) -> Option<Admitted> {
    let plan = kept.plan()?;
    let cache = ServedCache::kept(path_of(plan.served_cache()))?;
    let body = Body::read(plan.body())?;
    let traits = Traits::of_plan(&body);
    let asker = tree.permission.askers.meet(&guest.path, guest.executable.as_deref(), traits);
    let objects = plan.objects().filter_map(|object| StorePath::new(object.to_str().ok()?));
    let gone: Vec<_> = objects.filter(|object| !tree.files.is_complete(object)).collect();
    if !gone.is_empty() {
        let gate = tree.gate(asker);
        if !tree.realiser.realise_again(&gone, progress, &gate).is_empty() {
            return None;
        }
    }
    if body.seeds.is_none() && !tree.provisions.has_current_seeds() {
        return None;
    }
    let path = path_of(plan.loader());
    let provision = match tree.provisions.find(|loader| loader.path == path) {
        Some(there) => there,
        None => {
            let looks_at_cache = plan.flags() & LOOKS_AT_CACHE != 0;
            let cache_path = Some(plan.loader_cache()).filter(|path| !path.is_empty());
            let cache_path = cache_path.map(|path| path_of(path).to_owned());
            // One that is at hand lies in the program's own root.
            let of_store = if path.starts_with(STORE) { tree.files.open(path).ok() } else { None };
            let file = of_store.or_else(|| guest.root.open(path).ok())?;
            let (path, version, sites) = (path.to_owned(), body.loader_version, plan.sites().into());
            tree.provisions.add(Loader { path, file, version, cache_path, looks_at_cache, sites })
        }
    };
    let own_seeds = body.seeds.clone().map(Arc::new);
    let provision = own_seeds.map_or(provision.clone(), |own| tree.provisions.with_seeds(&provision, &own));
    tree.learn(&guest.path, body.closure(), &provision, Some(cache));
    let built_by_nix = plan.flags() & BUILT_BY_NIX != 0;
    tree.plans.meet(Some(&plan));
    tree.plans.start_by(key, &guest.path, kept);
    debug!(program = %guest.path.display(), "starts by its plan");
    Some(Admitted { provision, built_by_nix, objections: Vec::new() })
}

/// Chooses the loader and everything that the program is known to need, and has it realised.
fn admit_anew(
    tree: &Tree,
    guest: &Guest,
    progress: &dyn Progress,
    turn: Option<(u64, Turn)>,
) -> Result<Admitted, HelloError> {
    debug!(program = %guest.path.display(), "starts anew");
    tree.plans.meet(None);
    // Mapped although it is foreign: whoever can truncate it while it starts ends the supervision of nothing but its
    // own tree.
    let bytes = MappedFile::open(&guest.file)
        .map_err(|source| HelloError::Program { path: guest.path.clone(), source })?;
    let library_path = guest.variable("LD_LIBRARY_PATH").and_then(|value| std::str::from_utf8(value).ok());
    let files = GuestFiles(&guest.root);
    let mut bundle = Bundle::read(&guest.path, bytes.as_ref(), library_path, &files)
        .map_err(|source| HelloError::Elf { path: guest.path.clone(), source })?;
    let index = tree.late_index.open().map_err(HelloError::Index)?;
    // Looked at before they are read: what changes meanwhile makes the next start anew.
    let loaders = tree.libraries.loaders(&guest.environment);
    let folders = tree.libraries.folders(&guest.environment);
    let mut at_hand = look(guest, folders.iter().cloned().chain(loaders));
    let own = own_loader(tree, guest, &bundle)?;
    let built_by_nix = own.is_some();
    let foreign = match own {
        Some(_) => None,
        None => Some(ForeignLoader::of(tree, &guest.environment, &guest.root)?),
    };
    let seeds = tree.seeds_in(folders, &guest.root);
    // Nobody need have protected what they lie in.
    at_hand.extend(look(guest, seeds.packages().iter().map(|package| package.as_str().into())));
    let outdated = tree.outdated(&seeds);
    let yields = |soname: &str| outdated.iter().any(|(name, _)| name == soname);
    bundle.find_missing(|soname| seeds.get(soname).filter(|_| !yields(soname)).map(Path::to_owned));
    let first = foreign.iter().filter_map(ForeignLoader::object).collect();
    let traits = Traits::of_bundle(&bundle);
    let asker = tree.permission.askers.meet(&guest.path, guest.executable.as_deref(), traits);
    let mut supply = tree.supply(asker, first, progress);
    let closure = resolve(&bundle, &files, index, &mut supply);
    let failed = supply.finish();
    let is_whole = failed.is_empty();
    let provision = match (own, foreign) {
        (Some(own), _) => own,
        (None, Some(foreign)) => foreign.provide(tree, failed)?,
        (None, None) => return Err(HelloError::NoLoader),
    };
    let provision = tree.provisions.with_seeds(&provision, &tree.up_to_date(seeds, &outdated));
    let objections = objections(&bundle, &provision.loader.path, provision.loader.version);
    // What could not be had may be had next time; and what cannot start is told why each time.
    if let Some((key, turn)) = turn.filter(|_| is_whole && objections.is_empty()) {
        let (bundle, closure, provision) = (&bundle, &closure, &*provision);
        let inline = obstacle_to_inline(tree, &provision.loader, Wish::Unsaid, built_by_nix).is_none();
        let elsewhere = tree.files.are_elsewhere();
        let made = Made { bundle, closure, provision, at_hand, built_by_nix, elsewhere, inline };
        tree.plans.begin(key, turn, guest, &made);
    }
    tree.learn(&guest.path, closure, &provision, None);
    Ok(Admitted { provision, built_by_nix, objections })
}

/// What is at these paths in a program's own root, which need not exist.
fn look(guest: &Guest, paths: impl Iterator<Item = PathBuf>) -> Conditions {
    let stamped = paths.map(|path| {
        let stamp = conditions::stamp_in(&guest.root, &path);
        (path, stamp)
    });
    stamped.collect()
}

/// Why a program cannot have the engine inline, which sees nothing of what the loader can open, at this start and the next;
/// nothing, if it can.
pub(super) fn obstacle_to_inline(
    tree: &Tree,
    loader: &Loader,
    wish: Wish,
    built_by_nix: bool,
) -> Option<&'static str> {
    let wished = tree.engine.wished(wish);
    let is_asked_for = wished == Wish::Only(Engine::Inline);
    let obstacles = [
        (!is_asked_for && wished != Wish::Auto, "another engine is asked for"),
        (!is_asked_for && built_by_nix, "its children have no shim if Nix has built them too"),
        (tree.permission.policy().is_some(), POLICY_IN_FORCE),
        (tree.files.are_elsewhere(), "the store lies elsewhere than its paths say"),
    ];
    // The loader's code is read through for its sites: last, and not for nothing.
    obstacles.into_iter().find_map(|(stands, words)| stands.then_some(words)).or_else(|| {
        match loader.sites() {
            Sites { open: 0, .. } => Some("where the loader opens files is not known"),
            Sites { look: 0, .. } if loader.looks_at_cache => {
                Some("where the loader looks at its cache is not known")
            }
            Sites { .. } => None,
        }
    })
}

/// A program built by Nix names a loader in the store: it runs under that one.
fn own_loader(tree: &Tree, guest: &Guest, bundle: &Bundle) -> Result<Option<Arc<Provision>>, HelloError> {
    let interpreter = bundle.members.first().and_then(|program| program.facts.interp.as_deref());
    let interpreter = interpreter.map(Path::new);
    let Some(path) = interpreter.filter(|path| path.starts_with("/nix/store")) else { return Ok(None) };
    let open = || tree.files.open_elsewhere(path).map_or_else(|| guest.root.open(path), Ok);
    if guest.root.contains(path) || tree.files.stat_elsewhere(path).is_some() {
        return provide_loader(tree, path, open).map(Some);
    }
    Ok(None)
}

/// Makes a loader one of the tree's.
pub(super) fn provide_loader(
    tree: &Tree,
    path: &Path,
    open: impl FnOnce() -> io::Result<File>,
) -> Result<Arc<Provision>, HelloError> {
    // Where it really lies: a link's folder is not where the rest of glibc is.
    let path = tree.files.real_path(path);
    if let Some(there) = tree.provisions.find(|loader| loader.path == path) {
        return Ok(there);
    }
    let file = open().map_err(|source| LoaderError::Read { path: path.clone(), source })?;
    Ok(tree.provisions.add(Loader::new(&path, file)?))
}
