//! The policy, wherever something is provided: what it forbids is for the program not there, is not downloaded, and is told
//! with package and line.

use std::fs;
use std::path::PathBuf;

use sonde_world::RootBuilder;

use crate::harness::{Conversation, EVERYBODY, Engine, Outcome, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const HEAD: &str = "version = 1\ndefault = 'allow'\n";
const LIBRARY: &str = "libpng16.so.16";
const GONE: &str = "cannot open shared object file: No such file or directory";

/// A rule against packages of this attribute.
fn deny(attribute: &str) -> String {
    format!("{HEAD}[[package]]\nrule = 'deny'\nattribute = '{attribute}'\n")
}

/// A user's policy that can be changed while programs run, and the root in which it is in force.
struct Ruled {
    file: PathBuf,
    root: RootBuilder,
}

impl Ruled {
    fn by(policy: &str, name: &str, root: RootBuilder) -> Self {
        let folder = fixture().guests().join(format!("enforced-{name}/sonde"));
        fs::create_dir_all(&folder).unwrap();
        let ruled = Self {
            file: folder.join("policy.toml"),
            root: root.env("XDG_CONFIG_HOME", format!("/guests/enforced-{name}")),
        };
        ruled.change(policy);
        ruled
    }

    fn change(&self, policy: &str) {
        let unfinished = self.file.with_extension("new");
        fs::write(&unfinished, policy).unwrap();
        fs::rename(unfinished, &self.file).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        run(self.root.command(program).args(arguments))
    }

    fn trace(&self, program: &str, arguments: &[&str]) -> Outcome {
        run(self.root.command(SONDE).args(["trace", program]).args(arguments))
    }

    /// Is there a store object with this in its name, in either store?
    fn has(&self, name: &str) -> bool {
        let script = "ls -d /nix/store/* ~/.local/share/sonde/store/nix/store/* 2>/dev/null";
        run(self.root.command("/bin/sh").args(["-c", script])).stdout.contains(name)
    }
}

#[test]
fn what_is_opened_at_run_time_is_not_there_and_not_downloaded() {
    let guest = fixture().guest("load");
    for who in EVERYBODY {
        let cache = fixture().server.url();
        for (kind, (_state, root)) in
            [("nix", fixture().cold(who)), ("embedded", fixture().embedded(who, &cache))]
        {
            let ruled = Ruled::by(&deny("libpng"), &format!("dlopen-{kind}-{who:?}"), root);
            let outcome = ruled.run(&guest, &["here", LIBRARY, "libexpat.so.1"]);
            assert!(outcome.stdout.starts_with(&format!("{LIBRARY}: {LIBRARY}: {GONE}\n")), "{outcome}");
            assert!(outcome.stdout.contains("libexpat.so.1: map /nix/store/"), "{outcome}");
            assert_eq!(outcome.stderr, "", "nobody is linked against it: {outcome}");
            let traced = ruled.trace(&guest, &["here", LIBRARY]);
            let mut lines = traced.stderr.lines().skip_while(|line| !line.contains(LIBRARY));
            let (line, rule) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            assert!(line.contains("dlopen by load") && line.contains("libpng.out"), "{traced}");
            assert!(line.contains(" forbidden ") && rule.contains("/guests/enforced-dlopen-"), "{traced}");
            assert!(rule.contains("policy.toml:3: deny package attribute = \"libpng\""), "{traced}");
            assert!(!ruled.has("-libpng"), "{kind} as {who:?}: it was downloaded");
        }
    }
}

#[test]
fn what_a_program_is_linked_against_is_told_once_on_its_standard_error() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        // Under whatever attribute: there are others that have it.
        let policy = format!("{HEAD}[[package]]\nrule = 'deny'\nsoname = 'libcurl.so.*'\n");
        let ruled = Ruled::by(&policy, &format!("needed-{who:?}"), root);
        let outcome = ruled.run(CURL, &["--version"]);
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        let line = format!(
            "sonde: libcurl.so.4, needed by {CURL}, is in curl.out, which the policy forbids: \
             /guests/enforced-needed-{who:?}/sonde/policy.toml:3: deny package soname = \"libcurl.so.*\"; \
             `sonde policy explain libcurl.so.4` shows every rule that takes part\n"
        );
        assert_eq!(outcome.stderr.matches("sonde: ").count(), 1, "{outcome}");
        assert!(outcome.stderr.starts_with(&line), "{outcome}");
        assert!(!ruled.has("curl"), "a candidate was downloaded to be looked at");
    }
}

