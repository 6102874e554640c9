//! What a policy decides, rule by rule.

use super::*;

const APP: &[u8] = b"/opt/app/bin/app";
const ID: &[u8] = &[0xab, 0xcd];

fn policy(text: &str) -> Policy {
    let problems = |problems: Vec<Problem>| problems.iter().map(|one| format!("{one}\n")).collect::<String>();
    Policy::parse("p.toml", text).unwrap_or_else(|found| panic!("{}{text}", problems(found))).0
}

fn warnings(text: &str) -> Vec<String> {
    Policy::parse("p.toml", text).unwrap().1.iter().map(Problem::summary).collect()
}

fn errors(text: &str) -> Vec<String> {
    Policy::parse("p.toml", text).unwrap_err().iter().map(Problem::summary).collect()
}

fn package(attribute: &'static str, name: &str) -> Package<'static> {
    let path = format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}").leak();
    Package { attribute, output: "out", store_path: path }
}

fn known() -> Circumstances<'static> {
    Circumstances { build_id: Some(ID), index: Some("default"), realised: false }
}

/// Who refuses: the line's number; 0 for nobody.
fn refused(policy: &Policy, soname: &str, package: Package<'_>) -> usize {
    let request = Request { program: APP, soname: soname.as_bytes(), package, source: Source::Needed };
    line(&policy.decide_with(&request, &known()))
}

fn line(decision: &Decision) -> usize {
    match decision {
        Decision::Provide => 0,
        Decision::Refuse { rule } => rule.split(':').nth(1).unwrap().parse().unwrap(),
    }
}

fn zlib() -> Package<'static> {
    package("zlib", "zlib-1.3.1")
}

#[test]
fn without_rules_everything_is_provided() {
    assert_eq!(refused(&Policy::allow_all(), "libz.so.1", zlib()), 0);
    assert_eq!(refused(&policy("version = 1\ndefault = 'allow'"), "libz.so.1", zlib()), 0);
    assert_eq!(refused(&policy("version = 1\ndefault = 'deny'"), "libz.so.1", zlib()), 2);
}

#[test]
fn a_broken_policy_permits_nothing_and_says_why() {
    let broken = Policy::broken("p.toml:1: no").narrowed_by(Policy::allow_all());
    for policy in [&broken, &Policy::allow_all().narrowed_by(broken.clone())] {
        assert_eq!(refused(policy, "libz.so.1", zlib()), 1);
        assert_eq!(policy.fault(), Some("p.toml:1: no"));
        assert!(policy.limits(&Program { path: APP, build_id: None }).offline.unwrap().value);
        let all = [policy.decide_cache("https://a"), policy.decide_key("a"), policy.decide_build()];
        assert!(all.iter().all(|decision| line(decision) == 1));
    }
}

#[test]
fn packages_are_named_in_five_ways() {
    let all = policy(
        "version = 1\ndefault = 'allow'\n[[package]]\nrule = 'deny'\nattribute = ['cuda*.*', 'steam-run']\n\
         [[package]]\nrule = 'deny'\nname = 'openssl'\nversion = '>=1, <3'\n\
         [[package]]\nrule = 'deny'\nstore-path = '/nix/store/*-curl-8.0'\n\
         [[package]]\nrule = 'deny'\nindex = 'old*'\nsoname = 'libold.so.*'\n",
    );
    assert_eq!(refused(&all, "x", package("cudaPackages_12.cudnn", "cudnn-9")), 3);
    assert_eq!(refused(&all, "x", package("steam-run", "steam-run-1")), 3);
    assert_eq!(refused(&all, "x", package("cuda", "cuda-9")), 0);
    assert_eq!(refused(&all, "x", package("openssl_1_1", "openssl-1.1.1w")), 6);
    assert_eq!(refused(&all, "x", package("openssl", "openssl-3.0.13")), 0);
    assert_eq!(refused(&all, "x", package("curl", "curl-8.0")), 10);
    assert_eq!(refused(&all, "libold.so.1", zlib()), 0, "another index");
    let old = Circumstances { index: Some("older"), ..known() };
    let request = Request { program: APP, soname: b"libold.so.1", package: zlib(), source: Source::Needed };
    assert_eq!(line(&all.decide_with(&request, &old)), 13);
}

