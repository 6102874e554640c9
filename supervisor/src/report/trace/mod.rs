//! `sonde trace`'s product: for each library of each process who wanted it, how it was found, and why it is this one.
//!
//! Events come in from the supervisor ([`super::event`]); [`story`] says what they mean; a [`Teller`] shows it, as
//! [`human`] lines or as data ([`entry`]). All of that is done on a thread of its own.

pub(crate) mod entry;
mod facts;
pub(crate) mod graph;
pub(crate) mod html;
pub(crate) mod human;
mod image;
mod present;
mod story;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::event::{self, Event};
use super::find::Finding;
use crate::index::Index;
use entry::{End, Engine, Entry, Load, Totals, What};
use human::Human;
use story::Story;

/// A loader that is silent for so long goes on with nothing of what it was after.
const PAUSE: Duration = Duration::from_millis(100);

/// What of a trace is to be seen.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Nothing but what came from packages.
    pub(crate) only_provided: bool,
    /// Nothing but what failed.
    pub(crate) only_failed: bool,
    /// One process, by its number or the name of its program.
    pub(crate) process: Option<String>,
    /// Nothing but the first process.
    pub(crate) only_first: bool,
}

/// The form in which a trace is written as it happens.
pub(crate) enum Form {
    Human(Human),
    /// One object on each line.
    Json,
    /// Nothing: it is to be shown as a whole when it is over.
    Silent,
}

/// Says why a library is this one for the program at a path, if there was anything to choose.
pub(crate) type Explain<'e> = dyn FnMut(&Load, &Path) -> Option<Finding> + 'e;

/// Writes a trace while it happens, and keeps it for whatever wants all of it.
pub(crate) struct Teller<'t> {
    pub(crate) filter: Filter,
    pub(crate) form: Form,
    pub(crate) output: Box<dyn Write + Send>,
    pub(crate) explain: Box<Explain<'t>>,
    pub(crate) entries: Vec<Entry>,
    totals: Totals,
    /// The first process.
    first: Option<u32>,
    /// What each process runs.
    programs: HashMap<u32, PathBuf>,
}

impl<'t> Teller<'t> {
    pub(crate) fn new(
        filter: Filter,
        form: Form,
        output: Box<dyn Write + Send>,
        explain: Box<Explain<'t>>,
    ) -> Self {
        Self {
            filter,
            form,
            output,
            explain,
            entries: Vec::new(),
            totals: Totals::default(),
            first: None,
            programs: HashMap::new(),
        }
    }

    /// Tells all that arrives until it is over; returns what was to be seen of it, and where it was written.
    pub(crate) fn tell(
        mut self,
        events: &Receiver<Event>,
        begin: Entry,
        (index, drivers): (Option<Arc<Index>>, Vec<PathBuf>),
    ) -> (Vec<Entry>, Box<dyn Write + Send>) {
        let mut story = Story::new(index, drivers);
        self.show(begin);
        loop {
            let event = match events.recv_timeout(PAUSE) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    story.pause(&mut |entry| self.show(entry));
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let event::What::Over { status, signal } = event.what {
                story.finish(&mut |entry| self.show(entry));
                if !self.entries.iter().any(|entry| matches!(entry.what, What::Engine(_))) {
                    let engine = "none; the program runs unsupervised".to_owned();
                    self.show(Entry { at: event.at, what: What::Engine(Engine { engine }) });
                }
                if !matches!(self.form, Form::Json) {
                    self.explain_all();
                }
                let end = End { status, signal, totals: self.totals.clone() };
                self.show(Entry { at: event.at, what: What::End(end) });
                break;
            }
            story.go_on(event, &mut |entry| self.show(entry));
        }
        (self.entries, self.output)
    }

    fn show(&mut self, mut entry: Entry) {
        if !self.is_wanted(&entry.what) {
            return;
        }
        self.totals.count(&entry.what);
        if let What::Process(process) = &entry.what {
            self.programs.insert(process.process, process.program.clone());
        }
        // Where it need not be said at once, it is worked out when the program does not need the processor any more.
        if matches!(self.form, Form::Json) {
            self.explain(&mut entry);
        }
        let text = match &mut self.form {
            Form::Human(human) => human.entry(&entry),
            Form::Json => serde_json::to_string(&entry).map(|line| line + "\n").unwrap_or_default(),
            Form::Silent => String::new(),
        };
        self.write(&text);
        self.entries.push(entry);
    }

    fn explain(&mut self, entry: &mut Entry) {
        if let What::Load(load) = &mut entry.what {
            let program = self.programs.get(&load.process);
            load.choice = program.and_then(|program| (self.explain)(load, program));
        }
    }

    /// Says why each library is this one, and what the chosen ones lack.
    fn explain_all(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            // A process may have executed another program since.
            if let What::Process(process) = &entry.what {
                self.programs.insert(process.process, process.program.clone());
            }
            self.explain(entry);
            if let Form::Human(human) = &self.form {
                let complaint = human.complaint(entry);
                self.write(&complaint);
            }
        }
        self.entries = entries;
    }

    fn write(&mut self, text: &str) {
        if !text.is_empty() {
            // Whoever has closed it does not want to know.
            let _ = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        }
    }

    fn is_wanted(&mut self, what: &What) -> bool {
        let (process, program) = match what {
            What::Process(process) => (process.process, human::file_name(&process.program)),
            What::Load(load) => (load.process, load.program.clone()),
            What::Begin(_) | What::Engine(_) | What::Fetch(_) | What::Lost(_) | What::End(_) => {
                return true;
            }
        };
        let first = *self.first.get_or_insert(process);
        let named =
            self.filter.process.as_ref().is_none_or(|one| *one == program || *one == process.to_string());
        if !named || (self.filter.only_first && process != first) {
            return false;
        }
        let What::Load(load) = what else { return true };
        (!self.filter.only_failed || load.is_failure())
            && (!self.filter.only_provided || load.provider == Some(entry::Provider::Package))
    }
}
