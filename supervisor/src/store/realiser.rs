//! Each store path is realised once, however many processes ask, and everybody who asked is told.
//!
//! The state is of one plan: what it has rooted is valid for as long as the root stands, which makes the second
//! start ask nobody anything.

use std::collections::HashMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{Gate, GateError, LimitError, Progress, Store, StoreError, StorePath};

/// How long a failure is believed before the store is asked again: the loader asks for the same library in one folder
/// after the other, and a person who has mended the network tries again.
const FAILURE_STANDS: Duration = Duration::from_secs(2);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Asked<W> {
    /// The path is there, or cannot be had: here is the one who asked, at once.
    Answered(W, Result<(), StoreError>),
    /// Somebody must call [`Realiser::run`] for this path; the one who asked is told then.
    Start,
    /// Somebody does so already.
    Waiting,
}

#[derive(Debug)]
enum State<W> {
    Valid,
    Running(Vec<W>),
    Failed(StoreError, Instant),
}

/// The store paths of one plan. `W` is whoever waits for one.
pub(crate) struct Realiser<W> {
    store: Arc<dyn Store>,
    roots: PathBuf,
    /// Found out when somebody asks.
    states: OnceLock<Mutex<States<W>>>,
}

type States<W> = HashMap<StorePath, State<W>>;

impl<W> Realiser<W> {
    /// `roots` is the folder of this plan's gc roots; what they hold counts as valid.
    pub(crate) fn new(store: Arc<dyn Store>, roots: PathBuf) -> Self {
        Self { store, roots, states: OnceLock::new() }
    }

    /// The folder of this plan's gc roots.
    pub(crate) fn roots(&self) -> &Path {
        &self.roots
    }

    /// The store.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Is the path known to be valid?
    pub(crate) fn is_valid(&self, path: &StorePath) -> bool {
        matches!(self.states().get(path), Some(State::Valid))
    }

    /// Asks for a path on behalf of `who`.
    pub(crate) fn ask(&self, path: &StorePath, who: W) -> Asked<W> {
        let mut states = self.states();
        match states.get_mut(path) {
            Some(State::Valid) => Asked::Answered(who, Ok(())),
            Some(State::Running(waiting)) => {
                waiting.push(who);
                Asked::Waiting
            }
            Some(State::Failed(error, at)) if at.elapsed() < FAILURE_STANDS => {
                Asked::Answered(who, Err(error.clone()))
            }
            Some(State::Failed(..)) | None => {
                states.insert(path.clone(), State::Running(vec![who]));
                Asked::Start
            }
        }
    }

    /// Realises a path that [`Realiser::ask`] said to start, and returns everybody who waited for it.
    pub(crate) fn run(
        &self,
        path: &StorePath,
        progress: &dyn Progress,
        gate: &dyn Gate,
    ) -> (Result<(), StoreError>, Vec<W>) {
        let result = self.store_realise(std::slice::from_ref(path), progress, gate);
        let waiting = match self.conclude(path, &result) {
            Some(State::Running(waiting)) => waiting,
            _ => Vec::new(),
        };
        (result, waiting)
    }

    /// Realises many paths in one request and waits for it; returns what could not be had.
    pub(crate) fn run_all(
        &self,
        paths: &[StorePath],
        progress: &dyn Progress,
        gate: &dyn Gate,
    ) -> Vec<(StorePath, StoreError)> {
        let missing: Vec<StorePath> = paths.iter().filter(|path| !self.is_valid(path)).cloned().collect();
        if missing.is_empty() {
            return Vec::new();
        }
        let refused = match self.store_realise(&missing, progress, gate) {
            Ok(()) => {
                missing.iter().for_each(|path| self.note(path, &Ok(())));
                return Vec::new();
            }
            Err(error) => error,
        };
        // One that cannot be had fails all of a request: find out which.
        let mut failed = Vec::new();
        for path in missing {
            let alone = std::slice::from_ref(&path);
            let result = match &refused {
                // In parts it would be what is too much as a whole.
                StoreError::Limit(LimitError::TooLarge { .. })
                | StoreError::Gate(GateError::Download { .. } | GateError::Unknown)
                    if self.would_download(alone) =>
                {
                    Err(refused.clone())
                }
                _ => self.store_realise(alone, progress, gate),
            };
            self.note(&path, &result);
            if let Err(error) = result {
                failed.push((path, error));
            }
        }
        failed
    }

    /// Realises paths that have been valid, and whose roots have not kept them.
    pub(crate) fn realise_again(
        &self,
        paths: &[StorePath],
        progress: &dyn Progress,
        gate: &dyn Gate,
    ) -> Vec<(StorePath, StoreError)> {
        self.states().retain(|path, _| !paths.contains(path));
        self.run_all(paths, progress, gate)
    }

    /// What could not be had is asked for again: whatever was against it has changed.
    pub(crate) fn forget_failures(&self) {
        self.states().retain(|_, state| !matches!(state, State::Failed(..)));
    }

    /// Also if that cannot be told.
    fn would_download(&self, paths: &[StorePath]) -> bool {
        self.store.sizes(paths).map_or(true, |sizes| sizes.download > 0)
    }

    fn store_realise(
        &self,
        paths: &[StorePath],
        progress: &dyn Progress,
        gate: &dyn Gate,
    ) -> Result<(), StoreError> {
        let Some(first) = paths.first() else { return Ok(()) };
        // Whoever has no home, such as a service's user, has nowhere to keep a root. What is in use is kept all the same:
        // the collector looks into the memory maps of processes.
        let has_folder = fs::create_dir_all(&self.roots).inspect_err(|error| {
            tracing::warn!(folder = %self.roots.display(), %error, "no place for gc roots");
        });
        // A path is rooted once in a plan, so its name is free.
        let root = has_folder.is_ok().then(|| self.roots.join(first.base_name()));
        // Whoever waits must be told even if the store panics.
        let realise = || self.store.realise_through(gate, paths, root.as_deref(), progress);
        let realised = catch_unwind(AssertUnwindSafe(realise)).unwrap_or_else(|_| {
            Err(StoreError::Refused("the store failed unexpectedly; please report this".into()))
        });
        realised.inspect_err(|error| tracing::warn!(%first, %error, "not realised"))
    }

