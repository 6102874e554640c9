//! Rank and coverage together: the provider that a program is given.
//!
//! Candidates are looked at in the order of their rank until one defines everything. Looking at one takes its
//! package, which may have to be downloaded for that; so the first is tried first, the next only when it falls
//! short, and a few at most.

use super::coverage::{Coverage, Demand, cover};
use super::{Candidate, Context, Ranked, SymbolSet, rules};
use std::cmp::Reverse;
use std::rc::Rc;

/// Where symbols are looked up. What stands behind it is the caller's business.
pub trait Shelf {
    /// What the candidate's library defines, if its package is at hand or was looked at before.
    fn look(&mut self, candidate: &Candidate<'_>) -> Option<Rc<SymbolSet>>;
    /// Gets the candidate's package, if it may be had.
    fn fetch(&mut self, candidate: &Candidate<'_>);
}

/// What may be done to know a candidate's symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Nothing: what is not at hand stays unknown.
    Look,
    /// Get packages for it, but not more than so many.
    Fetch(usize),
}

/// How a candidate came out, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It defines everything that is its business to define.
    Full,
    /// Its symbols are not known: it was not looked at, or cannot be had.
    Unknown,
    /// It lacks symbols; the program may get far without them.
    Partial,
    /// It lacks versions (the loader would refuse it), or is no library to run with at all.
    Unfit,
}

/// A candidate after rank and coverage.
#[derive(Clone, Debug)]
pub struct Assessed<'t> {
    /// The candidate and what ranking says of it.
    pub ranked: Ranked<'t>,
    /// Its place by rank alone, from 0.
    pub rank: usize,
    /// What it defines, if that is known.
    pub coverage: Option<Coverage>,
    /// How it came out.
    pub standing: Standing,
}

/// The candidates for one soname in their final order.
#[derive(Clone, Debug, Default)]
pub struct Settled<'t> {
    /// All of them. The first is the chosen one, if any is.
    pub order: Vec<Assessed<'t>>,
    /// Whether the first may be given to the program.
    pub decided: bool,
}

impl<'t> Settled<'t> {
    /// The provider to take.
    pub fn chosen(&self) -> Option<&Assessed<'t>> {
        self.order.first().filter(|_| self.decided)
    }
}

/// Brings ranked candidates into their final order.
pub fn settle<'t>(
    demand: &Demand,
    ranked: Vec<Ranked<'t>>,
    context: &Context<'_>,
    shelf: &mut dyn Shelf,
    effort: Effort,
) -> Settled<'t> {
    let mut sets: Vec<Option<Rc<SymbolSet>>> = vec![None; ranked.len()];
    let mut fetches = if let Effort::Fetch(most) = effort { most } else { 0 };
    let usable = |one: &Ranked<'_>| is_usable(&one.candidate, context);
    for (at, one) in ranked.iter().enumerate().filter(|(_, one)| usable(one)) {
        let mut set = shelf.look(&one.candidate);
        if set.is_none() && fetches > 0 {
            fetches -= 1;
            shelf.fetch(&one.candidate);
            set = shelf.look(&one.candidate);
        }
        if let Some(place) = sets.get_mut(at) {
            *place = set;
        }
        // Without an effort everything that is at hand is compared; with one, the first that will do ends it.
        let full = || assess(demand, &sets).into_iter().flatten().any(|coverage| coverage.is_full());
        if effort != Effort::Look && full() {
            break;
        }
    }
    order(demand, ranked, assess(demand, &sets), context, effort)
}

/// Coverage of those whose symbols are known.
fn assess(demand: &Demand, sets: &[Option<Rc<SymbolSet>>]) -> Vec<Option<Coverage>> {
    let known: Vec<&SymbolSet> = sets.iter().flatten().map(Rc::as_ref).collect();
    let mut coverages = cover(demand, &known).into_iter();
    sets.iter().map(|set| set.as_ref().and_then(|_| coverages.next())).collect()
}

fn order<'t>(
    demand: &Demand,
    ranked: Vec<Ranked<'t>>,
    coverages: Vec<Option<Coverage>>,
    context: &Context<'_>,
    effort: Effort,
) -> Settled<'t> {
    let mut order: Vec<Assessed<'t>> = ranked
        .into_iter()
        .zip(coverages)
        .enumerate()
        .map(|(rank, (ranked, coverage))| {
            let standing = standing(&ranked.candidate, coverage.as_ref(), demand, context);
            Assessed { ranked, rank, coverage, standing }
        })
        .collect();
    order.sort_by_cached_key(|one| {
        // What has not been looked at yet would be, in its turn; what could not be had is no match for what can.
        let group = match one.standing {
            Standing::Full => 0,
            Standing::Unknown if !one.ranked.candidate.may_be_served(context.lists) => 3,
            Standing::Unknown if effort == Effort::Look => 0,
            Standing::Partial => 1,
            Standing::Unknown => 2,
            Standing::Unfit => 4,
        };
        // Of two that lack something what they lack decides, and then rank.
        let merit = one.coverage.as_ref().filter(|_| group == 1).map(Coverage::merit);
        (group, Reverse(merit), one.rank)
    });
    let decided = order.first().is_some_and(|first| match first.standing {
        Standing::Full | Standing::Partial => true,
        Standing::Unknown => first.ranked.candidate.may_be_served(context.lists),
        Standing::Unfit => false,
    });
    Settled { order, decided }
}

fn standing(
    candidate: &Candidate<'_>,
    coverage: Option<&Coverage>,
    demand: &Demand,
    context: &Context<'_>,
) -> Standing {
    if !is_usable(candidate, context) {
        return Standing::Unfit;
    }
    match coverage {
        None => Standing::Unknown,
        Some(coverage) if !coverage.is_possible() => Standing::Unfit,
        // In a private folder lies what one package made for itself: only a perfect fit is believed.
        Some(coverage) if !candidate.may_be_served(context.lists) => {
            if coverage.is_full() && !demand.is_empty() { Standing::Full } else { Standing::Unfit }
        }
        Some(coverage) if coverage.is_complete() => Standing::Full,
        Some(_) => Standing::Partial,
    }
}

/// It is a library to run with, of the program's width.
fn is_usable(candidate: &Candidate<'_>, context: &Context<'_>) -> bool {
    !context.lists.is_unusable_folder(candidate.provider.dir) && rules::fits_width(candidate, context.class)
}

#[cfg(test)]
mod tests;
