//! May this library be provided to this program?
//!
//! The supervisor asks before every library that it provides, wherever that happens. A policy is plain data and
//! a decision a total function of policy and request: nothing in here reads a file or knows a process. `docs/policy.md`
//! describes the format and how rules rank.
//!
//! A policy is made of files that were handed in as text, and all of them must agree: however they are ordered, none
//! permits what another forbids.
#![forbid(unsafe_code)]

mod check;
mod decision;
mod evaluate;
mod format;
mod parse;
mod pattern;
mod problem;
mod request;
mod rule;
#[cfg(test)]
mod schema;
mod settings;
mod starter;
mod version;
mod warn;

use std::sync::Arc;

pub use decision::{Decision, Explanation, Part, Place, Says, Weight};
pub use parse::LONGEST;
pub use problem::{Problem, Severity};
pub use request::{Circumstances, Package, Program, Request, Source};
pub use settings::{Dlopen, Engine, Limits, Stated};
pub use starter::{Permitted, starter, starter_for};

use evaluate::parts;
use rule::{Effect, File};
use settings::{Strict, address, strictest};

/// The rules in force.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// In the order in which they were handed in, which decides nothing but which of several refusals is named.
    files: Vec<Arc<File>>,
    /// Why everything is refused.
    broken: Option<Arc<str>>,
}

/// How much a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Rules, those of sections among them.
    pub rules: usize,
    /// Sections for programs.
    pub sections: usize,
}

impl Policy {
    /// The policy of a machine that has none: everything may be provided to everybody.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// The policy of a machine whose policy cannot be read: nothing may be provided to anybody.
    #[must_use]
    pub fn broken(message: &str) -> Self {
        Self { files: Vec::new(), broken: Some(message.into()) }
    }

