//! What was seen → what it means: who wanted a library, how it was found, where it comes from.
//!
//! The loader says nothing of its own. What it is after follows from the order of its opens, which is that of the
//! objects that it has and of the names that they need; a name that was looked for and not got is told of when the loader
//! goes on to another.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sonde_resolve::elf::ElfFacts;

use super::entry::{Engine, Entry, Fetch, How, Load, Lost, Outcome, Package, Process, Provider, What, Why};
use super::facts::FactsOnce;
use super::image::{Image, Object, is_variant, objection};
use super::present::{Present, arrange};
use crate::guest::remote::Thread;
use crate::index::Index;
use crate::report::event::{self, Beginning, Event, Opened, Refusal, Refused};
use crate::store::{STORE, StorePath};

/// A tree, as far as it has been told.
#[derive(Default)]
pub(crate) struct Story {
    index: Option<Arc<Index>>,
    /// Folders of the host's drivers.
    drivers: Vec<PathBuf>,
    processes: HashMap<u32, State>,
    facts: FactsOnce,
    /// What was downloaded of a store path, until a library of it is loaded.
    fetched: HashMap<StorePath, u64>,
}

#[derive(Default)]
struct State {
    program: PathBuf,
    image: Image,
    search: Option<Search>,
    /// The loader's last look was at its cache, which says where to look next.
    has_consulted: bool,
}

/// A name that the loader is after.
#[derive(Default)]
struct Search {
    at: Duration,
    soname: String,
    tried: Vec<PathBuf>,
    /// Why it did not take what it found.
    objection: Option<String>,
    refused: Option<Refused>,
    /// It has been told what became of it.
    is_over: bool,
}

impl Story {
    /// `index` says which package a file belongs to; in `drivers` lie the host's.
    pub(crate) fn new(index: Option<Arc<Index>>, drivers: Vec<PathBuf>) -> Self {
        Self { index, drivers, ..Self::default() }
    }

    /// Goes on with what was seen next; what is certain by now is handed to `tell`.
    pub(crate) fn go_on(&mut self, event: Event, tell: &mut dyn FnMut(Entry)) {
        let Event { at, process, what } = event;
        match what {
            event::What::Engine(engine) => tell(Entry { at, what: What::Engine(Engine { engine }) }),
            event::What::Fetched(path, bytes) => {
                let fetch = Fetch { store_path: path.to_string(), bytes };
                *self.fetched.entry(path).or_default() += bytes;
                tell(Entry { at, what: What::Fetch(fetch) });
            }
            event::What::Process(beginning) => {
                self.begin(process, &beginning);
                let Beginning { program, parent, present, .. } = beginning;
                let own = self.processes.get(&process).and_then(|state| state.image.objects.first());
                let needs = own.map(|program| program.facts.needed.clone()).unwrap_or_default();
                tell(Entry { at, what: What::Process(Process { process, parent, program, needs }) });
                self.fill(at, process, present, tell);
            }
            event::What::Lost(events) => tell(Entry { at, what: What::Lost(Lost { events }) }),
            event::What::Tried(paths) => {
                for path in paths {
                    let Some(soname) = file_name(&path) else { continue };
                    let search = self.search(process, at, &soname, tell);
                    search.tried.extend(Some(path).filter(|path| !is_variant(path)));
                }
                self.forget_cache(process);
            }
            event::What::Consulted => {
                self.processes.entry(process).or_default().has_consulted = true;
            }
            event::What::Refused(refused) => {
                let soname = refused.soname.clone();
                let is_certain = !matches!(&refused.why, Refusal::Absent(line) if line.is_empty());
                self.search(process, at, &soname, tell).refused.get_or_insert(refused);
                self.forget_cache(process);
                if is_certain {
                    self.conclude(process, tell);
                }
            }
            event::What::Opened(opened) => self.opened(at, process, opened, tell),
            event::What::Over { .. } => self.finish(tell),
        }
    }

    /// There is nothing more for now: tells what nobody has, which may have been the last that a program does for long.
    pub(crate) fn pause(&mut self, tell: &mut dyn FnMut(Entry)) {
        // What else is open may be about to be fetched.
        self.conclude_all(|search| search.refused.is_some(), tell);
    }

    /// There is nothing more: tells what was still open.
    pub(crate) fn finish(&mut self, tell: &mut dyn FnMut(Entry)) {
        self.conclude_all(|_| true, tell);
    }

    fn conclude_all(&mut self, is_wanted: impl Fn(&Search) -> bool, tell: &mut dyn FnMut(Entry)) {
        let mut open: Vec<(Duration, u32)> = Vec::new();
        for (process, state) in &self.processes {
            let search = state.search.as_ref().filter(|search| !search.is_over && is_wanted(search));
            open.extend(search.map(|search| (search.at, *process)));
        }
        open.sort_unstable();
        for (_, process) in open {
            self.conclude(process, tell);
        }
    }

