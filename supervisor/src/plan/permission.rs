//! A policy that is asked on behalf of one program: before it starts, while it runs, or when nothing is run at all.
//!
//! Whether a refusal is only told (an audit) is for those to say who provide.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sonde_policy::{Circumstances, Decision, Package, Policy, Program, Request, Source};
use sonde_resolve::bundle::{Bundle, Why};
use sonde_resolve::elf::ElfFacts;

use super::draft::Body;
use crate::index::{Choice, Index};
use crate::store::{STORE, StorePath};

/// A program that asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker {
    /// Empty: not known, which the policy takes for the worse.
    path: PathBuf,
    /// Empty for a program that has none.
    build_id: Option<Vec<u8>>,
    /// What it, or what came with it, is linked against.
    names: HashSet<String>,
}

impl Asker {
    /// One of which all is known.
    pub(crate) fn of(path: PathBuf, traits: Traits) -> Self {
        Self { path, build_id: Some(traits.build_id), names: traits.names }
    }

    /// One of which only its own headers are known, if they are.
    pub(crate) fn from_headers(path: PathBuf, facts: Option<ElfFacts>) -> Self {
        match facts {
            Some(facts) => {
                Self { path, build_id: Some(build_id(&facts)), names: facts.needed.into_iter().collect() }
            }
            None => Self { path, ..Self::default() },
        }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// As the policy is told.
    pub(crate) fn program(&self) -> Program<'_> {
        Program { path: self.path.as_os_str().as_bytes(), build_id: self.build_id.as_deref() }
    }

    /// Why it asks for this name.
    pub(crate) fn source(&self, soname: &str) -> Source {
        if self.names.contains(soname) { Source::Needed } else { Source::Runtime }
    }
}

fn build_id(facts: &ElfFacts) -> Vec<u8> {
    facts.build_id.clone().unwrap_or_default()
}

/// What a policy wants to know of a program.
pub(crate) struct Traits {
    build_id: Vec<u8>,
    names: HashSet<String>,
    /// Files of the store that it finds by its own means.
    pub(crate) own: Vec<PathBuf>,
}

impl Traits {
    /// Of a program that has been looked at.
    pub(crate) fn of_bundle(bundle: &Bundle) -> Self {
        let needed = bundle.wants.iter().filter(|want| want.why == Why::Needed);
        let found = bundle.wants.iter().filter_map(|want| want.found.clone());
        Self {
            build_id: bundle.members.first().map(|one| build_id(&one.facts)).unwrap_or_default(),
            names: needed.flat_map(|want| want.sonames.iter().cloned()).collect(),
            own: found.filter(|path| path.starts_with(STORE)).collect(),
        }
    }

    /// Of one that has a plan.
    pub(crate) fn of_plan(body: &Body) -> Self {
        Self {
            build_id: body.build_id(),
            names: body.libraries.iter().map(|need| need.soname.clone()).collect(),
            own: body.own.iter().cloned().collect(),
        }
    }
}

/// Why a library is kept from a program.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// As `file:line: text`.
    pub(crate) rule: Arc<str>,
    /// Attribute and output of the package that has it; none for a file of the host.
    pub(crate) package: Option<String>,
    /// The library of an allowed package that refers to it.
    pub(crate) brought_by: Option<Arc<Path>>,
    /// There is no rule: the policy cannot be read.
    pub(crate) is_fault: bool,
}

/// A policy that somebody has, and a program that it is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) asker: &'a Asker,
    pub(crate) index: &'a Index,
}

impl Judge<'_> {
    /// What the policy has against a package for a soname. `realised`: it is in the store. `via`: a library that was
    /// provided refers to it.
    pub(crate) fn objection(
        &self,
        (soname, choice): (&str, &Choice),
        realised: bool,
        via: Option<&Arc<Path>>,
    ) -> Option<Refusal> {
        let program = self.asker.program();
        let source = self.asker.source(soname);
        let request = Request {
            program: program.path,
            soname: soname.as_bytes(),
            package: Package {
                attribute: &choice.attribute,
                output: &choice.output,
                store_path: choice.object.as_str(),
            },
            source,
        };
        let index = Some(self.index.database_with(choice));
        let circumstances = Circumstances { build_id: program.build_id, index, realised };
        // What the program names itself it asks for, whoever else does.
        let brought_by = via.filter(|_| source == Source::Runtime).cloned();
        let decision = match brought_by {
            Some(_) => self.policy.decide_dependency(&request, &circumstances),
            None => self.policy.decide_with(&request, &circumstances),
        };
        let Decision::Refuse { rule } = decision else { return None };
        let package = Some(choice.package());
        Some(Refusal { rule, package, brought_by, is_fault: self.policy.fault().is_some() })
    }

    /// What the policy has against the host's own file of this name.
    pub(crate) fn objection_to_host(&self, soname: &str) -> Option<Refusal> {
        let source = self.asker.source(soname);
        let decision = self.policy.decide_host(&self.asker.program(), soname.as_bytes(), source);
        let Decision::Refuse { rule } = decision else { return None };
        Some(Refusal { rule, package: None, brought_by: None, is_fault: self.policy.fault().is_some() })
    }

    /// The rule against a package that would be downloaded because an allowed one refers to it.
    pub(crate) fn objection_to_dependency(&self, path: &StorePath) -> Option<Arc<str>> {
        let package = self.index.package_of(path).unwrap_or_default();
        let program = self.asker.program();
        let request = Request {
            program: program.path,
            soname: b"",
            package: Package {
                attribute: package.attribute,
                output: package.output,
                store_path: path.as_str(),
            },
            source: Source::Needed,
        };
        let circumstances =
            Circumstances { build_id: program.build_id, index: Some(package.database), realised: false };
        match self.policy.decide_dependency(&request, &circumstances) {
            Decision::Refuse { rule } => Some(rule),
            Decision::Provide => None,
        }
    }

    /// Does the policy name this package for the soname?
    pub(crate) fn pins(&self, soname: &str, choice: &Choice) -> bool {
        self.policy.pin_of(&self.asker.program(), soname.as_bytes()) == Some(&choice.attribute)
    }

    /// Is this soname left to the host's driver folders? The rule that says so.
    pub(crate) fn left_to_the_host(&self, soname: &str) -> Option<Arc<str>> {
        self.policy.host_only(&self.asker.program(), soname.as_bytes())
    }

    /// How many packages may be got for one soname, the first by rank among them.
    pub(crate) fn most_for_one(&self) -> usize {
        let most = self.policy.limits(&self.asker.program()).candidates;
        most.map_or(usize::MAX, |most| usize::try_from(most.value).unwrap_or(usize::MAX))
    }
}
