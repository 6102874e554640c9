//! Plans: what a program was given is kept, and the next start asks nobody.

use sonde_world::RootBuilder;

use super::nix_ld::loader_of_version;
use crate::harness::{EVERYBODY, Outcome, SONDE, Who, fixture, proves, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const HELLO: &str = "/opt/programs/hello/usr/bin/hello";
const BY_PLAN: &str = "starts by its plan";
const ANEW: &str = "starts anew";
const OPENED: &str = "the index is opened";

/// What the scripts of this file stand on. `log` is what supervisors have written since it was last called.
const PRELUDE: &str = "
    plans=~/.cache/sonde/plans state=~/.local/state/sonde
    log() { cat $state/sonde.log; : > $state/sonde.log; }
    wait_for() { n=0; until eval \"$1\"; do sleep 0.05; n=$((n+1)); [ $n -lt 400 ] || { echo \"never: $1\"; exit 99; }; done; }
    kept() { wait_for \"[ \\$(ls $plans 2>/dev/null | grep -c 'plan$') -ge $1 ]\"; }
";

/// A root whose store is empty. Inline the second start would ask nobody: see `inline`.
fn cold(who: Who) -> (tempfile::TempDir, RootBuilder) {
    let (state, root) = fixture().cold(who);
    (state, fixture().with_trees(root))
}

/// Runs a script in a root whose supervisors write a log.
fn sh(root: &RootBuilder, script: &str) -> Outcome {
    sh_with(root, script, &[])
}

/// The same with parameters.
fn sh_with(root: &RootBuilder, script: &str, parameters: &[String]) -> Outcome {
    let root = root.clone().env("SONDE_LOG", "sonde::serve::admission=debug,sonde::index::late=debug");
    run(root.command("/bin/sh").args(["-c", &format!("{PRELUDE}{script}"), "sh"]).args(parameters))
}

fn count(outcome: &Outcome, what: &str) -> usize {
    outcome.stdout.matches(what).count()
}

#[test]
fn the_second_start_goes_by_the_plan_and_opens_no_index() {
    for who in EVERYBODY {
        let (_state, root) = cold(who);
        let first = sh(&root, &format!("{CURL} --version && kept 1; log"));
        assert!(first.succeeded() && count(&first, ANEW) == 1 && count(&first, OPENED) == 1, "{first}");
        let second = sh(&root, &format!("{CURL} --version && {SONDE} run {CURL} --version; log"));
        assert_eq!(count(&second, BY_PLAN), 2, "{second}");
        assert_eq!(count(&second, ANEW) + count(&second, OPENED), 0, "{second}");
        assert_eq!(count(&second, "libcurl/"), 2, "{second}");
    }
}

#[test]
fn every_program_starts_twice_and_the_second_time_by_its_plan() {
    for who in EVERYBODY {
        let root = fixture().with_trees(fixture().root(who));
        for program in fixture().world.programs() {
            let mut root = root.clone().env("INPUT", &program.stdin);
            for (name, value) in &program.env {
                root = root.env(name, value);
            }
            let start = "printf '%s' \"$INPUT\" | \"$@\"";
            let script = format!("{start} > /tmp/first; kept 1; log > /tmp/log; {start}; echo ---; log");
            let outcome = sh_with(&root, &script, &program.argv());
            assert!(outcome.succeeded(), "{}: {outcome}", program.name);
            assert!(
                count(&outcome, BY_PLAN) >= 1 && count(&outcome, ANEW) == 0,
                "{}: {outcome}",
                program.name
            );
            let (printed, _) = outcome.stdout.split_once("---\n").unwrap();
            assert!(proves(program, printed), "{}: {outcome}", program.name);
        }
    }
}

#[test]
fn without_nix_the_second_start_goes_by_the_plan_too() {
    for who in EVERYBODY {
        for mode in ["auto", "redirect"] {
            let (_state, root) = fixture().embedded(who, &fixture().server.url());
            let start = format!("{SONDE} run --store-mode {mode} {CURL} --version");
            let outcome = sh(&root, &format!("{start} && kept 1 && log > /dev/null; {start}; log"));
            assert_eq!((count(&outcome, BY_PLAN), count(&outcome, ANEW)), (1, 0), "{mode}: {outcome}");
            assert_eq!(count(&outcome, "libcurl/"), 2, "{mode}: {outcome}");
        }
    }
}

#[test]
fn whatever_decided_and_has_changed_makes_the_next_start_anew() {
    let (_state, root) = cold(Who::Alice);
    let warm = format!("{CURL} --version && kept 1 && {CURL} --version; log");
    assert_eq!(count(&sh(&root, &warm), BY_PLAN), 1);
    let deny = r"version = 1\ndefault = 'allow'\n[[soname]]\nname = 'libcurl.so.4'\nrule = 'deny'\n";
    let changes = [
        ("an index", format!("{SONDE} index import /index/files")),
        ("the configuration", "mkdir -p ~/.config/sonde && : > ~/.config/sonde/config.toml".to_owned()),
        ("the search path", "export LD_LIBRARY_PATH=/nowhere".to_owned()),
        ("a policy", format!("printf \"{deny}\" > ~/.config/sonde/policy.toml")),
    ];
    for (what, change) in changes {
        let outcome = sh(&root, &format!("{change}; {CURL} --version; log"));
        assert_eq!((count(&outcome, BY_PLAN), count(&outcome, ANEW)), (0, 1), "{what}: {outcome}");
        assert_eq!(outcome.stderr.contains("the policy forbids"), what == "a policy", "{what}: {outcome}");
    }
}

#[test]
fn a_program_or_a_library_of_its_own_that_was_replaced_is_looked_at_again() {
    let (_state, root) = cold(Who::Root);
    let program = fixture().guest_that_needs("libbundled.so.1");
    fixture().library(&fixture().guests().join("libbundled.so.1"), "libbundled.so.1");
    let outcome = sh(
        &root,
        &format!(
            "mkdir ~/app && cp {program} ~/app/program && cp /guests/libbundled.so.1 ~/app/ && cd ~/app;
             export LD_LIBRARY_PATH=~/app; ./program; kept 1; ./program; log | grep -c '{BY_PLAN}';
             cp --remove-destination /guests/libbundled.so.1 .; ./program; log | grep -c '{ANEW}';
             ./program; log | grep -c '{BY_PLAN}';
             cp --remove-destination {program} program; ./program; log | grep -c '{ANEW}';
             export LD_LIBRARY_PATH=.; ./program; ./program; log | grep -c '{ANEW}'"
        ),
    );
    assert_eq!(outcome.stdout, "1\n1\n1\n1\n2\n", "{outcome}");
}

#[test]
fn a_start_by_plan_has_the_same_seeds_and_a_changed_folder_makes_it_anew() {
    const SEED: &str = "libplanned.so.1";
    let program = fixture().guest_that_needs(SEED);
    let load = fixture().guest("load");
    fixture().library(&fixture().guests().join(SEED), SEED);
    let named = [
        "export NIX_LD_LIBRARY_PATH=~/seeds",
        "mkdir -p ~/.config/sonde; printf \"[libraries]\\npaths = ['$HOME/seeds']\\n\" > ~/.config/sonde/config.toml",
    ];
    for (who, named) in EVERYBODY.into_iter().flat_map(|who| named.map(|named| (who, named))) {
        let (_state, root) = cold(who);
        let outcome = sh(
            &root,
            &format!(
                "mkdir ~/seeds && cp /guests/{SEED} ~/seeds/; {named}
                 start() {{ {program} exit 0; echo $?; {load} here {SEED} | grep -c \"map $HOME/seeds/{SEED}\"; }}
                 started() {{ log > /tmp/log; for what; do grep -c \"$what\" /tmp/log; done; }}
                 start; kept 2; started '{ANEW}'; start; started '{BY_PLAN}' '{ANEW}' '{OPENED}'
                 cp --remove-destination /guests/{SEED} ~/seeds/; start; started '{ANEW}'
                 rm ~/seeds/{SEED}; start; started '{ANEW}'"
            ),
        );
        let lines = outcome.stdout.lines().collect::<Vec<_>>().join(" ");
        assert_eq!(lines, "0 1 2 0 1 2 0 0 0 1 2 127 0 2", "{outcome}");
    }
}

#[test]
fn a_loader_that_nix_ld_names_is_the_same_by_plan() {
    let loader = loader_of_version("2.98");
    let load = fixture().guest("load");
    let (_state, root) = cold(Who::Alice);
    let root = root.env("NIX_LD", &loader);
    let outcome = sh(
        &root,
        &format!(
            "start() {{ {load} here libm.so.6 | grep -c \"map ${{NIX_LD%/*}}/libm.so.6\"; }}
             start; kept 1; log > /dev/null; start; log | grep -c '{BY_PLAN}'
             export NIX_LD=/nowhere; start; log | grep -c '{ANEW}'"
        ),
    );
    assert_eq!(outcome.stdout, "1\n1\n1\n0\n1\n", "{outcome}");
}

#[test]
fn what_was_asked_for_at_run_time_is_learnt_and_so_is_what_nobody_has() {
    for who in EVERYBODY {
        let (_state, root) = cold(who);
        let program = fixture().guest("load");
        let outcome = sh(
            &root,
            &format!(
                "{program} here libpng16.so.16 libnever-was.so.7; kept 1;
                 wait_for \"{SONDE} plans show {program} | grep -q libnever\";
                 {SONDE} plans show {program}; {SONDE} plans show --json {program}"
            ),
        );
        assert!(outcome.stdout.contains("libpng16.so.16"), "{outcome}");
        let shown = outcome.stdout.lines().find(|line| line.trim_start().starts_with("libpng16.so.16  "));
        assert!(shown.is_some_and(|line| line.contains("asked for at run time")), "{outcome}");
        let absent = outcome.stdout.lines().find(|line| line.trim_start().starts_with("libnever-was.so.7  "));
        assert!(absent.is_some_and(|line| line.contains("nobody")), "{outcome}");
        let json = &outcome.stdout[outcome.stdout.find("[\n").unwrap_or_default()..];
        let plans: serde_json::Value =
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {outcome}"));
        let libraries = plans[0]["libraries"].as_array().unwrap();
        let of = |soname: &str| libraries.iter().find(|library| library["soname"] == soname).unwrap();
        assert_eq!(of("libnever-was.so.7")["from"], "nobody");
        assert!(of("libpng16.so.16")["path"].as_str().unwrap().starts_with("/nix/store/"));
    }
}

#[test]
fn what_was_collected_as_garbage_is_realised_again_silently() {
    for who in EVERYBODY {
        let (_state, root) = cold(who);
        let outcome = sh(
            &root,
            &format!(
                "{CURL} --version > /dev/null; kept 1; rm -r $state/roots; wait_for 'nix-store --gc > /dev/null 2>&1; ! ls -d /nix/store/*-curl-* 2>/dev/null'; echo collected; log > /dev/null; {CURL} --version; log"
            ),
        );
        assert!(outcome.stdout.starts_with("collected\n"), "{outcome}");
        assert_eq!((count(&outcome, BY_PLAN), count(&outcome, ANEW)), (1, 0), "{outcome}");
        assert!(outcome.stdout.contains("libcurl/"), "{outcome}");
    }
}

#[test]
fn a_plan_that_is_damaged_torn_or_somebody_elses_is_made_anew() {
    let (_state, root) = cold(Who::Root);
    let damages = [
        ": > $plan",
        "truncate -s -1 $plan",
        "truncate -s 200 $plan",
        "dd if=/dev/urandom of=$plan bs=64 seek=2 count=1 conv=notrunc 2>/dev/null",
        "printf 'SNDPLAN' > $plan",
        "head -c 20000000 /dev/zero > $plan",
        "chmod 666 $plan",
        "chown 1000 $plan",
        "mv $plan $plan.real && ln -s $plan.real $plan",
        "rm $plan && mkfifo $plan",
    ];
    for damage in damages {
        let outcome = sh(
            &root,
            &format!(
                "{HELLO}; kept 1; {HELLO}; log > /tmp/log; plan=$(ls $plans/*.plan | head -1); {damage};
                 {HELLO}; wait_for \"[ -f $plan -a ! -L $plan ]\"; sleep 0.2; {HELLO}; log; rm -f $plan.real"
            ),
        );
        assert!(outcome.succeeded(), "{damage}: {outcome}");
        assert_eq!(count(&outcome, "Hello, world!"), 4, "{damage}: {outcome}");
        assert_eq!((count(&outcome, ANEW), count(&outcome, BY_PLAN)), (1, 1), "{damage}: {outcome}");
    }
}

#[test]
fn the_cache_folder_may_go_at_any_time_and_may_not_be_writable() {
    let (_state, root) = cold(Who::Alice);
    let outcome = sh(
        &root,
        &format!(
            "{CURL} --version > /dev/null; kept 1; rm -r ~/.cache/sonde/served; {CURL} --version;
             rm -r $plans; : > $plans; {CURL} --version; rm $plans; chmod 555 ~/.cache/sonde; {CURL} --version;
             chmod 755 ~/.cache/sonde; rm -rf ~/.cache/sonde/served $plans"
        ),
    );
    assert!(outcome.succeeded(), "{outcome}");
    assert_eq!(count(&outcome, "libcurl/"), 3, "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn of_many_starts_at_once_one_is_worked_out() {
    for who in EVERYBODY {
        let (_state, root) = cold(who);
        let outcome = sh(
            &root,
            &format!(
                "for n in $(seq 30); do {CURL} --version > /tmp/out.$n & done; wait; cat /tmp/out.*; log"
            ),
        );
        assert_eq!(count(&outcome, "libcurl/"), 30, "{outcome}");
        assert_eq!((count(&outcome, ANEW), count(&outcome, BY_PLAN)), (1, 29), "{outcome}");
    }
}

#[test]
fn plans_are_listed_shown_forgotten_and_collected() {
    let (_state, root) = cold(Who::Alice);
    let outcome = sh(
        &root,
        &format!(
            "{SONDE} plans list; {SONDE} plans show {HELLO}; echo status $?;
             mkdir ~/app; cp {HELLO} ~/app/gone; ~/app/gone; {CURL} --version > /dev/null; {HELLO}; kept 3;
             {SONDE} plans list; {SONDE} plans gc; rm ~/app/gone; {SONDE} plans gc --dry-run; ls $plans | wc -l;
             {SONDE} plans gc; {SONDE} plans forget {HELLO}; ls $plans | wc -l; {SONDE} plans list --json;
             {SONDE} plans gc --older-than 0s; {SONDE} plans forget {HELLO}; echo status $?"
        ),
    );
    let text = &outcome.stdout;
    assert!(text.starts_with("status 1\n"), "{outcome}");
    assert!(outcome.stderr.contains(&format!("sonde: {HELLO}: no plan is kept of it")), "{outcome}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(" ago  ")).collect();
    assert_eq!(rows.len(), 3, "{outcome}");
    assert!(
        text.contains("\n0 removed\n/home/alice/app/gone: the program is gone\n1 would be removed\n3\n"),
        "{outcome}"
    );
    assert!(text.contains("/home/alice/app/gone: the program is gone\n1 removed\n1\n[\n"), "{outcome}");
    assert!(text.contains(&format!("{CURL}: not used for long\n")), "{outcome}");
    assert!(text.ends_with("status 1\n"), "{outcome}");
}

#[test]
fn after_gc_of_everything_nothing_is_kept_from_the_garbage_collector() {
    let (_state, root) = cold(Who::Root);
    let outcome = sh(
        &root,
        &format!(
            "{CURL} --version > /dev/null; kept 1; ls $state/roots; {SONDE} plans gc --all;
             ls $plans $state/roots ~/.cache/sonde/served; wait_for 'nix-store --gc > /dev/null 2>&1; ! ls -d /nix/store/*-curl-* 2>/dev/null'; echo collected;
             {CURL} --version"
        ),
    );
    assert!(outcome.stdout.starts_with("curl-"), "{outcome}");
    assert!(
        outcome.stdout.contains("\n3 removed\n") && outcome.stdout.contains("\ncollected\ncurl 7"),
        "{outcome}"
    );
}

#[test]
fn orders_of_a_command_line_are_for_one_start() {
    let (_state, root) = cold(Who::Alice);
    let outcome = sh(
        &root,
        &format!(
            "printf 'version = 1\\n' > /tmp/policy.toml; {SONDE} run --policy /tmp/policy.toml {CURL} --version;
             {SONDE} run --audit {CURL} --version; ls $plans; log"
        ),
    );
    assert_eq!((count(&outcome, ANEW), count(&outcome, BY_PLAN)), (2, 0), "{outcome}");
    assert!(outcome.stderr.contains("No such file"), "no plan was kept: {outcome}");
}
