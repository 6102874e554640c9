//! What the policy forbids is not fetched by hand either, nor what would bring it along.

use std::fs;

use super::{Embedded, libcurl};
use crate::harness::{Outcome, fixture};

const HEAD: &str = "version = 1\ndefault = 'allow'\n";

/// A store under a policy that can be changed.
struct Ruled {
    name: &'static str,
    store: Embedded,
}

impl Ruled {
    fn new(name: &'static str) -> Self {
        Self { name, store: Embedded::new(name) }
    }

    fn fetch(&self, policy: &str, options: &[&str]) -> Outcome {
        let file = fixture().guests().join(format!("store-{}/sonde/policy.toml", self.name));
        fs::write(file, policy).unwrap();
        self.store.store(&[&["fetch"], options, &[&libcurl()]].concat())
    }

    /// It is refused by this line, for the sake of what has this in its name, and nothing was fetched.
    fn refuses(&self, policy: &str, place: &str, because: &str) -> Outcome {
        let refused = self.fetch(policy, &[]);
        assert_eq!(refused.code(), Some(1), "{policy}: {refused}");
        let file = format!("/guests/store-{}/sonde/policy.toml:{place}", self.name);
        assert!(refused.stderr.contains(&file) && refused.stderr.contains(because), "{policy}: {refused}");
        assert_eq!(refused.stderr.matches("sonde: ").count(), 1, "{refused}");
        assert_eq!(self.store.store(&["list"]).stdout, "", "{policy}: something was fetched");
        refused
    }
}

#[test]
fn a_forbidden_package_is_not_fetched_by_hand_in_whichever_way_it_is_named() {
    let (ruled, curl) = (Ruled::new("policy"), libcurl());
    for condition in [
        "attribute = 'curl'",
        "name = 'curl'\nversion = '>=1'",
        "store-path = '/nix/store/*-curl-*'",
        "index = '*'",
    ] {
        let policy = format!("{HEAD}[[package]]\nrule = 'deny'\n{condition}\n");
        let refused = ruled.refuses(&policy, "3: deny package", "the policy forbids it: ");
        assert!(refused.stderr.starts_with(&format!("sonde: {curl}: ")), "{refused}");
        let dry = ruled.fetch(&policy, &["--dry-run"]);
        assert_eq!((dry.code(), dry.stderr), (Some(1), refused.stderr));
    }
    let dependency = "[[package]]\nrule = 'deny'\nattribute = 'zlib'\n";
    let refused = ruled.refuses(&format!("{HEAD}{dependency}"), "3: deny package", "it needs /nix/store/");
    assert!(refused.stderr.contains("-zlib-1"), "{refused}");
    ruled.refuses("version = 1\ndefault = 'deny'\n", "2: default = \"deny\"", &curl);
    ruled.refuses(&format!("{HEAD}[limits]\noffline = true\n"), "4: offline = true", &curl);
    ruled.refuses(&format!("{HEAD}[limits]\ndownload-per-start = 1\n"), "4: ", "would download ");
    ruled.refuses(&format!("{HEAD}defualt = 1\n"), "3:1: unknown key", "nothing is provided until");
    // A section is for programs, and nobody is one here.
    let section = "[[program]]\npath = '/opt/**'\ndefault = 'deny'\n[[program.package]]\nrule = 'deny'\n";
    let allowed = "version = 1\ndefault = 'deny'\n[[package]]\nrule = 'allow'\nattribute = 'curl'\n";
    let fetched = ruled.fetch(&format!("{allowed}{section}name = 'curl'\n"), &[]);
    assert!(fetched.succeeded(), "{fetched}");
}

#[test]
fn caches_and_keys_that_are_forbidden_are_not_used() {
    let ruled = Ruled::new("policy-caches");
    for (setting, words) in [("caches = []", "is not asked, "), ("keys = []", "is not trusted, ")] {
        ruled.refuses(&format!("{HEAD}[store]\n{setting}\n"), "4: ", words);
    }
}

#[test]
fn what_is_fetched_by_hand_counts_to_what_is_downloaded_in_total() {
    let ruled = Ruled::new("policy-total");
    let total = |limit: &str| format!("{HEAD}[limits]\ndownload-total = {limit}\n");
    let count = "/tmp/store-policy-total/state/sonde/downloaded";
    let refused =
        ruled.refuses(&total("1"), "4: download-total = 1; nothing was counted so far", "would download ");
    assert!(refused.stderr.contains("a limit of more than 1 B"), "{refused}");
    assert!(ruled.fetch(&total("'1 GB'"), &["--dry-run"]).succeeded());
    assert!(!ruled.store.shell(&format!("cat {count}")).succeeded(), "nothing was downloaded yet");
    assert!(ruled.fetch(&total("'1 GB'"), &[]).succeeded());
    let counted = ruled.store.shell(&format!("cat {count}")).stdout;
    let bytes: u64 = counted.split(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 100_000 && counted.contains(" bytes since "), "{counted}");
    // What is there costs nothing, and after all was dropped it costs as much again.
    assert!(ruled.fetch(&total("1"), &[]).succeeded());
    assert!(ruled.store.store(&["drop", &libcurl()]).succeeded() && ruled.store.store(&["gc"]).succeeded());
    let again =
        ruled.refuses(&total(&(bytes + 1).to_string()), "4: download-total = ", " were downloaded in 1 day");
    assert!(again.stderr.contains(&format!("`rm {count}` begins a new count")), "{again}");
    assert!(ruled.store.shell(&format!("echo x > {count}")).succeeded());
    ruled.refuses(&total("'1 GB'"), "4: download-total", &format!("{count} is damaged; `rm {count}`"));
    assert!(ruled.store.shell(&format!("rm {count}")).succeeded());
    assert!(ruled.fetch(&total(&(bytes + 1).to_string()), &[]).succeeded());
}
