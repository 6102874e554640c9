//! Which of a soname's providers it should be, and why that one.
//!
//! [`rules`] is the table of ranking rules, each with its reason; [`rank`] applies it. Nothing here knows
//! whether a path exists or a policy allows it: callers say so through [`Context`]. Ranking is deterministic:
//! what no rule tells apart is ordered by store path and marked as a tie.

pub mod base_cache;
mod by_path;
mod candidate;
pub mod coverage;
mod near_miss;
pub mod newest;
pub mod rules;
pub mod settle;
mod symbol_set;

pub use by_path::serve_path;
pub use candidate::{Candidate, candidates};
pub use near_miss::{NearMiss, Resemblance, near_misses};
pub use rules::Rule;
pub use symbol_set::{SetError, SymbolSet};

use crate::elf::Class;
use crate::index::table::Table;
use crate::lists::{GroupKind, Lists};
use std::collections::{BTreeSet, HashSet};

/// What the caller knows beyond the index.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The lists in force.
    pub lists: &'a Lists,
    /// Width of the program: a library of the other width is of no use to it.
    pub class: Class,
    /// The user's policy names this candidate.
    pub pinned: &'a dyn Fn(&Candidate<'_>) -> bool,
    /// The store path (`/nix/store/hash-name`) is valid on this machine.
    pub valid: &'a dyn Fn(&str) -> bool,
    /// Last components (`hash-name`) of store paths already chosen for the program's other sonames.
    pub chosen: &'a HashSet<String>,
}

impl<'a> Context<'a> {
    /// A 64-bit program about which nothing else is known.
    pub fn bare(lists: &'a Lists) -> Context<'a> {
        static NONE: std::sync::LazyLock<HashSet<String>> = std::sync::LazyLock::new(HashSet::new);
        Context { lists, class: Class::Elf64, pinned: &|_| false, valid: &|_| false, chosen: &NONE }
    }
}

/// A candidate in its place.
#[derive(Clone, Debug)]
pub struct Ranked<'t> {
    /// The candidate.
    pub candidate: Candidate<'t>,
    /// Rules in which it does better than some rival: reasons to take it.
    pub merits: Vec<&'static Rule>,
    /// The rule in which it first does worse than the candidate before it; nothing for the best and for ties.
    pub beaten_by: Option<&'static Rule>,
    /// No rule tells it from the candidate before it: their order is that of their store paths.
    pub tied: bool,
    scores: Vec<i64>,
}

/// Orders candidates, best first, by all of [`rules::RULES`].
pub fn rank<'t>(
    candidates: impl IntoIterator<Item = Candidate<'t>>,
    context: &Context<'_>,
) -> Vec<Ranked<'t>> {
    rank_by(rules::RULES, candidates, context)
}

/// The first that [`rank`] would name, without the reasons and in a fraction of the time.
pub fn best<'t>(
    candidates: impl IntoIterator<Item = Candidate<'t>>,
    context: &Context<'_>,
) -> Option<Candidate<'t>> {
    let candidates: Vec<Candidate<'t>> = candidates.into_iter().collect();
    let field = Field { context, rivals: &candidates };
    let mut left = candidates.clone();
    for rule in rules::RULES {
        if left.len() < 2 {
            break;
        }
        let scores: Vec<i64> = left.iter().map(|candidate| (rule.score)(candidate, &field)).collect();
        let highest = scores.iter().copied().max();
        let mut scores = scores.into_iter();
        left.retain(|_| scores.next() == highest);
    }
    left.into_iter().min_by_key(Candidate::order_key)
}