#[test]
fn the_next_candidate_that_is_allowed_is_taken_and_a_pin_is_followed() {
    let (_state, root) = fixture().cold(Who::Alice);
    let guest = fixture().guest("load");
    let ruled = Ruled::by(&deny("zlib"), "next", root);
    let other = ruled.run(&guest, &["here", "libz.so.1"]);
    assert!(other.stdout.contains("libz.so.1: map /"), "{other}");
    assert!(!ruled.has("-zlib-1"), "{other}");
    let name = run(ruled.root.command(SONDE).args(["find", "libz.so.1"])).stdout;
    assert!(name.contains("forbidden by"), "{name}");
    ruled.change(&format!("{HEAD}[[soname]]\nname = 'libz.so.1'\npin = 'zlib-lite'\n"));
    let pinned = ruled.trace(&guest, &["here", "libz.so.1"]);
    let line = pinned.stderr.lines().rfind(|line| line.contains(" libz.so.1 ")).unwrap_or_default();
    assert!(line.contains("zlib-lite.out") && line.contains("redirected"), "{pinned}");
}

#[test]
fn what_is_in_the_store_already_is_kept_back_all_the_same() {
    let guest = fixture().guest("load");
    for who in EVERYBODY {
        let cache = fixture().server.url();
        for (kind, (_state, root)) in
            [("nix", fixture().cold(who)), ("embedded", fixture().embedded(who, &cache))]
        {
            let ruled = Ruled::by(HEAD, &format!("there-{kind}-{who:?}"), root);
            let before = ruled.run(&guest, &["here", LIBRARY]);
            assert!(before.succeeded() && ruled.has("-libpng"), "{before}");
            for policy in [
                deny("libpng"),
                format!("{HEAD}dlopen = 'deny'\n"),
                format!("{HEAD}[[soname]]\nname = 'libpng16.so.*'\nrule = 'deny'\n"),
                "version = 1\ndefault = 'deny'\n".to_owned(),
                format!("{HEAD}[[program]]\npath = '{guest}'\ndefault = 'deny'\n"),
            ] {
                ruled.change(&policy);
                let after = ruled.run(&guest, &["here", LIBRARY]);
                assert!(after.stdout.contains(GONE), "{kind} as {who:?}, {policy}: {after}");
            }
            let realised = format!("{HEAD}dlopen = 'realised-only'\n");
            ruled.change(&realised);
            let mixed = ruled.run(&guest, &["here", LIBRARY, "libsqlite3.so.0"]);
            assert!(mixed.stdout.contains(&format!("{LIBRARY}: map /nix/store/")), "{mixed}");
            assert!(mixed.stdout.contains(&format!("libsqlite3.so.0: {GONE}")), "{mixed}");
        }
    }
}

#[test]
fn an_allowed_package_keeps_what_it_brings_along() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let policy =
            "version = 1\ndefault = 'deny'\n[[package]]\nrule = 'allow'\nattribute = ['curl', 'zlib']\n";
        let ruled = Ruled::by(policy, &format!("bring-{who:?}"), root);
        for _ in 0..2 {
            let outcome = ruled.run(CURL, &["--version"]);
            assert!(outcome.stdout.starts_with("curl 7.") && outcome.stderr.is_empty(), "{outcome}");
        }
    }
}

#[test]
fn a_changed_policy_counts_for_a_program_that_runs() {
    let guest = fixture().guest("load");
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let ruled = Ruled::by(HEAD, &format!("live-{who:?}"), root);
        let mut program = Conversation::with(ruled.root.command(&guest).arg("asked"));
        assert!(program.ask("libexpat.so.1").contains(": map /nix/store/"));
        ruled.change(&deny("libpng"));
        assert!(program.ask(LIBRARY).contains(GONE));
        ruled.change(&deny("sqlite*"));
        assert!(program.ask(LIBRARY).contains(": map /nix/store/"));
        assert!(program.ask("libsqlite3.so.0").contains(GONE));
        fs::remove_file(&ruled.file).unwrap();
        assert!(program.ask("libsqlite3.so.0").contains(": map /nix/store/"));
    }
}