    /// Reads one file; with it come warnings about rules that have no effect.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let (file, warnings) = parse::parse(name, text)?;
        Ok((Self { files: vec![Arc::new(file)], broken: None }, warnings))
    }

    /// What both permit.
    #[must_use]
    pub fn narrowed_by(mut self, other: Self) -> Self {
        self.files.extend(other.files);
        self.broken = self.broken.or(other.broken);
        self
    }

    /// Why everything is refused, if the policy cannot be read.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// How much it says.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let sum = |count: fn(&File) -> usize| self.files.iter().map(|file| count(file)).sum();
        Extent { rules: sum(|file| file.draft.rules.len()), sections: sum(|file| file.draft.sections.len()) }
    }

    /// Is there no rule at all?
    #[must_use]
    pub fn is_allow_all(&self) -> bool {
        self.files.is_empty() && self.broken.is_none()
    }

    /// Decides about one library for one program, of which nothing else is known.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        self.decide_with(request, &Circumstances::default())
    }

    /// Decides about one library for one program.
    #[must_use]
    pub fn decide_with(&self, request: &Request<'_>, circumstances: &Circumstances<'_>) -> Decision {
        self.first_refusal(|file| {
            let sections = file.sections_of(&program_of(request, circumstances));
            let hits = file.hits(request, circumstances, &sections);
            match file.verdict(&hits, &sections, true) {
                Some(verdict) if verdict.says == Says::Deny => Some(verdict.by.clone()),
                _ => file.gate(request.source, circumstances.realised, &sections).cloned(),
            }
        })
    }

    /// Decides about a package that comes along with an allowed one, because that refers to it. It is not what the
    /// program asked for, so defaults say nothing about it, only rules do.
    #[must_use]
    pub fn decide_dependency(&self, request: &Request<'_>, circumstances: &Circumstances<'_>) -> Decision {
        self.first_refusal(|file| {
            let sections = file.sections_of(&program_of(request, circumstances));
            let mut hits = file.hits(request, circumstances, &sections);
            // Whose name the library has is the business of the package that has it.
            hits.retain(|hit| !hit.rule.about_soname);
            let denied = file.verdict(&hits, &sections, false).filter(|verdict| verdict.says == Says::Deny);
            let gate = || file.gate(Source::Needed, circumstances.realised, &sections).cloned();
            denied.map(|verdict| verdict.by.clone()).or_else(gate)
        })
    }

    /// Decides as [`Policy::decide_with`], and tells every rule that took part.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>, circumstances: &Circumstances<'_>) -> Explanation {
        let decision = self.decide_with(request, circumstances);
        let (mut all, mut by) = (Vec::new(), self.broken.clone());
        for file in &self.files {
            let sections = file.sections_of(&program_of(request, circumstances));
            let hits = file.hits(request, circumstances, &sections);
            let Some(verdict) = file.verdict(&hits, &sections, true) else { continue };
            all.extend(parts(&hits, &verdict));
            by = Some(verdict.by.clone());
            if verdict.says == Says::Allow
                && let Some(gate) = file.gate(request.source, circumstances.realised, &sections)
            {
                let (rule, weight) = (gate.clone(), Weight::Decides);
                all.push(Part { rule, says: Says::Deny, place: Place::General, weight });
            }
        }
        if let Decision::Refuse { rule } = &decision {
            by = Some(rule.clone());
        }
        Explanation { decision, by, parts: all }
    }

    /// May the host's own file of this name, from its driver folders, be provided?
    #[must_use]
    pub fn decide_host(&self, program: &Program<'_>, soname: &[u8], source: Source) -> Decision {
        self.first_refusal(|file| {
            let sections = file.sections_of(program);
            let hits = file.soname_hits(soname, &sections);
            match file.verdict(&hits, &sections, true) {
                Some(verdict) if verdict.says == Says::Deny => Some(verdict.by.clone()),
                _ => file.gate(source, true, &sections).cloned(),
            }
        })
    }

    /// Is this library left to the host's driver folders alone? The rule that says so.
    #[must_use]
    pub fn host_only(&self, program: &Program<'_>, soname: &[u8]) -> Option<Arc<str>> {
        self.soname_rule(program, soname, |effect| matches!(effect, Effect::HostOnly))
            .map(|rule| rule.text.clone())
    }

    /// The attribute of the one package that may provide this library.
    #[must_use]
    pub fn pin_of(&self, program: &Program<'_>, soname: &[u8]) -> Option<&str> {
        let rule = self.soname_rule(program, soname, |effect| matches!(effect, Effect::Pin(_)))?;
        match &rule.effect {
            Effect::Pin(attribute) => Some(attribute),
            _ => None,
        }
    }

    /// How much may be fetched for a program.
    #[must_use]
    pub fn limits(&self, program: &Program<'_>) -> Limits {
        if let Some(rule) = &self.broken {
            let offline = Some(Stated { value: true, rule: rule.clone() });
            return Limits { offline, ..Limits::default() };
        }
        Limits {
            download_per_start: self.strictest(program, |limits| limits.download_per_start.as_ref()),
            download_total: self.strictest(program, |limits| limits.download_total.as_ref()),
            candidates: self.strictest(program, |limits| limits.candidates.as_ref()),
            offline: self.strictest(program, |limits| limits.offline.as_ref()),
        }
    }

    /// May the embedded store be filled from this cache?
    #[must_use]
    pub fn decide_cache(&self, url: &str) -> Decision {
        self.first_refusal(|file| {
            let caches = file.draft.machine.caches.as_ref()?;
            (!caches.value.iter().any(|cache| cache == address(url))).then(|| caches.rule.clone())
        })
    }

    /// May the embedded store trust this public key, `NAME:BASE64`?
    #[must_use]
    pub fn decide_key(&self, key: &str) -> Decision {
        self.first_refusal(|file| {
            let keys = file.draft.machine.keys.as_ref()?;
            (!keys.value.iter().any(|one| one == key)).then(|| keys.rule.clone())
        })
    }

    /// May this engine be used?
    #[must_use]
    pub fn decide_engine(&self, engine: Engine) -> Decision {
        self.first_refusal(|file| {
            let engines = file.draft.machine.engines.as_ref()?;
            (!engines.value.contains(&engine)).then(|| engines.rule.clone())
        })
    }

    /// May a package be built that no cache has?
    #[must_use]
    pub fn decide_build(&self) -> Decision {
        self.first_refusal(|file| {
            let build = file.draft.machine.build.as_ref()?;
            (!build.value).then(|| build.rule.clone())
        })
    }

    /// All files must agree: the first that refuses is named.
    fn first_refusal(&self, refusal: impl Fn(&File) -> Option<Arc<str>>) -> Decision {
        let refused = self.broken.clone().or_else(|| self.files.iter().find_map(|file| refusal(file)));
        refused.map_or(Decision::Provide, |rule| Decision::Refuse { rule })
    }

    /// The first soname rule of some effect that no more specific place of its file has another opinion on.
    fn soname_rule(
        &self,
        program: &Program<'_>,
        soname: &[u8],
        is_it: impl Fn(&Effect) -> bool,
    ) -> Option<&rule::Rule> {
        self.files.iter().find_map(|file| {
            let rules = file.soname_rules(soname, &file.sections_of(program));
            rules.into_iter().find(|rule| is_it(&rule.effect))
        })
    }

    fn strictest<T: Strict + Clone>(
        &self,
        program: &Program<'_>,
        get: impl Fn(&Limits) -> Option<&Stated<T>>,
    ) -> Option<Stated<T>> {
        let stated = self
            .files
            .iter()
            .filter_map(|file| file.setting(&file.sections_of(program), |settings| get(&settings.limits)));
        strictest(stated).cloned()
    }
}

impl File {
    /// What keeps from a program even that which the rules allow it.
    fn gate(&self, source: Source, realised: bool, sections: &[(usize, bool)]) -> Option<&Arc<str>> {
        let dlopen = self.setting(sections, |settings| settings.dlopen.as_ref()).filter(|dlopen| {
            source == Source::Runtime
                && match dlopen.value {
                    Dlopen::Provide => false,
                    Dlopen::RealisedOnly => !realised,
                    Dlopen::Deny => true,
                }
        });
        let offline = || {
            let offline = self.setting(sections, |settings| settings.limits.offline.as_ref());
            offline.filter(|offline| offline.value && !realised).map(|offline| &offline.rule)
        };
        dlopen.map(|dlopen| &dlopen.rule).or_else(offline)
    }
}

fn program_of<'a>(request: &Request<'a>, circumstances: &Circumstances<'a>) -> Program<'a> {
    Program { path: request.program, build_id: circumstances.build_id }
}

#[cfg(test)]
mod tests;