#[test]
fn a_deny_beats_an_allow_however_exact_and_an_exception_is_said_in_it() {
    let head =
        "version = 1\ndefault = 'deny'\n[[package]]\nrule = 'allow'\nattribute = 'cudaPackages.cudart'\n";
    let deny = "[[package]]\nrule = 'deny'\nattribute = 'cuda*'\n";
    let cudart = package("cudaPackages.cudart", "cudart-1");
    assert_eq!(refused(&policy(head), "x", cudart), 0);
    assert_eq!(refused(&policy(&format!("{head}{deny}")), "x", cudart), 6);
    assert_eq!(refused(&policy(&format!("{head}{deny}except = '*.cudart'\n")), "x", cudart), 0);
}

#[test]
fn the_most_specific_section_decides() {
    let general = "version = 1\ndefault = 'allow'\n[[package]]\nrule = 'deny'\nattribute = 'zlib'\n";
    let glob = "[[program]]\npath = '/opt/**'\n[[program.package]]\nrule = 'allow'\nattribute = 'zlib'\n";
    let exact = "[[program]]\npath = '/opt/app/bin/app'\ndefault = 'deny'\n";
    let build = "[[program]]\nbuild-id = 'ABCD'\ndefault = 'allow'\n";
    let texts = [general.to_owned(), format!("{general}{glob}"), format!("{general}{glob}{exact}")];
    let expected = [3, 0, 13];
    for (text, expected) in texts.iter().zip(expected) {
        assert_eq!(refused(&policy(text), "libz.so.1", zlib()), expected, "{text}");
    }
    assert_eq!(refused(&policy(&format!("{general}{build}{exact}")), "libz.so.1", zlib()), 0);
    let other =
        Request { program: b"/usr/app", soname: b"libz.so.1", package: zlib(), source: Source::Needed };
    assert_eq!(line(&policy(&texts[1]).decide_with(&other, &known())), 3);
}

#[test]
fn what_is_not_known_counts_against_it() {
    let text = "version = 1\ndefault = 'deny'\n[[program]]\nbuild-id = 'abcd'\ndefault = 'allow'\n\
                [[program]]\nbuild-id = 'ef01'\ndefault = 'deny'\n";
    let request = Request { program: APP, soname: b"libz.so.1", package: zlib(), source: Source::Needed };
    let none = Circumstances { build_id: Some(&[]), ..known() };
    assert_eq!(line(&policy(text).decide_with(&request, &known())), 0);
    assert_eq!(line(&policy(text).decide_with(&request, &none)), 2);
    assert_eq!(line(&policy(text).decide(&request)), 8, "it might be the one that gets nothing");
    let paths = policy("version = 1\ndefault = 'deny'\n[[program]]\npath = '/opt/**'\ndefault = 'allow'\n");
    for wrong in ["/opt/../home/x", "opt/x", "", "/opt//x", "/opt/./x", "/opt/x/"] {
        let request = Request { program: wrong.as_bytes(), ..request };
        assert_eq!(line(&paths.decide_with(&request, &known())), 2, "{wrong}");
    }
}

#[test]
fn sonames_are_denied_pinned_or_left_to_the_host() {
    let all = policy(
        "version = 1\ndefault = 'allow'\n[[soname]]\nname = 'libbad.so.*'\nrule = 'deny'\n\
         [[soname]]\nname = 'libssl.so.1.1'\npin = 'openssl_1_1'\n[[soname]]\nname = 'libcuda.so.*'\n\
         rule = 'host-only'\n[[program]]\npath = '/opt/own'\n[[program.soname]]\nname = '*'\nrule = 'allow'\n",
    );
    let app = Program { path: APP, build_id: Some(ID) };
    let own = Program { path: b"/opt/own", ..app };
    assert_eq!(refused(&all, "libbad.so.1", zlib()), 3);
    assert_eq!(refused(&all, "libssl.so.1.1", package("openssl_1_1", "openssl-1.1.1w")), 0);
    assert_eq!(refused(&all, "libssl.so.1.1", package("steam-run", "steam-run")), 6);
    assert_eq!(refused(&all, "libcuda.so.1", package("cuda", "cuda-1")), 9);
    assert_eq!(all.pin_of(&app, b"libssl.so.1.1"), Some("openssl_1_1"));
    assert_eq!((all.pin_of(&own, b"libssl.so.1.1"), all.pin_of(&app, b"libz.so.1")), (None, None));
    assert!(all.host_only(&app, b"libcuda.so.1").is_some() && all.host_only(&own, b"libcuda.so.1").is_none());
    assert_eq!(line(&all.decide_host(&app, b"libcuda.so.1", Source::Needed)), 0);
    assert_eq!(line(&all.decide_host(&app, b"libbad.so.1", Source::Needed)), 3);
}