#[test]
fn a_policy_that_cannot_be_read_refuses_everything_in_one_line() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let ruled = Ruled::by(HEAD, &format!("broken-{who:?}"), root);
        assert!(ruled.run(CURL, &["--version"]).succeeded());
        ruled.change("version = 1\ndefualt = 'allow'\n");
        let outcome = ruled.run(CURL, &["--version"]);
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        assert_eq!(outcome.stderr.matches("sonde: ").count(), 1, "{outcome}");
        assert!(outcome.stderr.contains("policy.toml:2:1: unknown key `defualt`"), "{outcome}");
        assert!(outcome.stderr.contains("nothing is provided until that is put right"), "{outcome}");
        let needs_nothing = ruled.run(&fixture().guest("end"), &["exit", "3"]);
        assert_eq!(needs_nothing.code(), Some(3), "{needs_nothing}");
        assert_eq!(needs_nothing.stderr, "", "{needs_nothing}");
    }
}

#[test]
fn a_package_whose_dependency_is_forbidden_is_refused_whole() {
    let guest = fixture().guest("load");
    for who in EVERYBODY {
        let cache = fixture().server.url();
        for (kind, (_state, root)) in
            [("nix", fixture().cold(who)), ("embedded", fixture().embedded(who, &cache))]
        {
            let ruled = Ruled::by(&deny("zlib"), &format!("dependency-{kind}-{who:?}"), root);
            let refused = ruled.trace(&guest, &["here", LIBRARY]);
            assert!(refused.stdout.contains(GONE), "{kind} as {who:?}: {refused}");
            let mut lines = refused.stderr.lines().skip_while(|line| !line.contains(LIBRARY));
            let (row, line) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            assert!(row.contains("libpng.out") && row.contains(" forbidden "), "{refused}");
            assert!(line.contains(" it needs /nix/store/") && line.contains("-zlib-1"), "{refused}");
            assert!(line.contains("policy.toml:3: deny package attribute = \"zlib\""), "{refused}");
            assert!(!ruled.has("-libpng") && !ruled.has("-zlib-1"), "{kind} as {who:?}: it was downloaded");
            // In the store already, it is the dependency that is not there.
            ruled.change(HEAD);
            assert!(ruled.run(&guest, &["here", LIBRARY]).succeeded());
            ruled.change(&deny("zlib"));
            let there = ruled.run(&guest, &["here", LIBRARY]);
            assert!(there.stdout.contains(&format!("libz.so.1: {GONE}")), "{there}");
            assert!(there.stderr.starts_with("sonde: libz.so.1, needed by /nix/store/"), "{there}");
            assert!(
                there.stderr.contains("libpng16.so.16, is in zlib.out, which the policy forbids: "),
                "{there}"
            );
            assert_eq!(there.stderr.matches("sonde: ").count(), 1, "{there}");
        }
    }
}

#[test]
fn downloads_are_limited_and_offline_there_are_none() {
    let guest = fixture().guest("load");
    for (kind, (_state, root)) in [
        ("nix", fixture().cold(Who::Alice)),
        ("embedded", fixture().embedded(Who::Alice, &fixture().server.url())),
    ] {
        let ruled = Ruled::by(HEAD, &format!("limits-{kind}"), root);
        assert!(ruled.run(&guest, &["here", "libexpat.so.1"]).succeeded());
        for (limit, words) in
            [("download-per-start = 1", "would download"), ("offline = true", " /guests/enforced-limits-")]
        {
            ruled.change(&format!("{HEAD}[limits]\n{limit}\n"));
            let outcome = ruled.trace(&guest, &["here", "libexpat.so.1", LIBRARY]);
            assert!(outcome.stdout.contains("libexpat.so.1: map /nix/store/"), "{kind}, {limit}: {outcome}");
            assert!(
                outcome.stdout.contains(&format!("{LIBRARY}: {LIBRARY}: {GONE}")),
                "{kind}, {limit}: {outcome}"
            );
            assert!(
                outcome.stderr.contains(words) && outcome.stderr.contains("policy.toml:4: "),
                "{outcome}"
            );
            assert!(!ruled.has("-libpng"), "{kind}, {limit}");
        }
    }
}

