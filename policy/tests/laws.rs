//! What holds of every policy, whatever it says: more denies never permit more, the most specific deny always holds, files
//! permit together what each of them permits and no less, the order of rules and files means nothing, knowing less never
//! permits more, and a refusal always names a line that is there.
#![allow(clippy::unwrap_used)] // a test that panics has failed, which is what is wanted

use proptest::prelude::*;
use proptest::sample::select;
use sonde_policy::{Circumstances, Decision, Engine, Package, Policy, Program, Request, Source, Stated};

/// Few names, so that rules and questions meet.
const ATTRIBUTES: [&str; 4] = ["zlib", "openssl_1_1", "cudaPackages.cudart", ""];
const STORE_NAMES: [&str; 4] = ["zlib-1.3.1", "openssl-1.1.1w", "openssl-3.0.13", "cudart"];
const SONAMES: [&str; 3] = ["libz.so.1", "libssl.so.1.1", "libcuda.so.1"];
const PROGRAMS: [&str; 4] = ["/opt/app/app", "/opt/other", "/usr/bin/x", "relative/../app"];

const BUILD_IDS: &[Option<&[u8]>] = &[None, Some(&[]), Some(&[0xab]), Some(&[1, 2])];

fn conditions() -> impl Strategy<Value = String> {
    let patterns = |key: &'static str, some: &'static [&'static str]| {
        select(some).prop_map(move |pattern| format!("{key} = '{pattern}'\n")).boxed()
    };
    let one = prop_oneof![
        patterns("attribute", &["zlib", "*", "open*", "cuda*.*", "{zlib,cuda*}", ""]),
        patterns("name", &["openssl", "zlib", "*l*"]),
        patterns("store-path", &["/nix/store/*-openssl-*", "**", "/nix/store/x"]),
        patterns("index", &["default", "old*"]),
        patterns("soname", &["libz.so.*", "*ssl*", "libcuda.so.1"]),
        patterns("name = 'openssl'\nversion", &["<3", ">=1.1, <2", ">3, <2"]),
    ];
    (one, any::<bool>()).prop_map(
        |(one, except)| {
            if except { format!("{one}except = 'openssl_1_1'\n") } else { one }
        },
    )
}

fn package_rule(rule: &'static [&'static str]) -> impl Strategy<Value = (&'static str, String)> {
    (select(rule), conditions())
        .prop_map(|(rule, conditions)| ("package", format!("rule = '{rule}'\n{conditions}")))
}

fn soname_rule(rule: &'static [&'static str]) -> impl Strategy<Value = (&'static str, String)> {
    (select(rule), select(&["libz.so.*", "*", "libcuda.so.1", "libssl.so.1.1"][..]))
        .prop_map(|(rule, name)| ("soname", format!("name = '{name}'\n{rule}\n")))
}

