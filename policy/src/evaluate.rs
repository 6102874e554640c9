//! One file's answer: a total function of its rules and the question.
//!
//! The most specific place that says anything decides: a section by build id, by path, by glob, the general rules, and
//! last the default. Within a place a deny beats an allow.

use crate::decision::{Part, Place, Says, Weight};
use crate::request::{Circumstances, Program, Request};
use crate::rule::{Effect, File, Rule};
use crate::settings::{ProgramSettings, Stated, Strict, strictest};
use crate::version;

use std::sync::Arc;

/// The places, the most specific first.
const PLACES: [Place; 4] = [Place::BuildId, Place::Path, Place::Glob, Place::General];

/// A rule that matches. One of which it is not known whether it does is there only if it forbids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit<'f> {
    pub(crate) rule: &'f Rule,
    pub(crate) says: Says,
    pub(crate) place: Place,
}

/// What a file says, and by which line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict<'f> {
    pub(crate) says: Says,
    pub(crate) by: &'f Arc<str>,
    pub(crate) place: Place,
}

/// The sections that hold for a program, in their order; `true` for those that are known to.
type Sections = [(usize, bool)];

impl File {
    /// Which sections hold for a program?
    pub(crate) fn sections_of(&self, program: &Program<'_>) -> Vec<(usize, bool)> {
        let sections = &self.draft.sections;
        if sections.is_empty() {
            return Vec::new();
        }
        let known_path = is_plain(program.path);
        let mut paths = Vec::new();
        if known_path {
            self.sections.paths.owners_of(program.path, &mut paths);
        }
        let paths = if known_path { &paths } else { &self.sections.with_path };
        let mut builds = match program.build_id {
            Some(id) => self.sections.build_ids.get(id).cloned().unwrap_or_default(),
            None => self.sections.with_build_id.clone(),
        };
        builds.dedup();
        let mut all: Vec<usize> = paths.iter().chain(&builds).copied().collect();
        all.sort_unstable();
        all.dedup();
        let holding = all.into_iter().filter_map(|at| {
            let section = sections.get(at)?;
            let path = section.path.is_none() || paths.binary_search(&at).is_ok();
            let build = section.build_id.is_none() || builds.binary_search(&at).is_ok();
            let certain = (section.path.is_none() || known_path)
                && (section.build_id.is_none() || program.build_id.is_some());
            (path && build).then_some((at, certain))
        });
        holding.collect()
    }