#[test]
fn downloads_are_counted_from_start_to_start() {
    let guest = fixture().guest("load");
    for (kind, (_state, root)) in [
        ("nix", fixture().cold(Who::Alice)),
        ("embedded", fixture().embedded(Who::Alice, &fixture().server.url())),
    ] {
        let total = |limit: &str| format!("{HEAD}[limits]\ndownload-total = {limit}\n");
        let ruled = Ruled::by(&total("'1 GB'"), &format!("total-{kind}"), root);
        let shell = |script: &str| run(ruled.root.command("/bin/sh").args(["-c", script])).stdout;
        assert!(ruled.run(&guest, &["here", "libexpat.so.1"]).succeeded());
        let counted = shell("cat ~/.local/state/sonde/downloaded");
        let bytes: u64 = counted.split(' ').next().unwrap().parse().unwrap();
        assert!(bytes > 1000, "{kind}: {counted}");
        // A start by itself would be allowed as much.
        ruled.change(&total(&bytes.to_string()));
        let refused = ruled.trace(&guest, &["here", "libexpat.so.1", LIBRARY]);
        assert!(refused.stdout.contains("libexpat.so.1: map /nix/store/"), "{kind}: {refused}");
        assert!(refused.stdout.contains(&format!("{LIBRARY}: {LIBRARY}: {GONE}")), "{kind}: {refused}");
        for words in [
            format!("policy.toml:4: download-total = {bytes}; "),
            " were downloaded in 1 day; `rm /home/alice/.local/state/sonde/downloaded` begins".to_owned(),
        ] {
            assert!(refused.stderr.contains(&words), "{kind}, {words}: {refused}");
        }
        assert!(!ruled.has("-libpng"), "{kind}");
        assert_eq!(
            shell("cat ~/.local/state/sonde/downloaded"),
            counted,
            "{kind}: what is refused is not counted"
        );
        let explained = run(ruled.root.command(SONDE).args(["policy", "explain", LIBRARY]));
        assert!(explained.stdout.contains("are downloaded in total: /guests/enforced-total-"), "{explained}");
        assert!(explained.stdout.contains(" were downloaded in 1 day; `rm /"), "{explained}");
        shell("rm ~/.local/state/sonde/downloaded");
        ruled.change(&total("'1 GB'"));
        assert!(ruled.run(&guest, &["here", LIBRARY]).stdout.contains(": map /nix/store/"));
    }
}

#[test]
fn the_hosts_drivers_are_kept_back_as_well() {
    let guest = fixture().guest("load");
    let drivers = fixture().guests().join("enforced-drivers/lib");
    fs::create_dir_all(&drivers).unwrap();
    for name in ["libcuda.so.1", "libexpat.so.1"] {
        fixture().library(&drivers.join(name), name);
    }
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let root = root.bind(drivers.parent().unwrap(), "/run/opengl-driver");
        let ruled = Ruled::by(HEAD, &format!("host-{who:?}"), root);
        let paths = ["libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1"];
        for asked in paths {
            let there = ruled.run(&guest, &["here", asked]);
            assert!(there.stdout.contains(&format!("{asked}: map /")), "{there}");
        }
        ruled.change(&format!("{HEAD}[[soname]]\nname = 'libcuda.so.*'\nrule = 'deny'\n"));
        for asked in paths {
            let outcome = ruled.trace(&guest, &["here", asked]);
            assert!(outcome.stdout.contains(&format!("{asked}: {GONE}")), "{outcome}");
            assert!(outcome.stderr.contains("policy.toml:3: deny soname"), "{outcome}");
        }
        // What a package has is the host's where a rule says so.
        let name = "libexpat.so.1";
        assert!(ruled.run(&guest, &["here", name]).stdout.contains(": map /nix/store/"));
        ruled.change(&format!("{HEAD}[[soname]]\nname = 'libexpat.so.*'\nrule = 'host-only'\n"));
        let hosts = ruled.run(&guest, &["here", name]);
        assert!(hosts.stdout.starts_with(&format!("{name}: map /")), "{hosts}");
        assert!(!hosts.stdout.contains("/nix/store/"), "{hosts}");
    }
}

