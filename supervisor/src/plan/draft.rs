//! A plan that can still change: what was resolved for one program, and how that becomes the bytes of a plan file.
//!
//! `interp/src/plan.rs` has the head, which a start uses; the body is JSON, for people and for what a start needs only
//! when something unforeseen is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_interp::plan::{ABSENCE_STANDS, Fixed, Plan, Span, Stamp, digest, layout};
use sonde_interp::site::Sites;

use super::closure::{Answer, Closure, Need};
use super::conditions::Conditions;
use super::contents::Contents;
use super::seeds::Seeds;
use super::shelf::path_of;
use crate::index::Choice;
use crate::store::StorePath;

/// The version of the body; another one's plan is made anew.
const VERSION: u32 = 2;

/// The part of a plan that is written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    version: u32,
    /// Which Sonde made it; another one may choose otherwise.
    sonde: String,
    pub(crate) program: PathBuf,
    /// In hexadecimal digits; empty where the program has none.
    build_id: String,
    /// When, in seconds since 1970.
    pub(crate) made: u64,
    pub(crate) loader: PathBuf,
    /// Of its glibc.
    pub(crate) loader_version: Option<(u32, u32)>,
    /// Nothing for those that every program of this user has.
    pub(crate) seeds: Option<Seeds>,
    /// What it and its bundled libraries are linked against.
    pub(crate) libraries: Vec<Need>,
    /// What notes in it name, and what it has asked for at run time.
    pub(crate) at_run_time: BTreeMap<String, Choice>,
    /// What it has asked for at run time, and nobody has.
    pub(crate) absent: BTreeSet<String>,
    /// What it is given in place of the index's own choice; nothing, where all that there is would not do.
    pub(crate) choices: BTreeMap<String, Option<Choice>>,
    /// The folders of its search paths.
    pub(crate) searched: BTreeSet<PathBuf>,
    /// Files of the store that it finds by its own means.
    pub(crate) own: BTreeSet<PathBuf>,
}

impl Body {
    pub(crate) fn new(program: &Path, build_id: &[u8], made: u64, loader: &Path, closure: &Closure) -> Self {
        Self {
            version: VERSION,
            sonde: env!("CARGO_PKG_VERSION").to_owned(),
            program: program.to_owned(),
            build_id: build_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            made,
            loader: loader.to_owned(),
            loader_version: None,
            seeds: None,
            libraries: closure.needs.clone(),
            at_run_time: closure.noted.iter().cloned().collect(),
            absent: BTreeSet::new(),
            choices: closure.choices.clone().into_iter().collect(),
            searched: closure.searched.iter().cloned().collect(),
            own: closure.own.iter().cloned().collect(),
        }
    }

    /// Reads the body of a plan; `None` for one of another Sonde.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let body = Self::parse(bytes)?;
        (body.version == VERSION && body.sonde == env!("CARGO_PKG_VERSION")).then_some(body)
    }

    /// The same of any Sonde.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Every soname that a package provides, and which.
    pub(crate) fn provided(&self) -> impl Iterator<Item = (&str, &Choice)> {
        let needed = self.libraries.iter().filter_map(|need| match &need.answer {
            Answer::Package(choice) => Some((need.soname.as_str(), choice)),
            _ => None,
        });
        needed.chain(self.at_run_time.iter().map(|(soname, choice)| (soname.as_str(), choice)))
    }

    /// The program's build id; empty where it has none.
    pub(crate) fn build_id(&self) -> Vec<u8> {
        let digits =
            self.build_id.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
        digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
    }

    /// What a supervisor knows of a program that it has looked at itself.
    pub(crate) fn closure(&self) -> Closure {
        Closure {
            needs: self.libraries.clone(),
            noted: self.at_run_time.clone().into_iter().collect(),
            searched: self.searched.iter().cloned().collect(),
            choices: self.choices.clone().into_iter().collect(),
            own: self.own.iter().cloned().collect(),
        }
    }
}

