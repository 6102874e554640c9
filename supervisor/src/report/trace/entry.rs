//! What a trace says: one value for each line of it. `docs/trace-schema.md` is about this form, and its number is here.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::report::find::Finding;
use crate::report::lossy;

/// Goes up when a field changes its meaning or goes away; new fields may come at any time.
pub(crate) const SCHEMA: u32 = 1;

/// One line of a trace.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// Since the trace began.
    #[serde(rename = "at_ms", serialize_with = "milliseconds")]
    pub(crate) at: Duration,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum What {
    Begin(Begin),
    Engine(Engine),
    Process(Process),
    Load(Box<Load>),
    Fetch(Fetch),
    Lost(Lost),
    End(End),
}

/// The trace begins.
#[derive(Debug, Serialize)]
pub(crate) struct Begin {
    pub(crate) schema: u32,
    /// Of Sonde.
    pub(crate) version: &'static str,
    /// The program that is to be run, or runs already.
    #[serde(serialize_with = "lossy::path")]
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The process, if it runs already.
    pub(crate) process: Option<u32>,
    /// When, in seconds since 1970.
    pub(crate) unix_time: f64,
}

/// It is known how the tree is served.
#[derive(Debug, Serialize)]
pub(crate) struct Engine {
    /// Its name, and why it is that one.
    pub(crate) engine: String,
}

/// A process begins, or executes another program.
#[derive(Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) process: u32,
    pub(crate) parent: u32,
    #[serde(serialize_with = "lossy::path")]
    pub(crate) program: PathBuf,
    /// What the program is linked against.
    pub(crate) needs: Vec<String>,
}

/// A library that the loader asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) process: u32,
    /// The name of the process's program.
    pub(crate) program: String,
    pub(crate) soname: String,
    pub(crate) outcome: Outcome,
    pub(crate) why: Why,
    /// The program or library that wants it, if that can be told.
    #[serde(serialize_with = "lossy::option")]
    pub(crate) needed_by: Option<PathBuf>,
    /// Nothing, if it was not found.
    pub(crate) how: Option<How>,
    /// Whose `RUNPATH` or `RPATH`, or what path was redirected.
    #[serde(serialize_with = "lossy::option")]
    pub(crate) of: Option<PathBuf>,
    pub(crate) provider: Option<Provider>,
    pub(crate) package: Option<Package>,
    /// The file; of one that was refused the refused one.
    #[serde(serialize_with = "lossy::option")]
    pub(crate) path: Option<PathBuf>,
    /// Of the file, in bytes.
    pub(crate) size: Option<u64>,
    /// Its store path was not there when the trace began.
    pub(crate) realised: bool,
    /// What was downloaded of its store path; nothing, if that is not known. The first library of a path has it.
    pub(crate) fetched_bytes: Option<u64>,
    /// From the trap of its open to the answer.
    #[serde(rename = "took_ms", serialize_with = "milliseconds")]
    pub(crate) took: Duration,
    /// What it is linked against itself.
    pub(crate) needs: Vec<String>,
    /// Where the loader looked before, and what it did not take there.
    #[serde(serialize_with = "lossy::list")]
    pub(crate) tried: Vec<PathBuf>,
    /// Why it was not provided, or not taken: a sentence.
    pub(crate) reason: Option<String>,
    /// Who else has it, and why it was this one; nothing, where there was nothing to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) choice: Option<Finding>,
}

/// A store path was fetched.
#[derive(Debug, Serialize)]
pub(crate) struct Fetch {
    pub(crate) store_path: String,
    pub(crate) bytes: u64,
}

/// More happened than could be told.
#[derive(Debug, Serialize)]
pub(crate) struct Lost {
    pub(crate) events: u64,
}

/// The trace ends.
#[derive(Debug, Serialize)]
pub(crate) struct End {
    /// Of the program, unless a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) signal: Option<i32>,
    #[serde(flatten)]
    pub(crate) totals: Totals,
}

/// A trace in numbers.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Totals {
    pub(crate) processes: usize,
    pub(crate) loaded: usize,
    /// Of those, from packages.
    pub(crate) provided: usize,
    /// Of those, brought along by a program.
    pub(crate) bundled: usize,
    /// Of those, from the host's driver folder.
    pub(crate) host: usize,
    /// Of those, fetched or built while the program ran.
    pub(crate) realised: usize,
    pub(crate) absent: usize,
    pub(crate) failed: usize,
    pub(crate) forbidden: usize,
    pub(crate) refused: usize,
    /// Downloaded, as far as that is known.
    pub(crate) fetched_bytes: u64,
}

/// What became of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The loader has it.
    Loaded,
    /// Nobody has it.
    Absent,
    /// A package has it and cannot be had.
    Failed,
    /// The policy forbids it.
    Forbidden,
    /// It is there, and the loader does not take it.
    Refused,
}

/// Why the loader asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Why {
    /// Somebody is linked against it.
    Needed,
    /// `LD_PRELOAD` names it.
    Preload,
    /// dlopen(3).
    Dlopen,
}

/// By which rule the loader found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    Rpath,
    LibraryPath,
    Runpath,
    ServedCache,
    /// In a folder where the loader always looks.
    DefaultFolder,
    /// It was asked for by its path.
    Path,
    /// It was asked for where it is not, and returned all the same.
    Redirected,
    /// It was there when the trace began.
    Before,
}

/// Who has the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Provider {
    /// The Nix store.
    Package,
    /// It came with the program.
    Bundled,
    /// The host's driver folder.
    Host,
}

/// A package, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Package {
    /// In nixpkgs, if an index has the file.
    pub(crate) attribute: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) store_path: Option<String>,
}

impl Package {
    /// Attribute and output, or the name in the store path.
    pub(crate) fn short(&self) -> String {
        match (&self.attribute, &self.output, &self.name) {
            (Some(attribute), Some(output), _) => format!("{attribute}.{output}"),
            (_, _, Some(name)) => name.clone(),
            _ => "-".to_owned(),
        }
    }
}

impl Load {
    /// It did not come to what was asked for.
    pub(crate) fn is_failure(&self) -> bool {
        self.outcome != Outcome::Loaded
    }
}

impl Totals {
    /// Counts one more entry.
    pub(crate) fn count(&mut self, what: &What) {
        match what {
            What::Process(_) => self.processes += 1,
            What::Fetch(fetch) => self.fetched_bytes += fetch.bytes,
            What::Load(load) => {
                let counter = match load.outcome {
                    Outcome::Loaded => &mut self.loaded,
                    Outcome::Absent => &mut self.absent,
                    Outcome::Failed => &mut self.failed,
                    Outcome::Forbidden => &mut self.forbidden,
                    Outcome::Refused => &mut self.refused,
                };
                *counter += 1;
                if load.outcome == Outcome::Loaded {
                    match load.provider {
                        Some(Provider::Package) => self.provided += 1,
                        Some(Provider::Bundled) => self.bundled += 1,
                        Some(Provider::Host) => self.host += 1,
                        None => {}
                    }
                    self.realised += usize::from(load.realised);
                }
            }
            What::Begin(_) | What::Engine(_) | What::Lost(_) | What::End(_) => {}
        }
    }
}

/// With microseconds, which is as exact as it is.
fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_micros() as f64 / 1000.0)
}
