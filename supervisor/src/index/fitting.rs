//! Choosing for one program: what it and its bundled libraries need of a soname is put to the candidates.
//!
//! The first by rank is looked at first. Only when it falls short are others got, a few for one soname and a few for the
//! whole program: a download merely to look has to be worth it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use sonde_resolve::bundle::{Bundle, Files, Want, Why};
use sonde_resolve::choose::coverage::{Coverage, Demand};
use sonde_resolve::choose::settle::{Assessed, Effort, Settled, Shelf, settle};
use sonde_resolve::choose::{Candidate, Context, Ranked, SymbolSet, newest_package, rank};
use sonde_resolve::lists::GroupKind;

use super::symbols::Symbols;
use super::{Choice, Index, choice};
use crate::store::StorePath;

/// How many candidates for one soname are got to be looked at.
const MOST_FOR_ONE: usize = 4;
/// How many candidates are got for a program beyond the first of each soname.
const MOST_IN_ALL: usize = 8;

/// What a store and a policy have to say to choosing.
pub(crate) trait Supply {
    /// The object is valid on this machine.
    fn has(&self, object: &StorePath) -> bool;
    /// Makes packages valid, as far as they are allowed and can be had, in one request; those that are valid already
    /// are to be passed over.
    fn supply(&mut self, wanted: &[(&str, Choice)]);
    /// The policy names this package for the soname.
    fn pins(&self, _soname: &str, _choice: &Choice) -> bool {
        false
    }
    /// The policy has nothing against this package for the soname. One that it refuses is no candidate, and is not got to
    /// be looked at either.
    fn permits(&self, _soname: &str, _choice: &Choice) -> bool {
        true
    }
    /// How many packages may be got for one soname, the first by rank among them.
    fn most_for_one(&self) -> usize {
        usize::MAX
    }
}

/// The store as it is: nothing is got.
pub(crate) struct AsItIs<'i>(pub(crate) &'i Index);

impl Supply for AsItIs<'_> {
    fn has(&self, object: &StorePath) -> bool {
        self.0.is_there(object)
    }

    fn supply(&mut self, _: &[(&str, Choice)]) {}
}

/// What was chosen for one soname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fit {
    pub(crate) soname: String,
    /// Nothing: nobody has it, or everybody who has it lacks a version that is needed.
    pub(crate) choice: Option<Choice>,
    /// How well it fits, if its symbols are known; of the best that was not taken when none was.
    pub(crate) coverage: Option<Coverage>,
    /// Why it and not the next one.
    pub(crate) reason: Option<String>,
}

/// What would be chosen by rank alone, in the order of choosing.
#[derive(Debug, Clone, Default)]
pub(crate) struct First(Vec<(String, Choice)>);

impl First {
    pub(crate) fn of(&self, soname: &str) -> Option<&Choice> {
        self.0.iter().find(|(name, _)| name == soname).map(|(_, choice)| choice)
    }

    /// The packages (`hash-name`) that were chosen before this soname's: those that its own may belong to.
    pub(crate) fn before(&self, soname: &str) -> HashSet<String> {
        let earlier = self.0.iter().take_while(|(name, _)| name != soname);
        earlier.map(|(_, choice)| choice.object.base_name().to_owned()).collect()
    }
}

impl Index {
    /// Chooses for everything that a program wants and does not bring along, and gets it: the needed by coverage, what
    /// notes name by rank. Glibc's own, drivers and what is never provided is not among the answers, nor what is only
    /// suggested.
    pub(crate) fn choose_all(&self, bundle: &Bundle, files: &dyn Files, supply: &mut dyn Supply) -> Vec<Fit> {
        let wants: Vec<&Want> =
            bundle.wants.iter().filter(|want| want.found.is_none() && want.joins_plan()).collect();
        let wants: Vec<(&Want, String)> =
            wants.into_iter().filter_map(|want| Some((want, self.available(want)?))).collect();
        if wants.is_empty() {
            return Vec::new(); // as for most small programs, whose one need is glibc
        }
        // Everybody's first, in one request; of what is remembered nothing is learnt by getting it.
        let first = self.first_choices(wants.iter().map(|(_, soname)| soname.as_str()), supply);
        let unknown = first.0.iter().filter(|(_, choice)| self.symbols.look(choice).is_none());
        let unknown: Vec<_> = unknown.map(|(soname, choice)| (soname.as_str(), choice.clone())).collect();
        supply.supply(&unknown);

        let demands = self.demands(bundle, files, &first);
        let mut left = MOST_IN_ALL;
        let mut fits = Vec::new();
        for (want, soname) in wants {
            let demand = demands.get(&soname).filter(|_| want.why == Why::Needed);
            let Some(demand) = demand else {
                let choice = first.of(&soname).cloned();
                fits.push(Fit { soname, choice, coverage: None, reason: None });
                continue;
            };
            let most = left.min(MOST_FOR_ONE).min(supply.most_for_one().saturating_sub(1));
            let (fit, fetched) = self.fit(&soname, demand, &first.before(&soname), supply, most);
            left = left.saturating_sub(fetched);
            fits.push(fit);
        }
        // What was chosen by what is remembered of it need not be there.
        let chosen = fits.iter().filter_map(|fit| Some((fit.soname.as_str(), fit.choice.clone()?)));
        let chosen: Vec<_> = chosen.collect();
        supply.supply(&chosen);
        fits
    }