    /// Records a result unless somebody else is at the same path: then it is theirs to conclude.
    fn note(&self, path: &StorePath, result: &Result<(), StoreError>) {
        if !matches!(self.states().get(path), Some(State::Running(_))) {
            self.conclude(path, result);
        }
    }

    fn conclude(&self, path: &StorePath, result: &Result<(), StoreError>) -> Option<State<W>> {
        let state = match result {
            Ok(()) => State::Valid,
            Err(error) => State::Failed(error.clone(), Instant::now()),
        };
        self.states().insert(path.clone(), state)
    }

    fn states(&self) -> MutexGuard<'_, States<W>> {
        let states = self.states.get_or_init(|| Mutex::new(self.rooted()));
        // The map is consistent between any two statements that change it.
        states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the roots keep.
    fn rooted(&self) -> States<W> {
        let roots = fs::read_dir(&self.roots).into_iter().flatten().flatten();
        let targets = roots.filter_map(|entry| fs::read_link(entry.path()).ok());
        let paths = targets.filter_map(|target| StorePath::new(target.to_str()?));
        // A root whose path is gone (the store was wiped) is worth nothing.
        paths.filter(|path| self.store.has(path)).map(|path| (path, State::Valid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Forecast, Limits, NoProgress, OpenGate, Sizes};
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Has every path but those whose name ends in `-gone`.
    #[derive(Default)]
    struct Fake {
        requests: AtomicUsize,
    }

    impl Store for Fake {
        fn has(&self, _: &StorePath) -> bool {
            true
        }

        fn location(&self, path: &StorePath) -> PathBuf {
            path.as_str().into()
        }

        fn sizes(&self, paths: &[StorePath]) -> Result<Sizes, StoreError> {
            let download = paths.iter().filter(|path| path.as_str().ends_with("-huge")).count() as u64;
            Ok(Sizes { download, ..Sizes::default() })
        }

        fn forecast(&self, paths: &[StorePath]) -> Result<Forecast, StoreError> {
            Ok(Forecast { sizes: Some(self.sizes(paths)?), ..Forecast::default() })
        }

        fn realise_through(
            &self,
            _: &dyn Gate,
            paths: &[StorePath],
            root: Option<&Path>,
            _: &dyn Progress,
        ) -> Result<(), StoreError> {
            self.requests.fetch_add(1, Ordering::Relaxed);
            Limits { max_download: Some(1), ..Limits::default() }.allow(self.sizes(paths)?)?;
            match paths.iter().find(|path| path.as_str().ends_with("-gone")) {
                Some(path) => Err(StoreError::Refused(format!("no {path}"))),
                None => {
                    for (index, path) in paths.iter().enumerate() {
                        let Some(root) = root else { continue };
                        let name = format!("{}{}", root.display(), ["", "-2", "-3"][index]);
                        std::os::unix::fs::symlink(path.as_str(), name).unwrap();
                    }
                    Ok(())
                }
            }
        }
    }

    fn path(name: &str) -> StorePath {
        StorePath::new(&format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
    }

    fn realiser(folder: &Path) -> (Arc<Fake>, Realiser<u32>) {
        let store = Arc::new(Fake::default());
        (store.clone(), Realiser::new(store, folder.join("roots/plan")))
    }

    #[test]
    fn many_who_ask_cost_one_request_and_all_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (store, realiser) = realiser(folder.path());
        assert!(matches!(realiser.ask(&path("zlib"), 1), Asked::Start));
        assert!(matches!(realiser.ask(&path("zlib"), 2), Asked::Waiting));
        let (result, waiting) = realiser.run(&path("zlib"), &NoProgress, &OpenGate);
        assert!(result.is_ok());
        assert_eq!(waiting, [1, 2]);
        assert!(matches!(realiser.ask(&path("zlib"), 3), Asked::Answered(3, Ok(()))));
        assert_eq!(store.requests.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn one_bad_path_does_not_spoil_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (_, realiser) = realiser(folder.path());
        let failed = realiser.run_all(&[path("a"), path("b-gone"), path("c")], &NoProgress, &OpenGate);
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].0, path("b-gone"));
        assert!(realiser.is_valid(&path("a")) && realiser.is_valid(&path("c")));
        assert!(matches!(realiser.ask(&path("b-gone"), 1), Asked::Answered(1, Err(_))));
    }

    #[test]
    fn what_is_too_much_as_a_whole_is_not_had_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let (_, realiser) = realiser(folder.path());
        let failed = realiser.run_all(&[path("a-huge"), path("b-huge"), path("c")], &NoProgress, &OpenGate);
        let names: Vec<_> = failed.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(names, [path("a-huge"), path("b-huge")]);
        assert!(realiser.is_valid(&path("c")));
    }

    #[test]
    fn what_was_rooted_once_is_valid_for_the_next_supervisor() {
        let folder = tempfile::tempdir().unwrap();
        let (_, first) = realiser(folder.path());
        assert!(first.run_all(&[path("a"), path("b")], &NoProgress, &OpenGate).is_empty());
        let (store, second) = realiser(folder.path());
        assert!(second.run_all(&[path("a"), path("b")], &NoProgress, &OpenGate).is_empty());
        assert_eq!(store.requests.load(Ordering::Relaxed), 0);
    }
}