#[test]
fn dlopen_and_offline_keep_back_what_rules_allow() {
    let decide = |text: &str, source, realised| {
        let request = Request { program: APP, soname: b"libz.so.1", package: zlib(), source };
        line(&policy(text).decide_with(&request, &Circumstances { realised, ..known() }))
    };
    let text = |says: &str| format!("version = 1\ndefault = 'allow'\ndlopen = '{says}'\n");
    for (says, absent, realised) in [("provide", 0, 0), ("realised-only", 3, 0), ("deny", 3, 3)] {
        assert_eq!(decide(&text(says), Source::Runtime, false), absent);
        assert_eq!(decide(&text(says), Source::Runtime, true), realised);
        assert_eq!(decide(&text(says), Source::Needed, false), 0);
        let section = format!("{}[[program]]\npath = '/opt/**'\ndlopen = 'provide'\n", text(says));
        assert_eq!(decide(&section, Source::Runtime, false), 0);
    }
    let offline = "version = 1\ndefault = 'allow'\n[limits]\noffline = true\n";
    assert_eq!((decide(offline, Source::Needed, false), decide(offline, Source::Needed, true)), (4, 0));
}

#[test]
fn a_dependency_is_judged_by_rules_and_not_by_defaults() {
    let text = "version = 1\ndefault = 'deny'\n[[package]]\nrule = 'allow'\nattribute = 'curl'\n\
                [[package]]\nrule = 'deny'\nname = 'openssl'\nversion = '<3'\n";
    let decide = |name| {
        let request = Request {
            program: APP,
            soname: b"libcurl.so.4",
            package: package("", name),
            source: Source::Needed,
        };
        line(&policy(text).decide_dependency(&request, &known()))
    };
    assert_eq!((decide("zlib-1.3.1"), decide("openssl-1.1.1w"), decide("openssl-3.0")), (0, 6, 0));
}

#[test]
fn every_file_must_agree_and_the_strictest_limit_counts() {
    let system = policy(
        "version = 1\ndefault = 'deny'\nengines = ['seccomp']\n[limits]\ncandidates = 4\ndownload-per-start = '1 GB'\n\
         [store]\ncaches = ['https://a.org/', 'https://b.org']\n[[package]]\nrule = 'allow'\nattribute = 'z*'\n",
    );
    let user = policy(
        "version = 1\ndefault = 'allow'\nengines = ['ptrace', 'seccomp']\n[limits]\ncandidates = 9\n\
         download-per-start = 5\n[store]\ncaches = ['https://b.org', 'https://c.org']\n[fallback]\nbuild = false\n\
         [[package]]\nrule = 'deny'\nattribute = 'zstd'\n",
    );
    let app = Program { path: APP, build_id: Some(ID) };
    for both in [system.clone().narrowed_by(user.clone()), user.clone().narrowed_by(system.clone())] {
        assert_eq!(refused(&both, "x", zlib()), 0);
        assert_ne!(refused(&both, "x", package("zstd", "zstd-1")), 0);
        assert_ne!(refused(&both, "x", package("curl", "curl-1")), 0);
        let limits = both.limits(&app);
        let values = (limits.candidates.unwrap().value, limits.download_per_start.unwrap().value);
        assert_eq!((values, limits.download_total), ((4, 5), None));
        let caches = ["https://a.org", "https://b.org/", "https://c.org"].map(|url| both.decide_cache(url));
        assert_eq!(caches.map(|decision| line(&decision) == 0), [false, true, false]);
        let engines = [Engine::Seccomp, Engine::Ptrace].map(|engine| line(&both.decide_engine(engine)) == 0);
        assert_eq!((engines, line(&both.decide_build())), ([true, false], 10));
    }
}