/// A plan as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) flags: u32,
    pub(crate) sites: Sites,
    pub(crate) stamp: Stamp,
    pub(crate) build_id: Vec<u8>,
    pub(crate) loader_cache: Option<PathBuf>,
    pub(crate) served_cache: Option<PathBuf>,
    /// Those and what is at hand: see [`Plan::bundled`].
    pub(crate) bundled: Conditions,
    pub(crate) conditions: Conditions,
    pub(crate) objects: BTreeSet<StorePath>,
    /// Digests, see [`Plan::settled`] and [`Plan::provided`].
    pub(crate) settled: BTreeSet<u64>,
    pub(crate) provided: BTreeSet<u64>,
    /// What lies in the folders that are searched.
    pub(crate) contents: Contents,
    pub(crate) body: Body,
}

impl Draft {
    /// Takes up a plan that was kept.
    pub(crate) fn of(plan: &Plan<'_>) -> Option<Self> {
        Self::with(plan, Body::read(plan.body())?)
    }

    /// The same, with the plan's body in the hand.
    pub(crate) fn with(plan: &Plan<'_>, body: Body) -> Option<Self> {
        let some = |text: &CStr| (!text.is_empty()).then(|| path_of(text).to_owned());
        let object = |text: &CStr| StorePath::new(text.to_str().ok()?);
        Some(Self {
            flags: plan.flags(),
            sites: plan.sites(),
            stamp: plan.stamp(),
            build_id: plan.build_id().to_vec(),
            loader_cache: some(plan.loader_cache()),
            served_cache: some(plan.served_cache()),
            bundled: plan.bundled().map(|(text, stamp)| (path_of(text).to_owned(), stamp)).collect(),
            conditions: plan.conditions().map(|(text, stamp)| (path_of(text).to_owned(), stamp)).collect(),
            objects: plan.objects().map(object).collect::<Option<_>>()?,
            settled: plan.settled().collect(),
            provided: plan.provided().collect(),
            contents: Contents::of_plan(plan),
            body,
        })
    }

    /// Takes note of what provides a soname, wherever that is asked for.
    pub(crate) fn settle(&mut self, soname: &str, file: &Path) {
        self.settled.insert(digest(soname.as_bytes()));
        self.provided.insert(digest(file.as_os_str().as_bytes()));
    }

    /// The bytes of the file; `None` where a path cannot stand in it.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let body = serde_json::to_vec(&self.body).ok()?;
        let mut rest = Rest::default();
        let path = |rest: &mut Rest, path: &Path| rest.path(path.as_os_str().as_bytes());
        let none = PathBuf::new();
        let fixed = Fixed {
            flags: self.flags,
            sites: self.sites,
            // A kept plan says what it likes of its time.
            expiry: if self.body.absent.is_empty() {
                0
            } else {
                self.body.made.saturating_add(ABSENCE_STANDS)
            },
            stamp: self.stamp,
            program: path(&mut rest, &self.body.program)?,
            build_id: rest.bytes(&self.build_id, self.build_id.len())?,
            loader: path(&mut rest, &self.body.loader)?,
            loader_cache: path(&mut rest, self.loader_cache.as_ref().unwrap_or(&none))?,
            served_cache: path(&mut rest, self.served_cache.as_ref().unwrap_or(&none))?,
            bundled: rest.watched(&self.bundled)?,
            conditions: rest.watched(&self.conditions)?,
            objects: rest.objects(&self.objects)?,
            settled: rest.digests(&self.settled)?,
            provided: rest.digests(&self.provided)?,
            folders: rest.digests(&self.contents.folders)?,
            entries: rest.digests(&self.contents.entries)?,
        };
        let start = fixed.to_bytes(&rest.0, &body)?;
        Some([start.as_slice(), &rest.0, &body].concat())
    }
}

/// What the spans of the fixed part point to.
#[derive(Default)]
struct Rest(Vec<u8>);

impl Rest {
    /// Appends bytes that are `length` entries.
    fn bytes(&mut self, bytes: &[u8], length: usize) -> Option<Span> {
        let offset = u32::try_from(layout::FIXED + self.0.len()).ok()?;
        self.0.extend_from_slice(bytes);
        Some(Span { offset, length: u32::try_from(length).ok()? })
    }

    fn path(&mut self, path: &[u8]) -> Option<Span> {
        if path.contains(&0) {
            return None;
        }
        let span = self.bytes(path, path.len())?;
        self.0.push(0);
        Some(span)
    }

