//! Policies: whatever is written in one, it is told with its place or decided by, and of two files neither permits what the
//! other forbids. Two files are one input, with a line `%%` between them.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use sonde_policy::{Circumstances, Decision, Engine, Package, Policy, Program, Request, Severity, Source};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let (first, second) = text.split_once("\n%%\n").unwrap_or((text, ""));
    let (first, second) = (read(first), read(second));
    let Some(first) = first else { return Corpus::Keep };
    let alone = refusals(&first);
    if let Some(second) = second {
        let other = refusals(&second);
        let both = refusals(&first.clone().narrowed_by(second));
        assert!(alone.iter().zip(&other).map(|(one, other)| one | other).eq(both));
    }
    Corpus::Keep
});

fn read(text: &str) -> Option<Policy> {
    match Policy::parse("policy.toml", text) {
        Ok((policy, problems)) => {
            assert!(problems.iter().all(|problem| problem.severity == Severity::Warning));
            problems.iter().for_each(|problem| assert!(problem.to_string().contains("policy.toml")));
            Some(policy)
        }
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            problems.iter().for_each(|problem| assert!(!problem.summary().contains('\n')));
            problems.iter().for_each(|problem| drop(problem.to_string()));
            None
        }
    }
}

/// What is refused of all that can be asked.
fn refusals(policy: &Policy) -> Vec<bool> {
    let mut all = Vec::new();
    let mut note = |decision: Decision| all.push(decision != Decision::Provide);
    for program in [&b"/opt/app/bin/app"[..], b"/usr/bin/../bin/a", b""] {
        for build_id in [None, Some(&[][..]), Some(&[0xab, 0xcd])] {
            let who = Program { path: program, build_id };
            let limits = policy.limits(&who);
            note(policy.decide_host(&who, b"libz.so.1", Source::Runtime));
            drop((limits, policy.pin_of(&who, b"libz.so.1"), policy.host_only(&who, b"libcuda.so.1")));
            for (attribute, store_path, soname, index, realised) in [
                (
                    "zlib",
                    "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1",
                    "libz.so.1",
                    Some("a"),
                    false,
                ),
                (
                    "xorg.libX11",
                    "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-libX11",
                    "libX11.so.6",
                    None,
                    true,
                ),
                ("", "", "", Some(""), false),
            ] {
                for source in [Source::Needed, Source::Runtime] {
                    let package = Package { attribute, output: "out", store_path };
                    let request = Request { program, soname: soname.as_bytes(), package, source };
                    let circumstances = Circumstances { build_id, index, realised };
                    let decision = policy.decide_with(&request, &circumstances);
                    assert_eq!(policy.explain(&request, &circumstances).decision, decision);
                    note(decision);
                    note(policy.decide_dependency(&request, &circumstances));
                }
            }
        }
    }
    note(policy.decide_cache("https://cache.nixos.org"));
    note(policy.decide_key("a-1:b"));
    note(policy.decide_engine(Engine::Seccomp));
    note(policy.decide_build());
    all
}
