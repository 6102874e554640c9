//! One test for each rule that can be seen from outside, and the laws of ranking.

use super::testing::{package, table};
use super::*;
use crate::index::nix_index::Package;
use proptest::prelude::*;

const LIBZ: &str = "lib/libz.so.1";

/// Attributes in their order, and the rule that beat the second.
fn order(packages: &[Package], context: &Context<'_>) -> (Vec<String>, Option<&'static str>) {
    let table = table(packages);
    let ranked = rank(candidates("libz.so.1", &[&table], context.lists), context);
    let beaten_by = ranked.get(1).and_then(|second| second.beaten_by).map(|rule| rule.name);
    (ranked.iter().map(|one| one.candidate.provider.package.attr.to_owned()).collect(), beaten_by)
}

/// `winner` comes before `loser` because of `rule`, whichever was added first.
fn wins(winner: Package, loser: Package, rule: &str) {
    let lists = Lists::built_in();
    let context = Context::bare(lists);
    for packages in [[winner.clone(), loser.clone()], [loser.clone(), winner.clone()]] {
        let expected = vec![winner.attr.clone(), loser.attr.clone()];
        assert_eq!(
            order(&packages, &context),
            (expected, Some(rules::RULES.iter().find(|one| one.name == rule).unwrap().name))
        );
    }
}

#[test]
fn a_public_folder_beats_a_private_one() {
    wins(package("zz", &[LIBZ]), package("zlib", &["lib/zlib/libz.so.1"]), "public-folder");
}

#[test]
fn the_real_library_beats_a_stub() {
    wins(package("zz", &["lib/private/libz.so.1"]), package("zlib", &["lib/stubs/libz.so.1"]), "usable");
}

#[test]
fn a_folder_of_the_programs_width_beats_the_other() {
    wins(package("zz", &[LIBZ]), package("zlib", &["lib32/libz.so.1"]), "width");
    let narrow = Context { class: Class::Elf32, ..Context::bare(Lists::built_in()) };
    let packages = [
        package("zlib", &[LIBZ]),
        package("zz", &["lib32/libz.so.1"]),
        package("pkgsi686Linux.zlib", &[LIBZ]),
    ];
    let (order, _) = order(&packages, &narrow);
    assert_eq!(order[2], "zlib", "a 64-bit library is the last that a 32-bit program gets");
}

#[test]
fn a_packages_own_file_beats_an_environments_link() {
    let link = format!("{LIBZ} -> /nix/store/{}-zz-1.0/lib/libz.so.1", "0".repeat(32));
    wins(package("zz", &[LIBZ]), package("zlib", &[&link]), "own-file");
}

#[test]
fn run_time_outputs_beat_those_for_building_and_debugging() {
    for output in ["dev", "debug", "static"] {
        let other = Package { output: output.into(), ..package("zlib", &[LIBZ]) };
        wins(Package { output: "lib".into(), ..package("zz", &[LIBZ]) }, other, "run-time-output");
    }
}

#[test]
fn an_attribute_of_its_own_beats_being_seen_as_a_reference() {
    wins(package("zz", &[LIBZ]), Package { toplevel: false, ..package("zlib", &[LIBZ]) }, "known");
}

#[test]
fn a_reference_that_is_in_the_store_is_as_good_as_an_attribute() {
    let reference = Package { toplevel: false, ..package("zlib", &[LIBZ]) };
    let valid = |path: &str| path.ends_with("zlib-1.0");
    let context = Context { valid: &valid, ..Context::bare(Lists::built_in()) };
    assert_eq!(order(&[package("zz", &[LIBZ]), reference], &context).0, ["zlib", "zz"]);
}

#[test]
fn the_main_set_beats_sets_for_other_platforms_and_languages() {
    for guest in
        ["pkgsCross.aarch64.zlib", "python311Packages.zlib", "haskellPackages.zlib", "perlPackages.zlib"]
    {
        wins(package("zz", &[LIBZ]), package(guest, &[LIBZ]), "main-set");
    }
}