    fn begin(&mut self, process: u32, beginning: &Beginning) {
        // A child that only forked has what its parent had.
        let parent = self.processes.get(&beginning.parent);
        let parent = parent.filter(|parent| parent.program == beginning.program);
        let objects = match parent {
            Some(parent) => parent.image.objects.clone(),
            None => {
                let facts = beginning.file.as_ref().and_then(|file| self.facts.of(file, true));
                let program = facts.map(|facts| Object {
                    path: beginning.program.clone(),
                    soname: String::new(),
                    facts,
                    loaded_by: None,
                    is_late: false,
                });
                program.into_iter().collect()
            }
        };
        let (library_path, preload) = (beginning.library_path.clone(), beginning.preload.clone());
        let image = Image { objects, library_path, preload };
        let state = State { program: beginning.program.clone(), image, search: None, has_consulted: false };
        self.processes.insert(process, state);
    }

    /// A process that was there already: tells what it has in memory.
    fn fill(&mut self, at: Duration, process: u32, present: Vec<PathBuf>, tell: &mut dyn FnMut(Entry)) {
        let Some(root) = Thread::new(process).filter(|_| !present.is_empty()).and_then(|it| it.root().ok())
        else {
            return;
        };
        let program = self.processes.get(&process).map(|state| state.program.clone()).unwrap_or_default();
        let mut sizes = HashMap::new();
        let mut libraries: Vec<Present> = Vec::new();
        for path in present {
            if path == program || libraries.iter().any(|one| one.path == path) {
                continue;
            }
            let Ok(file) = root.open(&path) else { continue };
            // The loader itself was not loaded by one; nor what is mapped and no library.
            let Some(facts) = self.facts.of(&file, path.starts_with(STORE)).filter(|facts| !is_loader(facts))
            else {
                continue;
            };
            if objection(&path, Some(&facts)).is_none() {
                sizes.insert(path.clone(), file.metadata().ok().map(|data| data.len()));
                libraries.push(Present { path, facts });
            }
        }
        let Some(state) = self.processes.get_mut(&process) else { return };
        arrange(&mut state.image, libraries);
        let (image, program) = (state.image.clone(), file_name(&program).unwrap_or_default());
        for object in image.objects.iter().skip(1) {
            let why = match object.loaded_by {
                Some(_) => Why::Needed,
                None if image.preloads(&object.path, &object.soname).is_some() => Why::Preload,
                None => Why::Dlopen,
            };
            let (provider, package) = self.provider(&object.path);
            let load = Load {
                process,
                program: program.clone(),
                soname: object.soname.clone(),
                outcome: Outcome::Loaded,
                why,
                needed_by: path_of(&image, object.loaded_by),
                how: Some(How::Before),
                of: None,
                provider: Some(provider),
                package,
                path: Some(object.path.clone()),
                size: sizes.get(&object.path).copied().flatten(),
                realised: false,
                fetched_bytes: None,
                took: Duration::ZERO,
                needs: object.facts.needed.clone(),
                tried: Vec::new(),
                reason: None,
                choice: None,
            };
            tell(Entry { at, what: What::Load(Box::new(load)) });
        }
    }

    /// What a process's loader is after; another name means that it has done with the one before.
    fn search(
        &mut self,
        process: u32,
        at: Duration,
        soname: &str,
        tell: &mut dyn FnMut(Entry),
    ) -> &mut Search {
        let current = self.processes.get(&process).and_then(|state| state.search.as_ref());
        if current.is_none_or(|search| search.soname != soname) {
            self.conclude(process, tell);
            let search = Search { at, soname: soname.to_owned(), ..Search::default() };
            self.processes.entry(process).or_default().search = Some(search);
        }
        self.processes.entry(process).or_default().search.get_or_insert_default()
    }

    fn forget_cache(&mut self, process: u32) {
        if let Some(state) = self.processes.get_mut(&process) {
            state.has_consulted = false;
        }
    }