#[test]
fn an_explanation_has_every_rule_that_took_part() {
    let text = "version = 1\ndefault = 'allow'\n[[package]]\nrule = 'deny'\nattribute = 'z*'\nreason = 'mine'\n\
                [[package]]\nrule = 'allow'\nname = 'zlib'\n[[package]]\nrule = 'deny'\nsoname = 'libz.*'\n\
                [[package]]\nrule = 'deny'\nname = 'curl'\n";
    let request = Request { program: APP, soname: b"libz.so.1", package: zlib(), source: Source::Needed };
    let explained = policy(text).explain(&request, &known());
    let told: Vec<_> = explained.parts.iter().map(|part| (&*part.rule, part.says, part.weight)).collect();
    let expected = [
        ("p.toml:3: deny package attribute = \"z*\" (mine)", Says::Deny, Weight::Decides),
        ("p.toml:7: allow package name = \"zlib\"", Says::Allow, Weight::Overruled),
        ("p.toml:10: deny package soname = \"libz.*\"", Says::Deny, Weight::Agrees),
    ];
    assert_eq!(told, expected);
    assert_eq!(explained.decision, policy(text).decide_with(&request, &known()));
    assert!(explained.by.unwrap().starts_with("p.toml:3: "));
    let allowed = policy("version = 1\ndefault = 'allow'").explain(&request, &known());
    assert_eq!(allowed.by.as_deref(), Some("p.toml:2: default = \"allow\""));
}

#[test]
fn mistakes_are_told_with_their_place_and_a_way_out() {
    let head = "version = 1\ndefault = 'allow'\n";
    for (text, told) in [
        ("", "p.toml:1:1: a policy must have `version`; begin the file with `version = 1`"),
        ("version = 1\n", "must have `default`; say `default = \"allow\"` or `default = \"deny\"`"),
        ("version = 2\ndefault = 'deny'", "p.toml:1:11: this Sonde knows version 1"),
        (
            "version = 1\ndefault = 'alow'",
            "p.toml:2:11: `default` cannot be \"alow\"; did you mean \"allow\"?",
        ),
        (
            "version = 1\ndefualt = 'deny'",
            "p.toml:2:1: unknown key `defualt` in a policy; did you mean `default`?",
        ),
        (&format!("{head}[[package]]\nrule = 'deny'\nattribut = 'x'"), "p.toml:5:1: unknown key `attribut`"),
        (
            &format!("{head}[[package]]\nrule = 'deny'"),
            "p.toml:3:1: the rule names no packages; say which by",
        ),
        (&format!("{head}[[package]]\nattribute = 'x'"), "p.toml:3:1: a package rule must have `rule`"),
        (&format!("{head}[package]\nrule = 'deny'"), "write [[package]], with two brackets"),
        (
            &format!("{head}[[soname]]\nname = 'x'"),
            "p.toml:3:1: the rule says nothing; say `rule = \"deny\"`",
        ),
        (&format!("{head}[[soname]]\nname = 'x'\nrule = 'deny'\npin = 'y'"), "exclude each other"),
        (
            &format!("{head}[[soname]]\nname = 'x'\npin = 'y*'"),
            "p.toml:5:7: `pin` is the attribute of one package",
        ),
        (&format!("{head}[[package]]\nrule = 'deny'\nattribute = '['"), "p.toml:5:13: \"[\" is no pattern"),
        (&format!("{head}[[package]]\nrule = 'deny'\nname = 'x'\nversion = '3'"), "is no range of versions"),
        (&format!("{head}[[program]]\ndefault = 'deny'"), "p.toml:3:1: the section names no programs"),
        (&format!("{head}[[program]]\nbuild-id = 'xyz'"), "p.toml:4:12: \"xyz\" is no build id"),
        (&format!("{head}[limits]\ncandidates = -1"), "`candidates` is a number from 0 on, not an integer"),
        (&format!("{head}[limits]\ndownload-total = '5'"), "such as \"500 MB\""),
        (
            &format!("{head}[limits]\noffline = 'yes'"),
            "p.toml:4:11: `offline` is true or false, not a string",
        ),
        (&format!("{head}engines = ['secomp']"), "p.toml:3:12: `engines` cannot be \"secomp\"; did you mean"),
        (&format!("{head}[store"), "p.toml:3:7: "),
        (&format!("{head}default = 'deny'"), "duplicate key"),
    ] {
        let errors = errors(text);
        assert!(errors.iter().any(|error| error.contains(told)), "{text}\n{errors:#?}");
    }
    assert_eq!(errors("default = 1\nx = 2\n").len(), 3, "all at once");
}