#[test]
fn the_package_that_others_lean_on_wins() {
    let popular = package("zz", &[LIBZ]);
    let mut environment = package("environment", &[]);
    environment.links_into = vec![format!("{}-{}", popular.hash, popular.name)];
    let packages = [package("zlib", &[LIBZ]), popular, environment];
    assert_eq!(
        order(&packages, &Context::bare(Lists::built_in())),
        (vec!["zz".into(), "zlib".into()], Some("popularity"))
    );
}

#[test]
fn the_plain_attribute_beats_its_variants() {
    wins(package("openssl", &[LIBZ]), package("openssl_legacy", &[LIBZ]), "plain-attribute");
}

#[test]
fn the_attribute_that_the_soname_names_wins() {
    wins(package("zlib", &[LIBZ]), package("aa", &[LIBZ]), "named-alike");
}

#[test]
fn likeness_knows_how_attributes_are_spelled() {
    for (soname, attr) in [
        ("libpng16.so.16", "libpng"),
        ("libX11.so.6", "xorg.libX11"),
        ("libgtk-3.so.0", "gtk3"),
        ("libfuse3.so.3", "fuse3"),
        ("libz.so.1", "zlib"),
        ("libSDL2-2.0.so.0", "SDL2"),
        ("libsqlite3.so.0", "sqlite"),
        ("libicuuc.so.72", "icu"),
    ] {
        let like = |attr| rules::likeness(soname, attr);
        assert!(like(attr) > like("boost"), "{soname} {attr}");
    }
    assert!(rules::likeness("libpng16.so.16", "libpng16") > rules::likeness("libpng16.so.16", "libpng"));
    assert_eq!(rules::likeness("3.so", "7"), 0);
}

#[test]
fn the_newest_version_wins_among_equals() {
    let (mut new, mut old) = (package("aaa", &[LIBZ]), package("bbb", &[LIBZ]));
    (new.name, old.name) = ("aaa-1.10".into(), "bbb-1.9.3".into());
    wins(new, old, "newest");
}

#[test]
fn the_package_of_a_sibling_soname_wins() {
    let fork = package("zz-fork", &[LIBZ]);
    let chosen = HashSet::from([format!("{}-{}", fork.hash, fork.name)]);
    let context = Context { chosen: &chosen, ..Context::bare(Lists::built_in()) };
    assert_eq!(
        order(&[package("zlib", &[LIBZ]), fork], &context),
        (vec!["zz-fork".into(), "zlib".into()], Some("sibling"))
    );
}

#[test]
fn a_pin_beats_everything() {
    let pinned = |candidate: &Candidate<'_>| candidate.provider.package.attr == "zz";
    let context = Context { pinned: &pinned, ..Context::bare(Lists::built_in()) };
    let packages = [
        package("zlib", &[LIBZ]),
        Package { output: "debug".into(), ..package("zz", &["lib/stubs/libz.so.1"]) },
    ];
    assert_eq!(order(&packages, &context), (vec!["zz".into(), "zlib".into()], Some("pinned")));
}

#[test]
fn a_curated_preference_is_marked_and_can_be_left_out() {
    let mut lists = Lists::built_in().clone();
    lists
        .add("[[preference]]\nsonames = ['libz.so.*']\nattr = 'zz'\nreason = 'because the test says so'\n")
        .unwrap();
    let packages = [package("zlib", &[LIBZ]), package("zz", &[LIBZ])];
    assert_eq!(order(&packages, &Context::bare(&lists)), (vec!["zz".into(), "zlib".into()], Some("curated")));
    assert_eq!(order(&packages, &Context::bare(&lists.without_preferences())).0[0], "zlib");
}