#[test]
fn an_engine_that_is_forbidden_is_not_used() {
    for (engines, words) in [("'ptrace'", "engine ptrace"), ("'seccomp'", "engine seccomp")] {
        let (_state, root) = fixture().cold(Who::Alice);
        let root = fixture().under(Engine::Auto, root);
        let ruled = Ruled::by(&format!("{HEAD}engines = [{engines}]\n"), "engines", root);
        let outcome = ruled.trace(&fixture().guest("end"), &["exit", "3"]);
        assert_eq!(outcome.code(), Some(3), "{outcome}");
        assert!(outcome.stderr.contains(words), "{outcome}");
    }
    let (_state, root) = fixture().cold(Who::Alice);
    let ruled = Ruled::by(&format!("{HEAD}engines = []\n"), "engines", root);
    let outcome = ruled.run(&fixture().guest("end"), &["exit", "3"]);
    let words =
        "the policy forbids every engine that works here: /guests/enforced-engines/sonde/policy.toml:3: ";
    assert!(outcome.stderr.contains(words), "{outcome}");
}

#[test]
fn the_embedded_store_is_filled_from_caches_and_by_keys_that_are_allowed() {
    let guest = fixture().guest("load");
    let url = fixture().server.url();
    let (_state, root) = fixture().embedded(Who::Alice, &url);
    let key = fixture().cache_key();
    let ruled = Ruled::by(HEAD, "caches", root);
    assert!(ruled.run(&guest, &["here", "libexpat.so.1"]).succeeded());
    for (setting, words) in [
        ("caches = ['https://cache.nixos.org']", "is not asked, the policy forbids it: "),
        ("keys = []", "is not trusted, the policy forbids it: "),
    ] {
        ruled.change(&format!("{HEAD}[store]\n{setting}\n"));
        let outcome = ruled.trace(&guest, &["here", LIBRARY]);
        assert!(outcome.stdout.contains(GONE), "{outcome}");
        assert!(outcome.stderr.contains(words) && outcome.stderr.contains("policy.toml:4: "), "{outcome}");
    }
    ruled.change(&format!("{HEAD}[store]\ncaches = ['{url}']\nkeys = ['{key}']\n"));
    assert!(ruled.run(&guest, &["here", LIBRARY]).succeeded());
}

#[test]
fn an_audit_provides_and_tells_what_would_be_forbidden() {
    let guest = fixture().guest("load");
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let ruled = Ruled::by(HEAD, &format!("audit-{who:?}"), root);
        let named = fixture().guests().join(format!("enforced-audit-{who:?}/named.toml"));
        fs::write(&named, deny("libpng")).unwrap();
        let named = format!("/guests/enforced-audit-{who:?}/named.toml");
        let trace = |options: &[&str]| {
            let options = ["trace", "--policy", &named].into_iter().chain(options.iter().copied());
            run(ruled.root.command(SONDE).args(options).args([&guest, "here", LIBRARY]))
        };
        let line = format!("sonde: audit: {LIBRARY} of libpng.out would be forbidden by {named}:3: deny");
        for _ in 0..2 {
            let audited = trace(&["--audit"]);
            assert!(audited.stdout.contains(&format!("{LIBRARY}: map /nix/store/")), "{audited}");
            assert_eq!(audited.stderr.matches(&line).count(), 1, "{audited}");
        }
        for (options, words) in [(&["--audit"][..], ": map /nix/store/"), (&[], GONE)] {
            // `run` becomes the program, and is served by a supervisor that knows of the file.
            let options = ["run", "--policy", &named].into_iter().chain(options.iter().copied());
            let ran = run(ruled.root.command(SONDE).args(options).args([&guest, "here", LIBRARY]));
            assert!(ran.stdout.contains(words), "{ran}");
            assert_eq!(ran.stderr.contains(&line), words != GONE, "{ran}");
        }
        let forbidden = trace(&[]);
        assert!(forbidden.stdout.contains(GONE), "{forbidden}");
        let find = run(ruled.root.command(SONDE).args(["find", "--policy", &named, LIBRARY]));
        assert!(find.stdout.contains(&format!("forbidden by {named}:3: ")), "{find}");
    }
}

#[test]
fn an_audit_does_not_lift_the_machines_policy_for_a_user() {
    let folder = fixture().guests().join("enforced-ceiling");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("policy.toml"), deny("libpng")).unwrap();
    for (who, words) in [(Who::Root, ": map /nix/store/"), (Who::Alice, GONE)] {
        let (_state, root) = fixture().cold(who);
        let root = root.bind(&folder, "/etc/sonde");
        for command in ["run", "trace"] {
            let guest = fixture().guest("load");
            let outcome = run(root.command(SONDE).args([command, "--audit", &guest, "here", LIBRARY]));
            assert!(outcome.stdout.contains(words), "{command} as {who:?}: {outcome}");
        }
    }
}