    /// Which rules match?
    pub(crate) fn hits(
        &self,
        request: &Request<'_>,
        circumstances: &Circumstances<'_>,
        sections: &Sections,
    ) -> Vec<Hit<'_>> {
        let (package, index) = (&request.package, &self.rules);
        let (name, version) = version::split(package.store_path);
        let mut matched = Vec::new();
        index.attribute.owners_of(package.attribute.as_bytes(), &mut matched);
        index.name.owners_of(name.as_bytes(), &mut matched);
        index.store_path.owners_of(package.store_path.as_bytes(), &mut matched);
        index.soname.owners_of(request.soname, &mut matched);
        match circumstances.index {
            Some(name) => index.index.owners_of(name.as_bytes(), &mut matched),
            None => matched.extend(&index.with_index),
        }
        self.complete(matched)
            .filter(|rule| rule.holds_for(package, version))
            .filter_map(|rule| {
                let certain = rule.conditions.index.is_none() || circumstances.index.is_some();
                self.hit(rule, rule.says(package), certain, sections)
            })
            .collect()
    }

    /// Which soname rules match? Pins are not asked: there is no package yet.
    pub(crate) fn soname_hits(&self, soname: &[u8], sections: &Sections) -> Vec<Hit<'_>> {
        let mut matched = Vec::new();
        self.rules.soname.owners_of(soname, &mut matched);
        let rules = self.complete(matched).filter(|rule| rule.about_soname);
        rules
            .filter_map(|rule| {
                let says = if rule.effect == Effect::Deny { Says::Deny } else { Says::Allow };
                self.hit(rule, says, true, sections)
            })
            .collect()
    }

    /// The rules of which as many conditions match as they have.
    fn complete(&self, mut matched: Vec<usize>) -> impl Iterator<Item = &Rule> {
        matched.sort_unstable();
        let mut rest = matched.into_iter().peekable();
        std::iter::from_fn(move || {
            let at = rest.next()?;
            let mut count = 1;
            while rest.next_if_eq(&at).is_some() {
                count += 1;
            }
            Some((at, count))
        })
        .filter(|(at, count)| self.rules.required.get(*at) == Some(count))
        .filter_map(|(at, _)| self.draft.rules.get(at))
    }

    fn hit<'f>(&'f self, rule: &'f Rule, says: Says, certain: bool, sections: &Sections) -> Option<Hit<'f>> {
        let certain = match rule.section {
            None => certain,
            Some(section) => {
                let at = sections.binary_search_by_key(&section, |(at, _)| *at).ok()?;
                certain && sections.get(at)?.1
            }
        };
        (certain || says == Says::Deny).then(|| Hit { rule, says, place: self.draft.place_of(rule) })
    }

    /// What the rules come to. Nothing: no rule says anything, and defaults were not asked for.
    pub(crate) fn verdict<'f>(
        &'f self,
        hits: &[Hit<'f>],
        sections: &Sections,
        with_defaults: bool,
    ) -> Option<Verdict<'f>> {
        for place in PLACES {
            let first = |says: Says| {
                let there = hits.iter().filter(|hit| hit.place == place && hit.says == says);
                there.min_by_key(|hit| hit.rule.line)
            };
            if let Some(hit) = first(Says::Deny).or_else(|| first(Says::Allow)) {
                return Some(Verdict { says: hit.says, by: &hit.rule.text, place });
            }
            let default = |says| self.section_default(place, says, sections);
            if let Some(stated) =
                default(Says::Deny).or_else(|| default(Says::Allow)).filter(|_| with_defaults)
            {
                return Some(Verdict { says: stated.value, by: &stated.rule, place });
            }
        }
        let default = &self.draft.default;
        with_defaults.then_some(Verdict { says: default.value, by: &default.rule, place: Place::General })
    }

    /// The default of a section of this place, if it is this one.
    fn section_default(&self, place: Place, says: Says, sections: &Sections) -> Option<&Stated<Says>> {
        let holding = sections.iter().filter(|(_, certain)| *certain || says == Says::Deny);
        let holding = holding.filter_map(|(at, _)| self.draft.sections.get(*at));
        let stated =
            holding.filter(|section| section.place == place).filter_map(|section| section.default.as_ref());
        stated.into_iter().find(|stated| stated.value == says)
    }

    /// The soname rules of the most specific place that says anything about a name.
    pub(crate) fn soname_rules(&self, soname: &[u8], sections: &Sections) -> Vec<&Rule> {
        let hits = self.soname_hits(soname, sections);
        let speaks = |place: &Place| {
            hits.iter().any(|hit| hit.place == *place)
                || [Says::Deny, Says::Allow]
                    .iter()
                    .any(|says| self.section_default(*place, *says, sections).is_some())
        };
        let place = PLACES.into_iter().find(speaks);
        hits.iter().filter(|hit| Some(hit.place) == place).map(|hit| hit.rule).collect()
    }

    /// A setting as it holds for a program: the most specific, and the strictest of those of which it is not known
    /// whether they hold.
    pub(crate) fn setting<'f, T: Strict + 'f>(
        &'f self,
        sections: &Sections,
        get: impl Fn(&'f ProgramSettings) -> Option<&'f Stated<T>>,
    ) -> Option<&'f Stated<T>> {
        let stated = |place: Place| {
            let holding = sections.iter().filter(|(_, certain)| *certain);
            let holding = holding.filter_map(|(at, _)| self.draft.sections.get(*at));
            strictest(
                holding.filter(|section| section.place == place).filter_map(|section| get(&section.settings)),
            )
        };
        let certain = PLACES.into_iter().find_map(stated).or_else(|| get(&self.draft.settings));
        let uncertain = sections.iter().filter(|(_, certain)| !certain);
        let uncertain = uncertain.filter_map(|(at, _)| get(&self.draft.sections.get(*at)?.settings));
        strictest(certain.into_iter().chain(uncertain))
    }
}

/// Every rule that took part, with what became of it.
pub(crate) fn parts(hits: &[Hit<'_>], verdict: &Verdict<'_>) -> Vec<Part> {
    let decides = |rule: &Arc<str>| Arc::ptr_eq(rule, verdict.by);
    let mut parts: Vec<Part> = hits
        .iter()
        .map(|hit| Part {
            rule: hit.rule.text.clone(),
            says: hit.says,
            place: hit.place,
            weight: match hit.says {
                _ if decides(&hit.rule.text) => Weight::Decides,
                says if says == verdict.says => Weight::Agrees,
                _ => Weight::Overruled,
            },
        })
        .collect();
    if !parts.iter().any(|part| part.weight == Weight::Decides) {
        let Verdict { says, by, place } = *verdict;
        parts.push(Part { rule: by.clone(), says, place, weight: Weight::Decides });
    }
    parts
}

/// Is it a path that can be compared: absolute, and the only one of its kind for what it leads to but for links?
fn is_plain(path: &[u8]) -> bool {
    path.strip_prefix(b"/").is_some_and(|rest| {
        rest.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..")
    })
}
