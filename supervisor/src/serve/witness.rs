//! Who needs what, as far as it is known, and who is told what became of it: the user, in a line on the program's own
//! standard error, and whoever traces.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::warn;

use super::sightings::Sightings;
use super::tree::Wanted;
use crate::guest::remote::Thread;
use crate::plan::closure::{Answer, Closure};
use crate::plan::permission::Refusal;
use crate::report::errors;
use crate::report::event::{self, Refused, Reporter, What};
use crate::report::watcher::Watcher;
use crate::store::{StoreError, StoreFiles};

/// The memory of a tree's loads.
pub(super) struct Witness {
    reporter: Reporter,
    /// What whoever traces is told of what the loader gets.
    pub(super) sightings: Sightings,
    engine: OnceLock<String>,
    /// Who is linked against a soname.
    needed_by: Mutex<HashMap<String, PathBuf>>,
    /// Sonames that programs of the tree are linked against and that cannot be provided, with the line that says so.
    absent: Mutex<HashMap<String, String>>,
    /// What each process was told already.
    told: Mutex<HashSet<(u32, String)>>,
    /// What was kept from each process, and told.
    forbidden: Mutex<HashSet<(u32, String)>>,
}

impl Witness {
    pub(super) fn new(reporter: Reporter, store: Arc<StoreFiles>) -> Self {
        Self {
            sightings: Sightings::new(reporter.clone(), store),
            engine: OnceLock::new(),
            reporter,
            needed_by: Mutex::default(),
            absent: Mutex::default(),
            told: Mutex::default(),
            forbidden: Mutex::default(),
        }
    }

    /// Which engine serves the tree, and why that one.
    pub(super) fn engine(&self, words: &str) {
        // A tree has one.
        let _ = self.engine.set(words.to_owned());
        self.reporter.report(0, What::Engine(words.to_owned()));
    }

    /// May somebody watch now?
    pub(super) fn may_attend(&self) -> bool {
        self.reporter.may_begin()
    }

    /// Somebody watches from now on; see [`Sightings::attend`].
    pub(super) fn attend(&self, watcher: Watcher, member: Thread) -> Result<(), Watcher> {
        let engine =
            self.engine.get().map_or("seccomp: taken over from a supervisor that died", String::as_str);
        self.sightings.attend(watcher, engine, member)
    }

    /// Takes note of what a program needs.
    pub(super) fn learn(&self, closure: &Closure) {
        let mut needed_by = lock(&self.needed_by);
        for need in &closure.needs {
            needed_by.entry(need.soname.clone()).or_insert_with(|| need.needed_by.clone());
            let line = match &need.answer {
                Answer::Absent => errors::absent(&need.soname, &need.needed_by),
                Answer::NoIndex => errors::no_index(&need.soname, &need.needed_by),
                Answer::Excluded(reason) => errors::excluded(&need.soname, &need.needed_by, reason),
                Answer::Unfit(versions) => errors::unfit(&need.soname, &need.needed_by, versions),
                _ => continue,
            };
            lock(&self.absent).insert(need.soname.clone(), line);
        }
    }

    /// What a program's loader will not take.
    pub(super) fn object(&self, thread: Thread, sentences: &[String]) {
        sentences.iter().for_each(|sentence| self.say(Some(thread), &format!("sonde: {sentence}")));
    }

    /// The file that is linked against a soname; none for what a program asks for at run time.
    pub(super) fn needed_by(&self, soname: &str) -> Option<PathBuf> {
        lock(&self.needed_by).get(soname).cloned()
    }

    /// A library that nobody has. It is worth a line if a program is linked against it; anything else may be found
    /// further on in the search, or be done without.
    pub(super) fn missing(&self, soname: &str, thread: Option<Thread>, since: Instant) {
        let line = lock(&self.absent).get(soname).cloned();
        if let Some(line) = &line {
            // The loader tries several last folders; once is enough.
            self.tell(thread, soname, line);
        }
        self.refused(soname, thread, since, event::Refusal::Absent(line.unwrap_or_default()), None, None);
    }

