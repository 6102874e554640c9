//! What one rule can say, and the rules of one file, compiled.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decision::{Place, Says};
use crate::pattern::{Collector, Names, Patterns};
use crate::request::Package;
use crate::settings::{MachineSettings, ProgramSettings, Stated};
use crate::version;

/// One rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// As `file:line: text`.
    pub(crate) text: Arc<str>,
    pub(crate) line: usize,
    /// The section that it stands in.
    pub(crate) section: Option<usize>,
    pub(crate) effect: Effect,
    pub(crate) conditions: Conditions,
    /// It is a soname rule, and holds whatever package there is.
    pub(crate) about_soname: bool,
}

/// What follows when a rule's conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
    /// No package may, the host's driver folders may.
    HostOnly,
    /// The package of this attribute may, no other.
    Pin(String),
}

/// All of them must hold; those that are not there do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    pub(crate) attribute: Option<Vec<String>>,
    pub(crate) name: Option<Vec<String>>,
    pub(crate) store_path: Option<Vec<String>>,
    pub(crate) index: Option<Vec<String>>,
    pub(crate) soname: Option<Vec<String>>,
    pub(crate) version: Option<version::Range>,
    pub(crate) except: Option<Patterns>,
}

/// Rules and settings for some programs.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) line: usize,
    pub(crate) path: Option<Vec<String>>,
    pub(crate) build_id: Option<Vec<Vec<u8>>>,
    pub(crate) place: Place,
    pub(crate) default: Option<Stated<Says>>,
    pub(crate) settings: ProgramSettings,
}

/// One policy file, read but not compiled.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) rules: Vec<Rule>,
    pub(crate) sections: Vec<Section>,
    pub(crate) default: Stated<Says>,
    pub(crate) settings: ProgramSettings,
    pub(crate) machine: MachineSettings,
}

/// One policy file, compiled.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) draft: Draft,
    pub(crate) rules: RuleIndex,
    pub(crate) sections: SectionIndex,
}

/// The rules by what they ask of a package.
#[derive(Debug)]
pub(crate) struct RuleIndex {
    pub(crate) attribute: Patterns,
    pub(crate) name: Patterns,
    pub(crate) store_path: Patterns,
    pub(crate) index: Patterns,
    pub(crate) soname: Patterns,
    /// The rules that ask for an index: with an unknown one they may hold.
    pub(crate) with_index: Vec<usize>,
    /// How many kinds of patterns must match, for each rule.
    pub(crate) required: Vec<usize>,
}

/// The sections by what they ask of a program.
#[derive(Debug)]
pub(crate) struct SectionIndex {
    pub(crate) paths: Patterns,
    pub(crate) build_ids: HashMap<Vec<u8>, Vec<usize>>,
    pub(crate) with_path: Vec<usize>,
    pub(crate) with_build_id: Vec<usize>,
}

impl Rule {
    /// What it says about a package, given that its patterns match.
    pub(crate) fn says(&self, package: &Package<'_>) -> Says {
        match &self.effect {
            Effect::Allow => Says::Allow,
            Effect::Deny | Effect::HostOnly => Says::Deny,
            Effect::Pin(attribute) if attribute == package.attribute => Says::Allow,
            Effect::Pin(_) => Says::Deny,
        }
    }

    /// Do the conditions hold that are no patterns to be looked up?
    pub(crate) fn holds_for(&self, package: &Package<'_>, version: &str) -> bool {
        let conditions = &self.conditions;
        conditions.version.as_ref().is_none_or(|range| range.contains(version))
            && conditions.except.as_ref().is_none_or(|except| !except.matches(package.attribute.as_bytes()))
    }
}

impl Draft {
    /// Where a rule stands.
    pub(crate) fn place_of(&self, rule: &Rule) -> Place {
        let section = rule.section.and_then(|section| self.sections.get(section));
        section.map_or(Place::General, |section| section.place)
    }

    /// Compiles all patterns, once.
    pub(crate) fn compile(self) -> Result<File, String> {
        let rules = RuleIndex::of(&self.rules)?;
        let sections = SectionIndex::of(&self.sections)?;
        Ok(File { draft: self, rules, sections })
    }
}

impl RuleIndex {
    fn of(rules: &[Rule]) -> Result<Self, String> {
        let collect = |names: Names, get: fn(&Conditions) -> &Option<Vec<String>>| {
            let mut collector = Collector::of(names);
            for (at, rule) in rules.iter().enumerate() {
                let patterns = get(&rule.conditions).iter().flatten();
                patterns.into_iter().try_for_each(|pattern| collector.add(pattern, at))?;
            }
            collector.finish()
        };
        let asked = |conditions: &Conditions| {
            let Conditions { attribute, name, store_path, index, soname, .. } = conditions;
            [attribute, name, store_path, index, soname].into_iter().flatten().count()
        };
        let with_index = rules.iter().enumerate().filter(|(_, rule)| rule.conditions.index.is_some());
        Ok(Self {
            attribute: collect(Names::Words, |conditions| &conditions.attribute)?,
            name: collect(Names::Words, |conditions| &conditions.name)?,
            store_path: collect(Names::Paths, |conditions| &conditions.store_path)?,
            index: collect(Names::Words, |conditions| &conditions.index)?,
            soname: collect(Names::Words, |conditions| &conditions.soname)?,
            with_index: with_index.map(|(at, _)| at).collect(),
            required: rules.iter().map(|rule| asked(&rule.conditions)).collect(),
        })
    }
}

impl SectionIndex {
    fn of(sections: &[Section]) -> Result<Self, String> {
        let mut paths = Collector::of(Names::Paths);
        let mut build_ids: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        let (mut with_path, mut with_build_id) = (Vec::new(), Vec::new());
        for (at, section) in sections.iter().enumerate() {
            if let Some(patterns) = &section.path {
                with_path.push(at);
                patterns.iter().try_for_each(|pattern| paths.add(pattern, at))?;
            }
            if let Some(ids) = &section.build_id {
                with_build_id.push(at);
                for id in ids {
                    build_ids.entry(id.clone()).or_default().push(at);
                }
            }
        }
        Ok(Self { paths: paths.finish()?, build_ids, with_path, with_build_id })
    }
}