/// A rule in the general part or a section, ready to be put anywhere in a file.
type Piece = (Option<usize>, &'static str, String);

fn piece() -> impl Strategy<Value = Piece> {
    let rule = prop_oneof![
        package_rule(&["allow", "deny"]),
        soname_rule(&[
            "rule = 'allow'",
            "rule = 'deny'",
            "rule = 'host-only'",
            "pin = 'openssl_1_1'",
            "pin = 'zlib'"
        ]),
    ];
    (proptest::option::of(0..3_usize), rule).prop_map(|(section, (kind, text))| (section, kind, text))
}

fn deny() -> impl Strategy<Value = Piece> {
    let rule = prop_oneof![package_rule(&["deny"]), soname_rule(&["rule = 'deny'", "rule = 'host-only'"])];
    (proptest::option::of(0..3_usize), rule).prop_map(|(section, (kind, text))| (section, kind, text))
}

#[derive(Debug, Clone)]
struct Text {
    default: &'static str,
    settings: &'static str,
    sections: Vec<(&'static str, &'static str)>,
    pieces: Vec<Piece>,
}

fn text() -> impl Strategy<Value = Text> {
    let section = (
        select(
            &[
                "path = '/opt/**'\n",
                "path = '/opt/app/app'\n",
                "build-id = 'ab'\n",
                "path = '/opt/*'\nbuild-id = 'ab'\n",
            ][..],
        ),
        select(
            &[
                "",
                "default = 'allow'\n",
                "default = 'deny'\n",
                "dlopen = 'provide'\n",
                "limits.candidates = 3\nlimits.offline = false\n",
            ][..],
        ),
    );
    let settings = select(
        &[
            "",
            "dlopen = 'deny'\n",
            "dlopen = 'realised-only'\n",
            "limits.offline = true\n",
            "limits.candidates = 2\nlimits.download-total = '1 GB'\nengines = ['ptrace']\n",
            "limits.candidates = 4\nlimits.download-per-start = '1 MB'\nfallback.build = false\n",
            "store.caches = ['https://a']\nstore.keys = ['a-1:x']\nfallback.build = true\n",
            "store.caches = ['https://b', 'https://a/']\nstore.keys = []\nengines = ['seccomp', 'ptrace']\n",
        ][..],
    );
    let sections = proptest::collection::vec(section, 3);
    let pieces = proptest::collection::vec(piece(), 0..6);
    (select(&["allow", "deny"][..]), settings, sections, pieces)
        .prop_map(|(default, settings, sections, pieces)| Text { default, settings, sections, pieces })
}

impl Text {
    fn toml(&self) -> String {
        let mut toml = format!("version = 1\ndefault = '{}'\n{}", self.default, self.settings);
        let of = |section: Option<usize>| self.pieces.iter().filter(move |piece| piece.0 == section);
        for (_, kind, text) in of(None) {
            toml += &format!("[[{kind}]]\n{text}");
        }
        for (at, (conditions, default)) in self.sections.iter().enumerate() {
            toml += &format!("[[program]]\n{conditions}{default}");
            for (_, kind, text) in of(Some(at)) {
                toml += &format!("[[program.{kind}]]\n{text}");
            }
        }
        toml
    }

    fn policy(&self) -> Policy {
        self.policy_of("p.toml")
    }

    fn policy_of(&self, name: &str) -> Policy {
        Policy::parse(name, &self.toml()).unwrap_or_else(|errors| panic!("{}\n{}", errors[0], self.toml())).0
    }
}

#[derive(Debug, Clone)]
struct Question {
    attribute: &'static str,
    store_path: String,
    soname: &'static str,
    program: &'static str,
    runtime: bool,
    build_id: Option<&'static [u8]>,
    index: Option<&'static str>,
    realised: bool,
}

fn question() -> impl Strategy<Value = Question> {
    let build = select(BUILD_IDS);
    let index = select(&[None, Some(""), Some("default"), Some("old")][..]);
    let package = (select(&ATTRIBUTES[..]), select(&STORE_NAMES[..]));
    (package, select(&SONAMES[..]), select(&PROGRAMS[..]), any::<[bool; 2]>(), build, index).prop_map(
        |((attribute, name), soname, program, [runtime, realised], build_id, index)| Question {
            attribute,
            store_path: format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}"),
            soname,
            program,
            runtime,
            build_id,
            index,
            realised,
        },
    )
}

impl Question {
    fn request(&self) -> Request<'_> {
        Request {
            program: self.program.as_bytes(),
            soname: self.soname.as_bytes(),
            package: Package { attribute: self.attribute, output: "out", store_path: &self.store_path },
            source: if self.runtime { Source::Runtime } else { Source::Needed },
        }
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances { build_id: self.build_id, index: self.index, realised: self.realised }
    }

    fn program(&self) -> Program<'_> {
        Program { path: self.program.as_bytes(), build_id: self.build_id }
    }

    /// Everything that is decided of it.
    fn decisions(&self, policy: &Policy) -> [bool; 4] {
        let (request, circumstances) = (self.request(), self.circumstances());
        [
            policy.decide_with(&request, &circumstances),
            policy.decide_dependency(&request, &circumstances),
            policy.decide_host(&self.program(), request.soname, request.source),
            policy.decide(&request),
        ]
        .map(|decision| decision == Decision::Provide)
    }
}