    /// The loader has given up a name.
    fn conclude(&mut self, process: u32, tell: &mut dyn FnMut(Entry)) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        let Some(search) = state.search.as_mut().filter(|search| !search.is_over) else { return };
        search.is_over = true;
        let refused = search.refused.take();
        let (outcome, reason) = match refused.as_ref().map(|refused| refused.why.clone()) {
            Some(Refusal::Failed(reason)) => (Outcome::Failed, Some(reason)),
            Some(Refusal::Forbidden(rule)) => (Outcome::Forbidden, Some(rule)),
            Some(Refusal::Absent(line)) => {
                let line = line.strip_prefix("sonde: ").unwrap_or(&line).to_owned();
                (Outcome::Absent, search.objection.take().or(Some(line)))
            }
            None if search.objection.is_some() => (Outcome::Refused, search.objection.take()),
            None => (Outcome::Absent, None),
        };
        let image = &state.image;
        let caller = refused.as_ref().and_then(|refused| refused.caller.as_deref());
        let (requester, why) = wanted_by(image, &search.soname, None, caller);
        let brought_by = refused.as_ref().and_then(|refused| refused.needed_by.clone());
        let package = refused.as_ref().and_then(|refused| refused.package.as_deref()).map(|package| {
            let (attribute, output) = package.rsplit_once('.').unwrap_or((package, "out"));
            Package { attribute: Some(attribute.into()), output: Some(output.into()), ..Package::default() }
        });
        let load = Load {
            process,
            program: file_name(&state.program).unwrap_or_default(),
            soname: search.soname.clone(),
            outcome,
            why,
            needed_by: brought_by
                .or_else(|| path_of(image, requester))
                .or_else(|| caller.map(Path::to_owned)),
            how: None,
            of: None,
            provider: None,
            package,
            path: None,
            size: None,
            realised: false,
            fetched_bytes: None,
            took: refused.map_or(Duration::ZERO, |refused| refused.took),
            needs: Vec::new(),
            tried: std::mem::take(&mut search.tried),
            reason: reason.filter(|reason| !reason.is_empty()),
            choice: None,
        };
        tell(Entry { at: search.at, what: What::Load(Box::new(load)) });
    }

    fn opened(&mut self, at: Duration, process: u32, opened: Opened, tell: &mut dyn FnMut(Entry)) {
        let Some(name) = file_name(&opened.asked) else { return };
        // What the loader reads besides libraries.
        if name == "ld.so.preload" || name == "ld.so.cache" {
            return;
        }
        let soname = self.name_for(process, &name, &opened);
        let facts = opened.file.as_ref().and_then(|file| self.facts.of(file, opened.path.starts_with(STORE)));
        let objection = objection(&opened.path, facts.as_deref());
        if let Some((reason, true)) = objection.as_ref().filter(|_| !opened.is_whole) {
            let search = self.search(process, at, &soname, tell);
            search.tried.push(opened.path);
            search.objection = Some(reason.clone());
            return;
        }
        let search = self.search(process, at, &soname, tell);
        let tried = std::mem::take(&mut search.tried);
        search.is_over = true;
        if opened.is_known {
            self.forget_cache(process);
            return;
        }
        let Some(state) = self.processes.get_mut(&process) else { return };
        let caller = opened.caller.as_deref();
        let (requester, why) = wanted_by(&state.image, &soname, Some(&opened.asked), caller);
        let has_consulted = std::mem::take(&mut state.has_consulted);
        let (how, of) = found(&state.image, (requester, why), &soname, &opened, has_consulted);
        let size = opened.file.as_ref().and_then(|file| file.metadata().ok()).map(|data| data.len());
        let needed_by = path_of(&state.image, requester).or_else(|| opened.caller.clone());
        let is_late = match requester.filter(|_| why == Why::Needed) {
            Some(by) => state.image.objects.get(by).is_some_and(|object| object.is_late),
            None => why == Why::Dlopen,
        };
        let needs = facts.as_ref().map(|facts| facts.needed.clone()).unwrap_or_default();
        let reason = match (objection, facts) {
            (Some((reason, _)), _) => Some(reason),
            (None, Some(facts)) => state.image.add(Object {
                path: opened.path.clone(),
                soname: soname.clone(),
                facts,
                loaded_by: requester.filter(|_| why == Why::Needed),
                is_late,
            }),
            (None, None) => None,
        };
        let program = file_name(&state.program).unwrap_or_default();
        let (provider, package) = self.provider(&opened.path);
        let object = package.as_ref().and_then(|package| StorePath::new(package.store_path.as_deref()?));
        let load = Load {
            process,
            program,
            soname,
            outcome: if reason.is_some() { Outcome::Refused } else { Outcome::Loaded },
            why,
            needed_by,
            how: Some(how),
            of,
            provider: Some(provider),
            fetched_bytes: object.and_then(|object| self.fetched.remove(&object)),
            package,
            realised: provider == Provider::Package && opened.was_realised,
            path: Some(opened.path),
            size,
            took: opened.took,
            needs,
            tried,
            reason,
            choice: None,
        };
        tell(Entry { at, what: What::Load(Box::new(load)) });
    }

    /// The name that the loader was after when it opened a file: the file's own, or one that somebody needs and that the
    /// index has under another name.
    fn name_for(&self, process: u32, name: &str, opened: &Opened) -> String {
        let image = self.processes.get(&process).map(|state| &state.image);
        let Some((image, index)) = image.zip(self.index.as_ref()) else { return name.to_owned() };
        if image.needs(name).is_some() || !opened.path.starts_with(STORE) {
            return name.to_owned();
        }
        let path = opened.path.to_string_lossy();
        let is_it = |soname: &str| {
            index.candidates(soname).iter().any(|candidate| candidate.provider.store_path() == path)
        };
        let alias = image.open_needs().map(|(_, soname)| soname).find(|soname| is_it(soname));
        alias.unwrap_or(name).to_owned()
    }

    fn provider(&self, path: &Path) -> (Provider, Option<Package>) {
        if self.drivers.iter().any(|folder| path.starts_with(folder)) {
            return (Provider::Host, None);
        }
        let Ok(inside) = path.strip_prefix(STORE) else { return (Provider::Bundled, None) };
        let Some(base) = inside.components().next() else { return (Provider::Bundled, None) };
        let base = base.as_os_str().to_string_lossy();
        let choice = self.index.as_ref().and_then(|index| index.at(path));
        let output = choice.as_ref().map(|choice| choice.output.clone());
        let (name, version) = name_and_version(&base, output.as_deref());
        let package = Package {
            attribute: choice.map(|choice| choice.attribute),
            output,
            name,
            version,
            store_path: Some(format!("{STORE}/{base}")),
        };
        (Provider::Package, Some(package))
    }
}

