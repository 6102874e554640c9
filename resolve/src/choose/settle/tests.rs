//! What is chosen when the symbols are known, partly known and not known.

use super::*;
use crate::choose::testing::{package, table};
use crate::choose::{candidates, rank};
use crate::elf::symbols::{DefinedSymbol, SymbolFacts, UndefinedSymbol};
use crate::elf::{ElfFacts, NeededVersion, VersionNeed};
use crate::index::nix_index::Package;
use crate::lists::Lists;

/// A store with symbols by attribute (`name` or `name@VERSION` each); some can only be had by fetching.
struct Store {
    sets: Vec<(&'static str, bool, Rc<SymbolSet>)>,
    fetched: Vec<String>,
}

impl Store {
    fn of(packages: &[(&'static str, bool, &[&str])]) -> Store {
        let sets = packages.iter().map(|(attr, here, symbols)| (*attr, *here, Rc::new(set(symbols))));
        Store { sets: sets.collect(), fetched: Vec::new() }
    }
}

impl Shelf for Store {
    fn look(&mut self, candidate: &Candidate<'_>) -> Option<Rc<SymbolSet>> {
        let attr = candidate.provider.package.attr;
        let (_, here, set) = self.sets.iter().find(|(name, ..)| *name == attr)?;
        (*here || self.fetched.iter().any(|fetched| fetched == attr)).then(|| set.clone())
    }

    fn fetch(&mut self, candidate: &Candidate<'_>) {
        self.fetched.push(candidate.provider.package.attr.to_owned());
    }
}

fn own_facts() -> ElfFacts {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let facts = ElfFacts::parse(&bytes).unwrap();
    ElfFacts {
        needed: vec!["libz.so.1".into()],
        version_needs: Vec::new(),
        version_defs: Vec::new(),
        ..facts
    }
}

fn split(symbol: &str) -> (&str, Option<String>) {
    symbol.split_once('@').map_or((symbol, None), |(name, version)| (name, Some(version.to_owned())))
}

fn set(symbols: &[&str]) -> SymbolSet {
    let defined: Vec<DefinedSymbol> = symbols
        .iter()
        .map(|symbol| split(symbol))
        .map(|(name, version)| DefinedSymbol { name: name.into(), version, hidden: false })
        .collect();
    let version_defs = defined.iter().filter_map(|symbol| symbol.version.clone()).collect();
    let elf = ElfFacts { soname: Some("libz.so.1".into()), version_defs, ..own_facts() };
    SymbolSet::of(&elf, &SymbolFacts { undefined: Vec::new(), defined })
}

fn demand(symbols: &[&str]) -> Demand {
    let mut facts = own_facts();
    let mut undefined = Vec::new();
    for (name, version) in symbols.iter().map(|symbol| split(symbol)) {
        if let Some(version) = &version {
            let versions = vec![NeededVersion { name: version.clone(), weak: false }];
            facts.version_needs.push(VersionNeed { soname: "libz.so.1".into(), versions });
        }
        let soname = version.as_ref().map(|_| "libz.so.1".to_owned());
        undefined.push(UndefinedSymbol { name: name.into(), version, soname, weak: false });
    }
    Demand::of("libz.so.1", [(&facts, undefined.as_slice())])
}

/// Attributes in their final order with their standings, and whether the first is taken.
fn order(
    packages: &[Package],
    demand: &Demand,
    store: &mut Store,
    effort: Effort,
) -> (Vec<(String, Standing)>, bool) {
    let (table, lists) = (table(packages), Lists::built_in());
    let context = Context::bare(lists);
    let ranked = rank(candidates("libz.so.1", &[&table], lists), &context);
    let settled = settle(demand, ranked, &context, store, effort);
    let names =
        settled.order.iter().map(|one| (one.ranked.candidate.provider.package.attr.to_owned(), one.standing));
    (names.collect(), settled.decided)
}

/// `zlib` ranks before `zlib-lite`, which ranks before `another`.
fn public() -> [Package; 3] {
    ["zlib", "zlib-lite", "another"].map(|attr| package(attr, &["lib/libz.so.1"]))
}

fn names(order: &[(String, Standing)]) -> Vec<&str> {
    order.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn the_first_that_defines_everything_ends_the_search() {
    let mut store = Store::of(&[("zlib", false, &["a", "b"]), ("zlib-lite", false, &["a"])]);
    let (order, decided) = order(&public(), &demand(&["a", "b"]), &mut store, Effort::Fetch(4));
    assert!(decided);
    assert_eq!(order[0], ("zlib".into(), Standing::Full));
    assert_eq!(store.fetched, ["zlib"], "no other package was got merely to look at it");
}

#[test]
fn the_next_ones_are_tried_when_the_first_falls_short() {
    let mut store = Store::of(&[
        ("zlib", false, &["a"]),
        ("zlib-lite", false, &["a", "b"]),
        ("another", false, &["a", "b", "c"]),
    ]);
    let (order, _) = order(&public(), &demand(&["a", "b", "c"]), &mut store, Effort::Fetch(4));
    assert_eq!(names(&order), ["another", "zlib-lite", "zlib"], "by what they lack");
    assert_eq!(order[1].1, Standing::Partial);
}

#[test]
fn only_so_many_are_fetched_and_the_best_of_them_wins() {
    let mut store = Store::of(&[("zlib", false, &["a"]), ("zlib-lite", false, &["a", "b"])]);
    let (order, decided) = order(&public(), &demand(&["a", "b", "c"]), &mut store, Effort::Fetch(2));
    assert!(decided);
    assert_eq!(names(&order), ["zlib-lite", "zlib", "another"]);
    assert_eq!(store.fetched, ["zlib", "zlib-lite"]);
}

#[test]
fn a_needed_version_counts_before_rank_and_share() {
    let mut store = Store::of(&[("zlib", true, &["a", "b", "c@OTHER_1"]), ("zlib-lite", true, &["c@Z_2"])]);
    let (order, decided) = order(&public()[..2], &demand(&["a", "b", "c@Z_2"]), &mut store, Effort::Fetch(4));
    assert!(decided);
    assert_eq!(order, [("zlib-lite".into(), Standing::Partial), ("zlib".into(), Standing::Unfit)]);
}

#[test]
fn nobody_is_taken_when_all_lack_a_version() {
    let mut store = Store::of(&[("zlib", true, &["a@OLD"])]);
    let (order, decided) = order(&public()[..1], &demand(&["a@NEW"]), &mut store, Effort::Fetch(4));
    assert!(!decided);
    assert_eq!(order[0].1, Standing::Unfit);
}

#[test]
fn looking_leaves_what_is_not_at_hand_in_its_place() {
    let mut store = Store::of(&[("zlib-lite", true, &["a"]), ("another", true, &["a", "b"])]);
    let (order, decided) = order(&public(), &demand(&["a", "b"]), &mut store, Effort::Look);
    assert!(decided);
    assert_eq!(names(&order), ["zlib", "another", "zlib-lite"]);
    assert_eq!(order[0].1, Standing::Unknown);
    assert!(store.fetched.is_empty());
}

#[test]
fn what_cannot_be_had_stands_behind_what_can() {
    let mut store = Store::of(&[("zlib-lite", true, &["a"])]);
    let (order, _) = order(&public(), &demand(&["a", "b"]), &mut store, Effort::Fetch(4));
    assert_eq!(names(&order), ["zlib-lite", "zlib", "another"]);
}

#[test]
fn without_any_symbols_rank_decides() {
    let (order, decided) = order(&public(), &demand(&["a"]), &mut Store::of(&[]), Effort::Fetch(4));
    assert!(decided);
    assert_eq!(names(&order), ["zlib", "zlib-lite", "another"]);
}

#[test]
fn a_private_folder_is_believed_only_when_it_covers_everything() {
    let private = [package("app", &["lib/app/plugins/libz.so.1"])];
    for (symbols, expected) in [(&["a", "b"][..], true), (&["a"], false)] {
        let mut store = Store::of(&[("app", true, symbols)]);
        assert!(!order(&private, &demand(&["a", "b@V"]), &mut store, Effort::Fetch(4)).1);
        let mut store = Store::of(&[("app", true, symbols), ("zlib", true, &["b"])]);
        let both = [private[0].clone(), package("zlib", &["lib/libz.so.1"])];
        assert_eq!(
            names(&order(&both, &demand(&["a", "b"]), &mut store, Effort::Fetch(4)).0)[0] == "app",
            expected
        );
    }
    let unknown = order(&private, &demand(&["a"]), &mut Store::of(&[]), Effort::Look);
    assert!(!unknown.1, "nobody knows that it fits");
    let mut store = Store::of(&[("app", true, &["a"])]);
    assert!(!order(&private, &demand(&[]), &mut store, Effort::Fetch(4)).1, "nothing to fit");
}

#[test]
fn a_stub_is_never_taken_however_well_it_covers() {
    let stub = [package("cuda", &["lib/stubs/libz.so.1"]), package("android", &["lib32/libz.so.1"])];
    let mut store = Store::of(&[("cuda", true, &["a"]), ("android", true, &["a"])]);
    let (order, decided) = order(&stub, &demand(&["a"]), &mut store, Effort::Fetch(4));
    assert!(!decided);
    assert!(order.iter().all(|(_, standing)| *standing == Standing::Unfit));
}