/// The provider of a soname when nothing is known of the program's symbols; nothing for names that no package may
/// provide. Of gcc's runtime, of which a process has one, the newest of all databases.
pub fn serve<'t, B: AsRef<[u8]>>(
    soname: &str,
    databases: &[&'t Table<B>],
    aliases: bool,
    context: &Context<'_>,
) -> Option<Candidate<'t>> {
    let newest = match context.lists.kind_of(soname) {
        Some(GroupKind::Glibc | GroupKind::Driver | GroupKind::Never) => return None,
        Some(GroupKind::GccRuntime) => true,
        None => false,
    };
    let mut all = candidates(soname, databases, context.lists);
    if newest {
        return newest_package(all, context);
    }
    all.sort_by_key(|candidate| candidate.alias);
    let exact = all.partition_point(|candidate| !candidate.alias);
    let (exact, _) = all.split_at(exact);
    let fits = |candidate: &Candidate<'_>| {
        rules::fits_width(candidate, context.class) && candidate.may_be_served(context.lists)
    };
    let first = |candidates: &[Candidate<'t>]| {
        // Most names of which nobody has a library to serve are plug-ins': not worth ranking.
        if !candidates.iter().any(fits) {
            return None;
        }
        let best = best(candidates.iter().copied(), context)?;
        if fits(&best) {
            return Some(best);
        }
        let ranked = rank(candidates.iter().copied(), context);
        ranked.into_iter().map(|one| one.candidate).find(fits)
    };
    first(exact).or_else(|| if aliases { first(&all) } else { None })
}

/// The best of each database, and of these the one with the newest version: for what a process has one of.
pub fn newest_package<'t>(candidates: Vec<Candidate<'t>>, context: &Context<'_>) -> Option<Candidate<'t>> {
    let databases: BTreeSet<usize> = candidates.iter().map(|candidate| candidate.database).collect();
    let bests = databases.into_iter().filter_map(|database| {
        let own = candidates.iter().copied().filter(|candidate| candidate.database == database);
        best(own, context).filter(|best| best.may_be_served(context.lists))
    });
    let name = |candidate: &Candidate<'t>| candidate.provider.package.name();
    // Of equals the one from the database that is asked first.
    bests.reduce(
        |newest, next| {
            if rules::compare_names(name(&next), name(&newest)).is_gt() { next } else { newest }
        },
    )
}

/// Orders candidates by some of the rules, to see what a rule is worth.
pub fn rank_by<'t>(
    rules: impl IntoIterator<Item = &'static Rule>,
    candidates: impl IntoIterator<Item = Candidate<'t>>,
    context: &Context<'_>,
) -> Vec<Ranked<'t>> {
    let rules: Vec<&'static Rule> = rules.into_iter().collect();
    let candidates: Vec<Candidate<'t>> = candidates.into_iter().collect();
    let field = Field { context, rivals: &candidates };
    let mut ranked: Vec<Ranked<'t>> = candidates
        .iter()
        .map(|candidate| Ranked {
            candidate: *candidate,
            merits: Vec::new(),
            beaten_by: None,
            tied: false,
            scores: rules.iter().map(|rule| (rule.score)(candidate, &field)).collect(),
        })
        .collect();
    ranked.sort_by(|a, b| {
        b.scores.cmp(&a.scores).then_with(|| a.candidate.order_key().cmp(&b.candidate.order_key()))
    });
    explain(&rules, &mut ranked);
    ranked
}

/// What a rule may compare a candidate with.
pub struct Field<'f, 't> {
    context: &'f Context<'f>,
    rivals: &'f [Candidate<'t>],
}

fn explain(rules: &[&'static Rule], ranked: &mut [Ranked<'_>]) {
    let worst: Vec<i64> = (0..rules.len())
        .map(|rule| ranked.iter().filter_map(|one| one.scores.get(rule)).copied().min().unwrap_or(0))
        .collect();
    let mut before: Option<Vec<i64>> = None;
    for one in ranked {
        let rules = rules.iter().copied();
        let scored = rules.clone().zip(&one.scores).zip(&worst);
        one.merits = scored.filter(|((_, score), worst)| score > worst).map(|((rule, _), _)| rule).collect();
        if let Some(before) = &before {
            let mut compared = rules.zip(before.iter().zip(&one.scores));
            one.beaten_by = compared.find(|(_, (better, own))| better > own).map(|(rule, _)| rule);
            one.tied = one.beaten_by.is_none();
        }
        before = Some(one.scores.clone());
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