#[test]
fn an_earlier_database_beats_a_later_one_and_an_alias_the_exact_name_never() {
    let (today, older) =
        (table(&[package("zz", &[LIBZ])]), table(&[package("zlib", &[LIBZ, "lib/libbz2.so.1"])]));
    let lists = Lists::built_in();
    let context = Context::bare(lists);
    let ranked = rank(candidates("libz.so.1", &[&today, &older], lists), &context);
    assert_eq!(ranked[0].candidate.provider.package.attr, "zz");
    assert_eq!((ranked[1].candidate.database, ranked[1].beaten_by.unwrap().name), (1, "database"));

    let both = table(&[package("bzip2", &["lib/libbz2.so.1"]), package("aa", &["lib/libbz2.so.1.0"])]);
    let ranked = rank(candidates("libbz2.so.1.0", &[&both], lists), &context);
    let found: Vec<_> =
        ranked.iter().map(|one| (one.candidate.provider.file_name, one.candidate.alias)).collect();
    assert_eq!(found, [("libbz2.so.1.0", false), ("libbz2.so.1", true)]);
    assert_eq!(ranked[1].beaten_by.unwrap().name, "exact-name");
}

#[test]
fn what_no_rule_tells_apart_is_a_tie_in_the_order_of_store_paths() {
    let (mut one, mut two) = (package("same", &[LIBZ]), package("same", &[LIBZ]));
    (one.hash, two.hash) = ("1".repeat(32), "2".repeat(32));
    let table = table(&[two, one]);
    let lists = Lists::built_in();
    let ranked = rank(candidates("libz.so.1", &[&table], lists), &Context::bare(lists));
    assert!(!ranked[0].tied && ranked[1].tied && ranked[1].beaten_by.is_none());
    assert!(ranked[0].candidate.provider.package.base.starts_with('1'));
    assert!(ranked[0].merits.is_empty(), "nothing speaks for one of two equals");
}

#[test]
fn a_winners_merits_say_why() {
    let table = table(&[
        package("zlib", &[LIBZ]),
        Package { output: "dev".into(), ..package("aa", &["lib/a/libz.so.1"]) },
    ]);
    let lists = Lists::built_in();
    let ranked = rank(candidates("libz.so.1", &[&table], lists), &Context::bare(lists));
    let merits: Vec<_> = ranked[0].merits.iter().map(|rule| rule.name).collect();
    assert!(
        merits.contains(&"public-folder")
            && merits.contains(&"run-time-output")
            && merits.contains(&"named-alike")
    );
    assert!(rules::RULES.iter().all(|rule| !rule.reason.is_empty()));
}

#[test]
fn the_base_cache_has_the_best_of_each_name_and_nothing_that_must_not_be_served() {
    let table = table(&[
        package("zlib", &[LIBZ, "lib/libz.so"]),
        package(
            "other",
            &[
                "lib/other/libz.so.1",
                "lib/other/plugin.so",
                "lib/other/libpriv.so.3",
                "lib/other/plugin.so.0",
            ],
        ),
        package("glibc", &["lib/libc.so.6", "lib/libnss_files.so.2"]),
        package("cuda", &["lib/stubs/libnvml.so.1", "lib/libcuda.so.1"]),
        package("sssd", &["lib/libnss_sss.so.2"]),
        package("narrow", &["lib32/libnarrow.so.1", "lib/x/deep/libdeep.so.1", "lib/debug/libdebug.so.1"]),
    ]);
    let cache = crate::ldcache::parse(&base_cache::build(&[&table], Lists::built_in()).unwrap()).unwrap();
    let names: Vec<_> = cache.iter().map(|entry| entry.soname.as_str()).collect();
    assert_eq!(names, ["libz.so.1", "libz.so", "libpriv.so.3"]);
    assert!(cache[0].path.ends_with("-zlib-1.0/lib/libz.so.1"));
}