    fn watched(&mut self, watched: &Conditions) -> Option<Span> {
        let mut table = Vec::new();
        for (path, stamp) in watched {
            table.extend_from_slice(&self.path(path.as_os_str().as_bytes())?.to_bytes());
            table.extend_from_slice(&stamp.to_bytes());
        }
        self.bytes(&table, watched.len())
    }

    fn objects(&mut self, objects: &BTreeSet<StorePath>) -> Option<Span> {
        let mut table = Vec::new();
        for object in objects {
            table.extend_from_slice(&self.path(object.as_str().as_bytes())?.to_bytes());
        }
        self.bytes(&table, objects.len())
    }

    fn digests(&mut self, digests: &BTreeSet<u64>) -> Option<Span> {
        let table: Vec<u8> = digests.iter().flat_map(|digest| digest.to_le_bytes()).collect();
        self.bytes(&table, digests.len())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn draft() -> Draft {
        let object = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1";
        let choice = Choice {
            object: StorePath::new(object).unwrap(),
            file: format!("{object}/lib/libz.so.1").into(),
            attribute: "zlib".into(),
            output: "out".into(),
        };
        let need = Need {
            soname: "libz.so.1".into(),
            needed_by: "/opt/p".into(),
            answer: Answer::Package(choice.clone()),
            reason: Some("the only package that has it".into()),
            coverage: Some(100),
        };
        let closure = Closure {
            needs: vec![need],
            choices: [("libz.so.1".to_owned(), None)].into(),
            searched: ["/opt/lib".into()].into(),
            ..Closure::default()
        };
        let stamp = Stamp { device: 1, inode: 2, ..Stamp::ABSENT };
        let mut draft = Draft {
            flags: 1,
            sites: Sites { open: 9, look: 0 },
            stamp,
            build_id: vec![1, 2],
            loader_cache: Some("/g/etc/ld.so.cache".into()),
            served_cache: None,
            bundled: vec![("/opt/lib/liba.so".into(), stamp)],
            conditions: vec![("/etc/sonde/policy.toml".into(), Stamp::ABSENT)],
            objects: [choice.object.clone()].into(),
            settled: BTreeSet::new(),
            provided: BTreeSet::new(),
            contents: Contents { folders: [1, 2].into(), entries: [3].into() },
            body: Body::new(Path::new("/opt/p"), &[0xab], 7, Path::new("/g/lib/ld.so"), &closure),
        };
        draft.settle("libz.so.1", &choice.file);
        draft
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let mut draft = draft();
        for absent in [None, Some("libnever.so.1".to_owned())] {
            draft.body.absent.extend(absent);
            let bytes = draft.to_bytes().unwrap();
            let plan = Plan::read(&bytes).unwrap();
            assert_eq!(Draft::of(&plan), Some(draft.clone()));
            assert!(plan.settled().eq([digest(b"libz.so.1")]));
            let file = |object: &CStr| digest(&[object.to_bytes(), b"/lib/libz.so.1"].concat());
            assert!(plan.provided().eq(plan.objects().map(file)));
            assert_eq!(plan.served_cache(), c"");
            let depends_on_time = !draft.body.absent.is_empty();
            assert!(!plan.is_expired(7) && !plan.is_expired(6 + ABSENCE_STANDS));
            assert_eq!(plan.is_expired(7 + ABSENCE_STANDS), depends_on_time);
            assert_eq!(plan.is_expired(6), depends_on_time, "the clock was set back");
        }
        assert_eq!(draft.body.build_id(), [0xab]);
        assert_eq!(Body::read(&serde_json::to_vec(&draft.body).unwrap()).unwrap().closure().needs.len(), 1);
    }

    #[test]
    fn a_plan_made_at_the_end_of_time_can_be_written() {
        let mut draft = draft();
        draft.body.absent.insert("libnever.so.1".to_owned());
        draft.body.made = u64::MAX;
        assert!(Plan::read(&draft.to_bytes().unwrap()).unwrap().is_expired(u64::MAX));
    }

    #[test]
    fn a_body_of_another_version_is_none() {
        let body = Body { sonde: "0.0.0".into(), ..draft().body };
        assert_eq!(Body::read(&serde_json::to_vec(&body).unwrap()), None);
        assert_eq!(Body::read(b"{}"), None);
    }
}