#[test]
fn rules_that_can_never_match_are_told() {
    let head = "version = 1\ndefault = 'allow'\n";
    let deny = "[[package]]\nrule = 'deny'\n";
    let allow = "[[package]]\nrule = 'allow'\n";
    let section = "[[program]]\npath = '/opt/x'\ndefault = 'deny'\n";
    for (text, told) in [
        (
            format!("{head}{deny}attribute = 'cuda*'\n{allow}attribute = 'cudart'"),
            "p.toml:6:1: warning: the rule can never permit anything: line 3 forbids",
        ),
        (format!("{head}{deny}attribute = '*'\n{allow}name = 'x'"), "line 3 forbids all"),
        (
            format!("{head}{deny}name = 'x'\n{deny}name = 'x'"),
            "p.toml:6:1: warning: line 3 forbids all that this rule does",
        ),
        (format!("{head}{deny}attribute = ''"), "p.toml:5:13: warning: an empty pattern never matches"),
        (format!("{head}{deny}attribute = []"), "an empty list"),
        (format!("{head}{deny}name = 'x'\nversion = '>3, <2'"), "no version is in this range"),
        (format!("{head}{deny}store-path = 'nix/store/x'"), "does not begin with `/`"),
        (format!("{head}{deny}store-path = '*'"), "`**` does"),
        (
            format!("{head}{section}{section}"),
            "p.toml:6:1: warning: line 3 has a section for the same programs",
        ),
        (format!("{head}[[program]]\npath = '/opt/x'"), "the section says nothing"),
        (
            format!("{head}[[soname]]\nname = 'x'\npin = 'a'\n[[soname]]\nname = 'x'\npin = 'b'"),
            "p.toml:6:1: warning: line 3 pins",
        ),
    ] {
        let warnings = warnings(&text);
        assert!(warnings.len() == 1 && warnings[0].contains(told), "{text}\n{warnings:#?}");
    }
    for fine in [
        format!("{head}{deny}attribute = 'cuda*'\nexcept = 'cudart'\n{allow}attribute = 'cudart'"),
        format!("{head}{deny}attribute = 'cuda*'\n{allow}attribute = '*'"),
        format!(
            "{head}{deny}attribute = 'cudart'\n{section}[[program.package]]\nrule = 'allow'\nattribute = 'cudart'"
        ),
    ] {
        assert_eq!(warnings(&fine), [""; 0], "{fine}");
    }
    assert_eq!(warnings(starter()), [""; 0]);
}

#[test]
fn the_narrowest_policy_lets_one_program_have_what_it_has() {
    let one =
        |attribute: &str, soname: &str| Permitted { attribute: attribute.into(), soname: soname.into() };
    let text = starter_for(
        "/opt/app/bin/app",
        &[one("zlib", "libz.so.1"), one("gcc", "libstdc++.so.6")],
        &["libcuda.so.1".into()],
    );
    assert_eq!(warnings(&text), [""; 0]);
    let narrow = policy(&text);
    assert_eq!(refused(&narrow, "libz.so.1", zlib()), 0);
    assert_eq!(refused(&narrow, "libstdc++.so.6", package("gcc", "gcc-13")), 0);
    assert_ne!(refused(&narrow, "libstdc++.so.6", zlib()), 0);
    assert_ne!(refused(&narrow, "libz.so.2", zlib()), 0);
    // Whatever a program is called, the policy is for it alone.
    let odd = "/opt/a \"b\"\\[c]*\t{d}/\u{7f}é";
    let narrow = policy(&starter_for(odd, &[one("zlib", "libz.so.1")], &[]));
    for (program, permitted) in [(odd, true), ("/opt/a", false)] {
        let request = Request {
            program: program.as_bytes(),
            soname: b"libz.so.1",
            package: zlib(),
            source: Source::Needed,
        };
        assert_eq!(narrow.decide_with(&request, &known()) == Decision::Provide, permitted);
    }
}