/// Who wants a name, and why the loader asks for it. `caller` has called dlopen(3) for it.
fn wanted_by(
    image: &Image,
    soname: &str,
    asked: Option<&Path>,
    caller: Option<&Path>,
) -> (Option<usize>, Why) {
    if let Some(caller) = caller {
        return (image.objects.iter().position(|object| object.path == caller), Why::Dlopen);
    }
    let whole = asked.and_then(|asked| image.needs(&asked.to_string_lossy()));
    if let Some(requester) = image.needs(soname).or(whole) {
        return (Some(requester), Why::Needed);
    }
    if image.preloads(asked.unwrap_or(Path::new(soname)), soname).is_some() {
        return (None, Why::Preload);
    }
    (image.announces(soname), Why::Dlopen)
}

/// By which rule the loader came to a file, and whose.
fn found(
    image: &Image,
    (requester, why): (Option<usize>, Why),
    soname: &str,
    opened: &Opened,
    has_consulted: bool,
) -> (How, Option<PathBuf>) {
    if opened.is_redirected {
        return (How::Redirected, Some(opened.asked.clone()));
    }
    if opened.is_whole {
        let by_name = match why {
            Why::Needed => image.needs(soname).is_some(),
            Why::Preload => image.preloads(&opened.asked, soname) == Some(soname),
            Why::Dlopen => has_consulted,
        };
        return (if by_name { How::ServedCache } else { How::Path }, None);
    }
    let folder = opened.asked.parent().unwrap_or(Path::new("/"));
    match image.rule(requester, folder).or_else(|| image.rule(None, folder).filter(|_| why != Why::Needed)) {
        Some((how, whose)) => (how, path_of(image, whose)),
        None => (How::DefaultFolder, None),
    }
}

fn path_of(image: &Image, object: Option<usize>) -> Option<PathBuf> {
    image.objects.get(object?).map(|object| object.path.clone())
}

/// A loader's name is the same everywhere (`SONAME` in glibc's shlib-versions).
fn is_loader(facts: &ElfFacts) -> bool {
    facts.soname.as_deref().is_some_and(|soname| soname.starts_with("ld-linux"))
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// The two parts of `HASH-NAME-VERSION` or `HASH-NAME-VERSION-OUTPUT`: a version begins with a digit
/// (`builtins.parseDrvName`).
fn name_and_version(base: &str, output: Option<&str>) -> (Option<String>, Option<String>) {
    let Some((_, whole)) = base.split_once('-') else { return (None, None) };
    let suffix = output.map(|output| format!("-{output}")).unwrap_or_default();
    let whole = whole.strip_suffix(&suffix).unwrap_or(whole);
    let at = whole.match_indices('-').map(|(at, _)| at);
    let is_digit = |at: &usize| whole.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    match at.into_iter().find(is_digit).and_then(|at| whole.split_at_checked(at)) {
        Some((name, version)) => (Some(name.to_owned()), Some(version.trim_start_matches('-').to_owned())),
        None => (Some(whole.to_owned()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_begins_with_a_digit_and_ends_before_the_output() {
        let parts = |base, output| {
            let (name, version) = name_and_version(base, output);
            (name.unwrap(), version.unwrap_or_default())
        };
        assert_eq!(parts("abc-zlib-1.3.1", Some("out")), ("zlib".into(), "1.3.1".into()));
        assert_eq!(parts("abc-gtk+3-3.24-lib", Some("lib")), ("gtk+3".into(), "3.24".into()));
        assert_eq!(parts("abc-opencv", None), ("opencv".into(), String::new()));
    }
}