    /// A library that the policy keeps from a process: told once, though the loader looks in several places. A line is
    /// worth what a program, or a library that it was given, is linked against.
    pub(super) fn forbidden(
        &self,
        soname: &str,
        thread: Option<Thread>,
        since: Instant,
        refusal: &Refusal,
        is_fault_news: bool,
    ) {
        let process = thread.map_or(0, process_of);
        if !lock(&self.forbidden).insert((process, soname.to_owned())) {
            return;
        }
        let needed_by = refusal.brought_by.as_deref().map(Path::to_owned).or_else(|| self.needed_by(soname));
        // What holds for everything is said once.
        if refusal.is_fault && is_fault_news {
            self.tell(thread, soname, &errors::faulty(&refusal.rule));
        } else if let Some(needed_by) = needed_by.as_ref().filter(|_| !refusal.is_fault) {
            let line = errors::forbidden(soname, needed_by, refusal.package.as_deref(), &refusal.rule);
            self.tell(thread, soname, &line);
        }
        let why = event::Refusal::Forbidden(refusal.rule.to_string());
        let brought_by = refusal.brought_by.as_deref().map(Path::to_owned);
        self.refused(soname, thread, since, why, refusal.package.clone(), brought_by);
    }

    /// A library that is provided although the policy forbids it, because refusals are only told.
    pub(super) fn would_be_forbidden(&self, soname: &str, thread: Option<Thread>, refusal: &Refusal) {
        let process = thread.map_or(0, process_of);
        if lock(&self.forbidden).insert((process, soname.to_owned())) {
            let package = refusal.package.as_deref();
            self.say(thread, &errors::would_be_forbidden(soname, package, &refusal.rule));
        }
    }

    /// A library whose package cannot be had.
    pub(super) fn failed(&self, load: &Wanted, error: &StoreError) {
        if let Some(needed_by) = self.needed_by(&load.soname) {
            let line = errors::unavailable(&load.soname, &needed_by, &load.choice, error);
            self.tell(load.thread, &load.soname, &line);
        }
        let why = match error {
            StoreError::Gate(error) => event::Refusal::Forbidden(error.to_string()),
            error => event::Refusal::Failed(error.to_string()),
        };
        let package = load.choice.package();
        self.refused(&load.soname, load.thread, load.since, why, Some(package), None);
    }

    fn refused(
        &self,
        soname: &str,
        thread: Option<Thread>,
        since: Instant,
        why: event::Refusal,
        package: Option<String>,
        needed_by: Option<PathBuf>,
    ) {
        if self.reporter.is_heard() {
            let (soname, took) = (soname.to_owned(), since.elapsed());
            let caller = self.sightings.caller(thread, &soname);
            let refused = Refused { soname, needed_by, caller, package, why, took };
            self.sightings.report(thread.map_or(0, process_of), What::Refused(refused));
        }
    }

    /// Writes a line to the program's own standard error, once for a process and soname.
    fn tell(&self, thread: Option<Thread>, soname: &str, line: &str) {
        let Some(thread) = thread else { return };
        if lock(&self.told).insert((process_of(thread), soname.to_owned())) {
            self.say(Some(thread), line);
        }
    }

    fn say(&self, thread: Option<Thread>, line: &str) {
        let Some(thread) = thread else { return };
        if let Err(error) = thread.standard_error().and_then(|stderr| write_at_once(stderr, line)) {
            warn!(%error, line, "the program's standard error cannot be reached");
        }
    }
}

/// Writes a line if that can be done without waiting: whoever reads the other end may be a process of the tree that
/// waits for us. A pipe that is ready takes this many bytes at once (`PIPE_BUF`, pipe(7)).
fn write_at_once(mut file: File, line: &str) -> io::Result<()> {
    const AT_ONCE: usize = 4096;
    let mut descriptors = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut descriptors, PollTimeout::ZERO)?;
    if !descriptors[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut bytes = line.as_bytes().to_vec();
    bytes.truncate(AT_ONCE - 1);
    bytes.push(b'\n');
    file.write_all(&bytes)
}

pub(super) fn process_of(thread: Thread) -> u32 {
    thread.process().unwrap_or(thread.id())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and sets stay whole whatever happens between two of their methods.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_line_is_written_whole_or_not_at_all() {
        let (mut reader, writer) = io::pipe().unwrap();
        let file = || File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
        write_at_once(file(), "a line").unwrap();
        let mut line = [0; 7];
        reader.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"a line\n");

        let block = "x".repeat(5000);
        while write_at_once(file(), &block).is_ok() {}
        assert_eq!(write_at_once(file(), "late").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
