//! Shows how a fetch gets on: on a terminal as lines that are gone when it is over, on a desktop as one notification,
//! elsewhere not at all. Not the log, which the stores write.
//!
//! Whoever fetches only leaves numbers here; a thread of its own looks at them from time to time, so that a terminal
//! that is slow, or stopped, slows no download. It begins with the first request and ends with this value.

mod bars;
mod desktop;

use std::fs::File;
use std::io::IsTerminal;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::{NoProgress, Progress, StorePath};

/// How long whoever looks on has to erase what it drew. A terminal that takes nothing any more keeps it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What fits: bars if `stderr` is a terminal, else a notification if there is a desktop that may be notified, else
/// nothing. `program` is who waits for it. Dropping it erases what was drawn: it must be dropped before the program
/// itself may draw.
pub(crate) fn shown(stderr: Option<File>, program: &str, desktop: bool) -> Box<dyn Progress + Send> {
    if let Some(terminal) = stderr.filter(IsTerminal::is_terminal) {
        return Box::new(Observed::by(move |numbers| bars::draw(numbers, terminal)));
    }
    match desktop::Notifier::find().filter(|_| desktop) {
        Some(notifier) => {
            let program = program.to_owned();
            Box::new(Observed::by(move |numbers| desktop::wait(numbers, &notifier, &program)))
        }
        None => Box::new(NoProgress),
    }
}

/// One request.
#[derive(Debug, Default, Clone)]
struct Request {
    paths: usize,
    /// To be downloaded, where that is known.
    bytes: Option<u64>,
    /// What is done with, without what `running` has received.
    done: u64,
    running: Vec<Download>,
}

/// A download that is under way.
#[derive(Debug, Clone)]
struct Download {
    path: StorePath,
    bytes: Option<u64>,
    received: u64,
}

impl Request {
    fn position(&self) -> u64 {
        self.running.iter().fold(self.done, |sum, download| sum + download.received)
    }
}

/// What there is to be seen.
#[derive(Default)]
struct Numbers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    request: Option<Request>,
    over: bool,
    /// The observer has ended.
    gone: bool,
}

impl Numbers {
    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers that are a little wrong do no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long; `false`: it is over.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.over || left.is_zero() {
                return !state.over;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The request that is under way.
    fn request(&self) -> Option<Request> {
        self.state().request.clone()
    }
}

/// Numbers, and the thread that looks at them.
struct Observed {
    numbers: Arc<Numbers>,
    observer: Mutex<Observer>,
}

enum Observer {
    Waiting(Box<dyn FnOnce(&Numbers) + Send>),
    Running,
    /// None was needed, or there could be none.
    Absent,
}

/// Says that the observer has ended, also if it panicked.
struct Ending(Arc<Numbers>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.state().gone = true;
        self.0.changed.notify_all();
    }
}

impl Observed {
    fn by(observer: impl FnOnce(&Numbers) + Send + 'static) -> Self {
        Self { numbers: Arc::default(), observer: Mutex::new(Observer::Waiting(Box::new(observer))) }
    }

    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) {
        let mut observer = self.observer();
        *observer = match std::mem::replace(&mut *observer, Observer::Absent) {
            Observer::Waiting(observe) => {
                let ending = Ending(self.numbers.clone());
                let thread = std::thread::Builder::new().name("progress".into());
                // Without a thread nothing is shown, and all else goes on.
                match thread.spawn(move || observe(&ending.0)) {
                    Ok(_) => Observer::Running,
                    Err(_) => Observer::Absent,
                }
            }
            other => other,
        };
    }

    fn change(&self, change: impl FnOnce(&mut Request)) {
        if let Some(request) = &mut self.numbers.state().request {
            change(request);
        }
    }
}

impl Progress for Observed {
    fn begin(&self, paths: usize, bytes: Option<u64>) {
        self.numbers.state().request = Some(Request { paths, bytes, ..Request::default() });
        self.start();
    }

    fn started(&self, path: &StorePath, bytes: Option<u64>) {
        self.change(|request| {
            request.running.retain(|download| download.path != *path);
            request.running.push(Download { path: path.clone(), bytes, received: 0 });
        });
    }

    fn received(&self, path: &StorePath, bytes: u64) {
        self.change(|request| {
            if let Some(download) = request.running.iter_mut().find(|download| download.path == *path) {
                download.received += bytes;
            }
        });
    }

    fn finished(&self, path: &StorePath, bytes: u64) {
        self.change(|request| {
            request.running.retain(|download| download.path != *path);
            request.done = request.done.saturating_add(bytes);
        });
    }

    fn end(&self) {
        self.numbers.state().request = None;
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.numbers.state().over = true;
        self.numbers.changed.notify_all();
        if matches!(*self.observer(), Observer::Running) {
            let state = self.numbers.state();
            let waited = self.numbers.changed.wait_timeout_while(state, LAST_WORDS, |state| !state.gone);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> StorePath {
        StorePath::new(&format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
    }

    #[test]
    fn an_attempt_that_is_made_again_counts_once() {
        let observed = Observed::by(|_| {});
        observed.begin(2, Some(100));
        observed.started(&path("a"), Some(60));
        observed.received(&path("a"), 50);
        observed.started(&path("a"), Some(60));
        observed.received(&path("a"), 10);
        // By another process: nobody has seen it start.
        observed.finished(&path("b"), 40);
        assert_eq!(observed.numbers.request().unwrap().position(), 50);
        observed.received(&path("a"), 50);
        observed.finished(&path("a"), 60);
        assert_eq!(observed.numbers.request().unwrap().position(), 100);
        observed.end();
        assert!(observed.numbers.request().is_none());
    }

    #[test]
    fn the_observer_ends_with_what_it_observes() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let observed = Observed::by(move |numbers| {
            while numbers.wait(Duration::from_secs(600)) {}
            sender.send("over").unwrap();
        });
        observed.begin(1, None);
        observed.end();
        observed.begin(1, None);
        drop(observed);
        assert_eq!(receiver.recv(), Ok("over"));
    }
}