    /// The candidates for a soname in their final order.
    pub(crate) fn settle(
        &self,
        soname: &str,
        demand: &Demand,
        chosen: &HashSet<String>,
        supply: &mut dyn Supply,
        effort: Effort,
    ) -> Settled<'_> {
        self.settle_counting(soname, demand, chosen, supply, effort).0
    }

    /// What the program needs of each soname that it misses, less what its other libraries define.
    pub(crate) fn demands(
        &self,
        bundle: &Bundle,
        files: &dyn Files,
        first: &First,
    ) -> HashMap<String, Demand> {
        let missing = bundle.wants.iter().filter(|want| want.found.is_none()).map(Want::soname);
        let missing: Vec<&str> = missing.filter(|soname| self.exclusion_of(soname).is_none()).collect();
        let mut demands: HashMap<String, Demand> = HashMap::new();
        if missing.is_empty() {
            return demands;
        }
        let own: HashMap<&str, SymbolSet> = first
            .0
            .iter()
            .filter_map(|(soname, choice)| Some((soname.as_str(), self.symbols.look(choice)?)))
            .collect();
        let found = bundle.wants.iter().filter_map(|want| want.found.as_deref());
        let mut others: Vec<SymbolSet> = found
            .filter(|path| path.starts_with("/nix/store"))
            .filter_map(|path| self.symbols.read(path))
            .collect();
        others.extend(self.glibc(bundle));
        demands.extend(missing.iter().map(|soname| ((*soname).to_owned(), bundle.demand(soname))));
        // Each symbol is looked up once in each library, however many sonames it might belong to.
        let loose: HashSet<String> = demands.values().flat_map(Demand::loose).map(str::to_owned).collect();
        let definers: HashMap<String, Vec<&str>> = loose
            .into_iter()
            .map(|name| {
                let theirs = others.iter().filter(|set| set.defines(&name)).map(|_| "");
                let own = own.iter().filter(|(_, set)| set.defines(&name)).map(|(soname, _)| *soname);
                let all = theirs.chain(own).collect();
                (name, all)
            })
            .collect();
        for (soname, demand) in &mut demands {
            let is_own = |name: &str| {
                definers.get(name).is_none_or(|definers| definers.iter().all(|definer| definer == soname))
            };
            demand.retain_loose(is_own);
        }
        // Reading the bundle again is only worth it for symbols that nobody else defines.
        let is_open = |(soname, demand): (&String, &Demand)| {
            let own = own.get(soname.as_str());
            demand.loose().any(|name| own.is_none_or(|own| !own.defines(name)))
        };
        if demands.iter().any(is_open) {
            for set in bundle.definitions(files) {
                demands.values_mut().for_each(|demand| demand.without_symbols_of(&set));
            }
        }
        demands
    }

    /// The first by rank for each soname, chosen one after the other, so that siblings come from one package.
    pub(crate) fn first_choices<'n>(
        &self,
        sonames: impl IntoIterator<Item = &'n str>,
        supply: &dyn Supply,
    ) -> First {
        let mut first = First::default();
        for soname in sonames {
            let ranked = self.ranked(soname, &first.before(soname), supply);
            let best = ranked.iter().map(|one| &one.candidate).find(|one| one.may_be_served(&self.lists));
            first.0.extend(best.and_then(|best| Some((soname.to_owned(), choice(&best.provider)?))));
        }
        first
    }

    /// The first by rank for a soname that meets a condition.
    pub(crate) fn choose_where(&self, soname: &str, holds: &dyn Fn(&Choice) -> bool) -> Option<Choice> {
        let ranked = self.ranked(soname, &HashSet::new(), &AsItIs(self));
        let served = ranked.iter().filter(|one| one.candidate.may_be_served(&self.lists));
        served.filter_map(|one| choice(&one.candidate.provider)).find(|choice| holds(choice))
    }

    /// The name under which a want can be had: of alternatives the first that any package has.
    pub(crate) fn available(&self, want: &Want) -> Option<String> {
        let allowed: Vec<&String> =
            want.sonames.iter().filter(|soname| self.exclusion_of(soname).is_none()).collect();
        let had = allowed.iter().find(|soname| !self.candidates(soname).is_empty());
        had.or(allowed.first()).map(|soname| (*soname).clone())
    }

    /// The candidates in the order of their rank, with what the store and the policy say; none for what no package may
    /// provide.
    fn ranked(&self, soname: &str, chosen: &HashSet<String>, supply: &dyn Supply) -> Vec<Ranked<'_>> {
        if self.exclusion_of(soname).is_some() {
            return Vec::new();
        }
        let pinned = |candidate: &Candidate<'_>| {
            choice(&candidate.provider).is_some_and(|choice| supply.pins(soname, &choice))
        };
        let valid = |path: &str| StorePath::new(path).is_some_and(|object| supply.has(&object));
        let context = Context { pinned: &pinned, valid: &valid, chosen, ..Context::bare(&self.lists) };
        let mut ranked = rank(self.candidates(soname), &context);
        // A process has one of gcc's runtime, which libraries of the newer database need as new as theirs.
        if self.lists.kind_of(soname) == Some(GroupKind::GccRuntime) {
            let all = ranked.iter().map(|one| one.candidate).collect();
            let newest = newest_package(all, &context);
            ranked.sort_by_key(|one| newest != Some(one.candidate));
        }
        ranked.retain(|one| {
            choice(&one.candidate.provider).is_none_or(|choice| supply.permits(soname, &choice))
        });
        ranked
    }

    fn fit(
        &self,
        soname: &str,
        demand: &Demand,
        chosen: &HashSet<String>,
        supply: &mut dyn Supply,
        most: usize,
    ) -> (Fit, usize) {
        let (settled, fetched) = self.settle_counting(soname, demand, chosen, supply, Effort::Fetch(most));
        let first = settled.order.first();
        let taken = first.filter(|_| settled.decided);
        let fit = Fit {
            soname: soname.to_owned(),
            choice: taken.and_then(|first| choice(&first.ranked.candidate.provider)),
            coverage: first.and_then(|first| first.coverage.clone()),
            reason: taken.map(|_| reason(&settled)),
        };
        (fit, fetched)
    }

    fn settle_counting(
        &self,
        soname: &str,
        demand: &Demand,
        chosen: &HashSet<String>,
        supply: &mut dyn Supply,
        effort: Effort,
    ) -> (Settled<'_>, usize) {
        let ranked = self.ranked(soname, chosen, supply);
        let mut shelf = Shop { symbols: &self.symbols, soname, supply, fetched: 0 };
        let settled = settle(demand, ranked, &Context::bare(&self.lists), &mut shelf, effort);
        (settled, shelf.fetched)
    }

    /// What the needed members of glibc define, if the loader's glibc is there.
    fn glibc(&self, bundle: &Bundle) -> Vec<SymbolSet> {
        let Some(loader) = self.loader() else { return Vec::new() };
        let folder = loader.file.parent().unwrap_or(Path::new("/"));
        let members = bundle.wants.iter().map(Want::soname).filter(|soname| self.is_glibc(soname));
        members
            .filter_map(|soname| self.symbols.look(&Choice { file: folder.join(soname), ..loader.clone() }))
            .collect()
    }
}