/// What a machine's files say once, and not for each program.
fn machine(policy: &Policy) -> Vec<bool> {
    let caches = ["https://a", "https://b/", "https://c"].map(|url| policy.decide_cache(url));
    let keys = ["a-1:x", "b-1:y"].map(|key| policy.decide_key(key));
    let engines = [Engine::Seccomp, Engine::Ptrace].map(|engine| policy.decide_engine(engine));
    let all = caches.into_iter().chain(keys).chain(engines).chain([policy.decide_build()]);
    all.map(|decision| decision == Decision::Provide).collect()
}

/// How much a program may fetch, each number the stricter the smaller it is.
fn limits(policy: &Policy, program: &Program<'_>) -> [u64; 4] {
    let limits = policy.limits(program);
    let number = |stated: &Option<Stated<u64>>| stated.as_ref().map_or(u64::MAX, |one| one.value);
    let online = limits.offline.as_ref().is_none_or(|offline| !offline.value);
    let [start, total, candidates] =
        [&limits.download_per_start, &limits.download_total, &limits.candidates].map(number);
    [start, total, candidates, u64::from(online)]
}

/// Nothing that one refuses the other permits, except what host-only leaves to the host.
fn at_most(narrow: [bool; 4], wide: [bool; 4]) -> bool {
    narrow.iter().zip(wide).all(|(narrow, wide)| *narrow <= wide)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn adding_a_deny_never_permits_more(text in text(), deny in deny(), question in question()) {
        let mut more = text.clone();
        more.pieces.push(deny.clone());
        let (mut narrow, mut wide) = (question.decisions(&more.policy()), question.decisions(&text.policy()));
        // What is left to the host alone is something that the host may provide.
        if deny.2.contains("host-only") {
            (narrow[2], wide[2]) = (false, false);
        }
        prop_assert!(at_most(narrow, wide), "{}", more.toml());
    }

    #[test]
    fn a_deny_that_nothing_more_specific_answers_holds(text in text(), question in question()) {
        let mut more = text.clone();
        more.pieces.retain(|(section, ..)| section.is_none());
        more.sections.clear();
        more.pieces.push((None, "package", "rule = 'deny'\nattribute = '*'\n".to_owned()));
        let decisions = question.decisions(&more.policy());
        prop_assert_eq!([decisions[0], decisions[1], decisions[3]], [false; 3], "{}", more.toml());
    }

    #[test]
    fn the_order_of_rules_means_nothing(text in text(), question in question(), seed in any::<u64>()) {
        let mut other = text.clone();
        let length = other.pieces.len().max(1);
        other.pieces.rotate_left(seed as usize % length);
        other.pieces.reverse();
        prop_assert_eq!(question.decisions(&text.policy()), question.decisions(&other.policy()));
    }

    #[test]
    fn files_are_a_ceiling_for_each_other_in_whatever_order(all in [text(), text(), text()], question in question()) {
        let [one, two, three] = all.each_ref().map(Text::policy);
        let forth = one.clone().narrowed_by(two.clone()).narrowed_by(three.clone());
        let back = three.clone().narrowed_by(two.clone().narrowed_by(one.clone()));
        prop_assert_eq!(question.decisions(&forth), question.decisions(&back));
        // And all that everybody permits is permitted.
        let each = [&one, &two, &three].map(|file| question.decisions(file));
        prop_assert_eq!(question.decisions(&forth), [0, 1, 2, 3].map(|at| each.iter().all(|file| file[at])));
        let each = [&one, &two, &three].map(machine);
        let all = (0..each[0].len()).map(|at| each.iter().all(|file| file[at])).collect::<Vec<_>>();
        prop_assert_eq!((machine(&forth), machine(&back)), (all.clone(), all));
        let each = [&one, &two, &three].map(|file| limits(file, &question.program()));
        let least = [0, 1, 2, 3].map(|at| each.iter().map(|file| file[at]).min().unwrap());
        prop_assert_eq!(limits(&forth, &question.program()), least);
        prop_assert_eq!(limits(&back, &question.program()), least);
    }

    #[test]
    fn joining_with_itself_or_with_nothing_changes_nothing_and_with_what_is_broken_permits_nothing(
        text in text(),
        question in question(),
    ) {
        let policy = text.policy();
        for same in [policy.clone().narrowed_by(policy.clone()), policy.clone().narrowed_by(Policy::allow_all())] {
            prop_assert_eq!(question.decisions(&same), question.decisions(&policy));
            prop_assert_eq!(machine(&same), machine(&policy));
            prop_assert_eq!(same.limits(&question.program()), policy.limits(&question.program()));
        }
        let broken = policy.narrowed_by(Policy::broken("p.toml: no TOML"));
        prop_assert_eq!(question.decisions(&broken), [false; 4]);
        prop_assert!(!machine(&broken).contains(&true));
        prop_assert!(broken.limits(&question.program()).offline.is_some_and(|offline| offline.value));
    }

    #[test]
    fn the_most_specific_deny_holds_whatever_else_is_said(text in text(), question in question()) {
        let denies = "rule = 'deny'\nattribute = '*'\nexcept = 'nothing'\n";
        let toml = format!("{}[[program]]\nbuild-id = 'ab'\n[[program.package]]\n{denies}", text.toml());
        let policy = Policy::parse("p.toml", &toml).unwrap().0;
        let asked = Question { build_id: Some(&[0xab]), ..question };
        let decisions = asked.decisions(&policy);
        prop_assert_eq!(&decisions[..2], [false; 2], "{}", toml);
        // For whoever is not known it counts too: it forbids.
        let unknown = Question { build_id: None, ..asked };
        prop_assert_eq!(&unknown.decisions(&policy)[..2], [false; 2], "{}", toml);
    }

    #[test]
    fn knowing_less_never_permits_more(text in text(), question in question()) {
        let policy = text.policy();
        let less = [
            Question { build_id: None, ..question.clone() },
            Question { index: None, ..question.clone() },
            Question { realised: false, ..question.clone() },
            // A path that is none: nobody knows which it is.
            Question { program: "opt/./app", ..question.clone() },
        ];
        for less in less {
            prop_assert!(at_most(less.decisions(&policy), question.decisions(&policy)), "{less:?}\n{}", text.toml());
        }
    }

    #[test]
    fn an_explanation_of_several_files_agrees_and_names_one_that_refuses(texts in [text(), text()], question in question()) {
        let (request, circumstances) = (question.request(), question.circumstances());
        let files = [texts[0].policy_of("one.toml"), texts[1].policy_of("two.toml")];
        let both = files[0].clone().narrowed_by(files[1].clone());
        let explained = both.explain(&request, &circumstances);
        prop_assert_eq!(&explained.decision, &both.decide_with(&request, &circumstances));
        if let Decision::Refuse { rule } = &explained.decision {
            let named = if rule.starts_with("one.toml:") { &files[0] } else { &files[1] };
            prop_assert_eq!(&named.decide_with(&request, &circumstances), &explained.decision);
        }
    }

    #[test]
    fn a_refusal_names_a_line_and_an_explanation_agrees(text in text(), question in question()) {
        let policy = text.policy();
        let explained = policy.explain(&question.request(), &question.circumstances());
        prop_assert_eq!(&explained.decision, &policy.decide_with(&question.request(), &question.circumstances()));
        let by = explained.by.clone().unwrap();
        if let Decision::Refuse { rule } = &explained.decision {
            prop_assert_eq!(rule, &by);
        }
        let line: usize = by.split(':').nth(1).unwrap().parse().unwrap();
        let toml = text.toml();
        let named = toml.lines().nth(line - 1).unwrap();
        prop_assert!(named.starts_with("[[") || named.contains(" = "), "{by}: {named}");
        prop_assert!(explained.parts.iter().any(|part| part.rule == by));
        prop_assert!(explained.parts.iter().any(|part| part.says == sonde_policy::Says::Allow || explained.decision != Decision::Provide));
    }

    #[test]
    fn a_pin_is_what_is_permitted(text in text(), question in question()) {
        let mut text = text;
        // A package rule of a section may permit another one, and says so.
        text.pieces.retain(|(section, kind, _)| section.is_none() || *kind == "soname");
        let policy = text.policy();
        if let Some(pin) = policy.pin_of(&question.program(), question.soname.as_bytes()) {
            let mut other = question.request();
            other.package.attribute = "something-else";
            prop_assert_ne!(policy.decide_with(&other, &question.circumstances()), Decision::Provide, "pinned to {}", pin);
        }
    }
}