#[test]
fn a_base_cache_is_for_the_machine_of_its_database_and_an_older_one_fills_gaps() {
    let arm = |package: Package| Package { system: Some("aarch64-linux".into()), ..package };
    let today = table(&[arm(package("zlib", &[LIBZ]))]);
    let older = table(&[arm(package("zlib-old", &[LIBZ])), arm(package("openssl", &["lib/libssl.so.1.1"]))]);
    let cache = base_cache::build(&[&today, &older], Lists::built_in()).unwrap();
    let cache = crate::ldcache::parse(&cache).unwrap();
    let paths: Vec<_> = cache.iter().map(|entry| entry.path.rsplit_once('-').unwrap().1).collect();
    assert_eq!(paths, ["1.0/lib/libz.so.1", "1.0/lib/libssl.so.1.1"]);
    assert!(cache[0].path.contains("-zlib-1.0/"));
    assert!(cache.iter().all(|entry| entry.flags == 0x0a03));
}

#[test]
fn of_gccs_runtime_the_newest_is_served_whichever_database_has_it() {
    let gcc = |name: &str| Package { name: name.into(), ..package("gcc", &["lib/libstdc++.so.6", LIBZ]) };
    let (old, new) = (table(&[gcc("gcc-12.3.0-lib")]), table(&[gcc("gcc-13.2.0-lib")]));
    let lists = Lists::built_in();
    for (databases, newest) in [([&old, &new], 1), ([&new, &old], 0)] {
        let served = |soname| serve(soname, &databases, true, &Context::bare(lists)).unwrap().database;
        assert_eq!(served("libstdc++.so.6"), newest);
        assert_eq!(served("libz.so.1"), 0, "of others the first database's");
    }
}

#[test]
fn another_spelling_is_served_only_to_who_asks_for_it_and_only_when_there_is_no_other() {
    let (bzip2, debian) = (package("bzip2", &["lib/libbz2.so.1"]), package("debian", &["lib/libbz2.so.1.0"]));
    let lists = Lists::built_in();
    let served = |packages: &[Package], aliases| {
        let table = table(packages);
        let found = serve("libbz2.so.1.0", &[&table], aliases, &Context::bare(lists));
        found.map(|candidate| candidate.provider.package.attr.to_owned())
    };
    assert_eq!(served(std::slice::from_ref(&bzip2), false), None);
    assert_eq!(served(std::slice::from_ref(&bzip2), true), Some("bzip2".into()));
    assert_eq!(served(&[bzip2, debian], true), Some("debian".into()));
}

proptest! {
    /// Ranking depends on the candidates and not on the order in which an index lists them.
    #[test]
    fn ranking_does_not_depend_on_the_order_of_candidates_and_best_is_its_first(
        kinds in prop::collection::vec(
            (
                "[a-c]{1,2}",
                prop::sample::select(vec!["lib", "lib/x", "lib32", "lib/stubs"]),
                prop::sample::select(vec!["out", "dev", "lib"]),
                any::<bool>(),
            ),
            1..8,
        ),
        seed: u32,
    ) {
        let packages: Vec<_> = kinds.iter().enumerate().map(|(index, (attr, dir, output, toplevel))| Package {
            hash: format!("{index:032}"),
            output: (*output).into(),
            toplevel: *toplevel,
            ..package(attr, &[&format!("{dir}/libz.so.1")])
        }).collect();
        let table = table(&packages);
        let lists = Lists::built_in();
        let context = Context::bare(lists);
        let listed = candidates("libz.so.1", &[&table], lists);
        let mut shuffled = listed.clone();
        shuffled.sort_by_key(|candidate| {
            crc32fast::hash(candidate.provider.package.base.as_bytes()).wrapping_mul(seed | 1)
        });
        let paths = |ranked: Vec<Ranked<'_>>| -> Vec<String> {
            ranked.iter().map(|one| one.candidate.provider.store_path()).collect()
        };
        let first = best(shuffled.clone(), &context).map(|first| first.provider.store_path());
        prop_assert_eq!(first, paths(rank(listed.clone(), &context)).into_iter().next());
        prop_assert_eq!(paths(rank(listed, &context)), paths(rank(shuffled, &context)));
    }
}