/// Why the first is the first.
fn reason(settled: &Settled<'_>) -> String {
    let Some(second) = settled.order.get(1) else { return "the only package that has it".into() };
    let package = &second.ranked.candidate.provider.package;
    let than = format!("{}.{}", package.attr, package.output);
    let of = |assessed: &Assessed<'_>| assessed.coverage.as_ref().map(Coverage::share);
    match (settled.order.first().and_then(of), of(second), second.ranked.beaten_by) {
        (Some(first), Some(second), _) if first > second => {
            format!("defines more of what is needed than {than}")
        }
        (_, _, Some(rule)) => format!("before {than}: {}", rule.reason),
        _ => format!("as good as {than}"),
    }
}

/// A shelf on which a supply puts what it got.
struct Shop<'s> {
    symbols: &'s Symbols,
    soname: &'s str,
    supply: &'s mut dyn Supply,
    fetched: usize,
}

impl Shelf for Shop<'_> {
    fn look(&mut self, candidate: &Candidate<'_>) -> Option<Rc<SymbolSet>> {
        self.symbols.look(&choice(&candidate.provider)?).map(Rc::new)
    }

    fn fetch(&mut self, candidate: &Candidate<'_>) {
        if let Some(choice) = choice(&candidate.provider) {
            self.fetched += 1;
            self.supply.supply(&[(self.soname, choice)]);
        }
    }
}
