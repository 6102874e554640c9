//! `sonde doctor`: a machine that is well is said to be well, and whatever is broken is found, with a way out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Engine, Outcome, PLAIN_SONDE, SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

/// What doctor found, and how it ended.
struct Diagnosis {
    document: Value,
    outcome: Outcome,
}

impl Diagnosis {
    #[track_caller]
    fn of(root: &RootBuilder, arguments: &[&str]) -> Self {
        Self::by(root, SONDE, arguments)
    }

    #[track_caller]
    fn by(root: &RootBuilder, sonde: &str, arguments: &[&str]) -> Self {
        let outcome = run(root.command(sonde).args(["doctor", "--json"]).args(arguments));
        let document =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
        Self { document, outcome }
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.document["findings"].as_array().unwrap().iter()
    }

    /// The first finding of this name has this level, these words, and a remedy with these, unless it is ok.
    #[track_caller]
    fn says(&self, id: &str, level: &str, words: &str, remedy: &str) -> &Self {
        let found = self.findings().find(|finding| finding["id"] == id && finding["level"] == level);
        let found = found.unwrap_or_else(|| panic!("no {id} of level {level}: {}", self.outcome));
        assert!(found["summary"].as_str().unwrap().contains(words), "no {words:?}: {found}");
        if level == "ok" {
            assert!(found["remedy"].is_null(), "{found}");
        } else {
            assert!(found["remedy"].as_str().unwrap().contains(remedy), "no {remedy:?}: {found}");
        }
        self
    }

    #[track_caller]
    fn ends_with(&self, code: i32) {
        assert_eq!(self.outcome.code(), Some(code), "{}", self.outcome);
        assert_eq!(self.outcome.stderr, "", "{}", self.outcome);
        let worst = if code == 1 { "error" } else { "warning" };
        assert!(
            self.document["worst"] == worst || (code == 0 && self.document["worst"] == "ok"),
            "{}",
            self.outcome
        );
    }
}

/// A file that is visible inside the root; returns its path there.
fn file(name: &str, content: &[u8]) -> String {
    let path = fixture().guests().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("/guests/{name}")
}

/// A root in which the user has these files in `~/.config/sonde`.
fn configured(name: &str, who: Who, files: &[(&str, &str)]) -> RootBuilder {
    let folder = fixture().guests().join(format!("doctor-{name}/sonde"));
    fs::create_dir_all(&folder).unwrap();
    for (file, text) in files {
        fs::write(folder.join(file), text).unwrap();
    }
    fixture().root(who).env("XDG_CONFIG_HOME", format!("/guests/doctor-{name}"))
}

#[test]
fn a_machine_and_a_program_that_are_well_are_said_to_be() {
    for who in EVERYBODY {
        let root = fixture().under(Engine::Auto, fixture().root(who));
        let found = Diagnosis::of(&root, &[CURL]);
        found
            .says("kernel.user-notification", "ok", "traps", "")
            .says("engine.choice", "ok", "inline: the first choice", "")
            .says("shim.installed", "ok", "of this release", "")
            .says("shim.supervisor", "ok", SONDE, "")
            .says("index.databases", "ok", "default: ", "")
            .says("index.age", "ok", "0 days ago", "")
            .says("store.nix", "ok", "nix-store answers", "")
            .says("configuration.policy", "ok", "no policy", "")
            .says("program.kind", "ok", "a foreign x86-64 program", "")
            .says("program.libraries", "ok", "2 come from packages", "")
            .ends_with(0);
        // What it says is true.
        let curl = run(root.command(CURL).arg("--version"));
        assert!(curl.succeeded() && curl.stderr.is_empty(), "{curl}");
        Diagnosis::of(&root, &[CURL]).says("program.glibc", "ok", "new enough", "");
    }
}

#[test]
fn for_people_each_finding_is_a_line_without_colours_where_there_is_no_terminal() {
    let root = fixture().without_shim(Who::Alice);
    let outcome = run(root.command(SONDE).arg("doctor"));
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert!(
        !outcome.stdout.contains('\x1b') && outcome.stdout.starts_with("Kernel\n  ok       "),
        "{outcome}"
    );
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let warning = lines.iter().position(|line| line.starts_with("  warning  nothing is at /lib64")).unwrap();
    assert!(lines[warning + 1].contains("→ set `programs.sonde.enable = true;`"), "{outcome}");
    assert!(lines.last().unwrap().starts_with("0 errors, "), "{outcome}");
}

#[test]
fn a_shim_of_another_release_or_another_s_is_recognised_without_being_run() {
    let shim = fs::read(fixture().shim()).unwrap();
    let own = concat!("sonde-interp ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();
    let at = shim.windows(own.len()).position(|window| window == own).unwrap();
    let mut older = shim.clone();
    older[at + own.len() - 2] = b'x';
    file("older-shim", &older);
    file("nix-ld", b"\x7fELF NIX_LD_LIBRARY_PATH");
    for (name, words) in [("older-shim", "0.1.x, and this is"), ("nix-ld", "is nix-ld")] {
        let root = fixture().without_shim(Who::Alice).shim(fixture().guests().join(name));
        Diagnosis::of(&root, &[]).says("shim.installed", "warning", words, "").ends_with(0);
    }
    let root = fixture().root(Who::Alice).env("SONDE_SUPERVISOR", "/no/such/sonde");
    Diagnosis::of(&root, &[]).says("shim.supervisor", "error", "/no/such/sonde", "unset").ends_with(1);
}

#[test]
fn without_an_index_or_with_a_damaged_one_the_command_that_helps_is_named() {
    for who in EVERYBODY {
        let root = fixture().root(who).env("XDG_CACHE_HOME", "/tmp/no-cache");
        let found = Diagnosis::of(&root, &[CURL]);
        found.says("index.databases", "error", "there is no index", "sonde index update").ends_with(1);
        found.says("program.libraries", "warning", "without an index", "");
    }
    let cache = fixture().guests().join("doctor-cache/sonde/index");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("default.index"), "no index").unwrap();
    let root = fixture().root(Who::Alice).env("XDG_CACHE_HOME", "/guests/doctor-cache");
    Diagnosis::of(&root, &[])
        .says("index.databases", "error", "default.index", "sonde index remove default")
        .ends_with(1);
}

#[test]
fn mistakes_in_configuration_and_policy_are_shown_with_their_file() {
    let broken = [
        (
            "policy",
            "policy.toml",
            "version = 1\ndefualt = 'deny'\n",
            "configuration.policy",
            "policy.toml:2:1: unknown key",
        ),
        (
            "engine",
            "config.toml",
            "[engine]\nkind = 'diesel'\n",
            "engine.configuration",
            "`diesel` is no engine",
        ),
        (
            "store",
            "config.toml",
            "[store]\ncaches = ['ftp://x']\n",
            "store.configuration",
            "`ftp://x` is no cache",
        ),
        (
            "libraries",
            "config.toml",
            "[libraries]\npaths = ['lib']\n",
            "configuration.libraries",
            "`lib` in [libraries] must be an absolute path",
        ),
    ];
    for (name, file, text, id, words) in broken {
        let root = configured(name, Who::Alice, &[(file, text)]);
        Diagnosis::of(&root, &[]).says(id, "error", words, "").ends_with(1);
    }
    let rule = "version = 1\ndefault = 'allow'\n[[package]]\nrule = 'deny'\nattribute = 'zlib*'\n";
    let root = configured("forbidding", Who::Alice, &[("policy.toml", rule)]);
    Diagnosis::of(&root, &[CURL])
        .says("configuration.policy", "ok", "sound; 1 rules", "")
        .says("program.policy", "error", "libz.so.1 is in zlib", "sonde policy explain --program")
        .ends_with(1);
}

#[test]
fn the_engine_that_programs_get_is_named_with_the_reason() {
    let configured = |text| configured("asked", Who::Alice, &[("config.toml", text)]);
    let asked = configured("[engine]\nkind = 'ptrace'\nno-new-privs = false\n");
    Diagnosis::of(&asked, &[])
        .says("engine.choice", "ok", "ptrace: asked for", "")
        .says("engine.no-new-privs", "ok", "every system call", "")
        .ends_with(0);
    // Inside of a tree there is a listener already, and where memory may not be made executable, no engine inline.
    let wrapper = fixture().compile("deny_exec_gain", "deny_exec_gain", &["-static"]);
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Alice));
    let root = root.env("XDG_CONFIG_HOME", "/guests/doctor-auto");
    let auto = fixture().guests().join("doctor-auto/sonde");
    fs::create_dir_all(&auto).unwrap();
    fs::write(auto.join("config.toml"), "[engine]\nkind = 'auto'\n").unwrap();
    let doctor = format!("{wrapper} {SONDE} doctor --json");
    let inside = run(root.command(SONDE).args(["run", "--", "sh", "-c", &doctor]));
    if inside.code() == Some(77) {
        return eprintln!("SKIPPED 1 check: this kernel (before 6.3) has no PR_SET_MDWE");
    }
    let document: Value = serde_json::from_str(&inside.stdout).unwrap();
    let found = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["id"] == "engine.choice")
        .unwrap();
    assert_eq!(found["level"], "warning", "{found}");
    assert!(
        found["summary"].as_str().unwrap().starts_with("ptrace: no seccomp: Device or resource busy"),
        "{found}"
    );
}

#[test]
fn what_is_not_served_is_told_by_its_kind() {
    let guest = fixture().guest("end");
    let bytes = fs::read(fixture().guests().join("end")).unwrap();
    let changed = |name: &str, at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        file(name, &bytes)
    };
    file("musl", &bytes);
    let musl = fixture().guests().join("musl");
    let patched =
        Command::new("patchelf").args(["--set-interpreter", "/lib/ld-musl-x86_64.so.1"]).arg(&musl).status();
    assert!(patched.unwrap().success());
    // ELF32 for the i386, with a header and nothing else (elf(5)).
    let mut header = vec![0_u8; 52];
    header[..16].copy_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    header[16..24].copy_from_slice(&[2, 0, 3, 0, 1, 0, 0, 0]);
    header[40] = 52;
    let cases = [
        (file("i386", &header), "32-bit x86", "steam-run"),
        (changed("arm", 18, &[183, 0]), "AArch64", "aarch64-linux"),
        ("/guests/musl".to_owned(), "musl", "glibc build"),
    ];
    for (program, words, remedy) in &cases {
        let found = Diagnosis::of(&fixture().root(Who::Alice), &[program]);
        found.says("program.kind", "error", words, remedy).ends_with(1);
    }
    let root = fixture().without_shim(Who::Alice);
    Diagnosis::of(&root, &[&guest])
        .says("program.kind", "warning", "No such file or directory", "sonde run")
        .ends_with(0);
    let nix_built = Diagnosis::of(&root, &["sh"]);
    nix_built.says("program.kind", "ok", "built by Nix", "").ends_with(0);
    let still = fixture().compile("end", "static_end", &["-static"]);
    Diagnosis::of(&root, &[&still]).says("program.kind", "ok", "static", "").ends_with(0);
    let collected = file("collected", &bytes);
    let gone = "/nix/store/00000000000000000000000000000000-glibc-2.0/lib/ld-linux-x86-64.so.2";
    let patched = Command::new("patchelf")
        .args(["--set-interpreter", gone])
        .arg(fixture().guests().join("collected"))
        .status();
    assert!(patched.unwrap().success());
    Diagnosis::of(&root, &[&collected])
        .says("program.kind", "error", "is not in the store", "nix-store --realise")
        .ends_with(1);
    let setuid = file("setuid", &bytes);
    fs::set_permissions(fixture().guests().join("setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    Diagnosis::of(&root, &[&setuid]).says("program.privileges", "warning", "setuid", "security.wrappers");
}

#[test]
fn what_is_no_program_or_not_whole_is_told() {
    let whole = fs::read(fixture().world.program_dir("curl").join("usr/bin/curl")).unwrap();
    let root = fixture().root(Who::Alice);
    let script = file("lost-script", b"#!/usr/bin/lost\n");
    let cases = [
        ("/no/such/program".to_owned(), "program.file", "No such file"),
        ("no-such-command".to_owned(), "program.file", "PATH"),
        ("/tmp".to_owned(), "program.file", "folder"),
        (script, "program.file", "script for /usr/bin/lost"),
        (file("windows", b"MZ\x90\0"), "program.elf", "Windows"),
    ];
    for (program, id, words) in &cases {
        Diagnosis::of(&root, &[program]).says(id, "error", words, "").ends_with(1);
    }
    for length in [0, 3, 4, 20, 63, 64, 200, 4096, 100_000] {
        let program = file("doctor-cut", &whole[..length]);
        Diagnosis::of(&root, &[&program]).ends_with(1);
    }
}

#[test]
fn what_a_program_misses_is_told_library_by_library() {
    let nobody = fixture().guest_that_needs("libnothere.so.9");
    let driver = fixture().guest_that_needs("libcuda.so.1");
    let unfit = fixture().guest_that_needs_version("libpng16.so.16", "NO_PNG_HAS_THIS_1.0");
    for who in EVERYBODY {
        let root = fixture().root(who);
        for (program, words, remedy) in [
            (
                &nobody,
                "libnothere.so.9, needed by /guests/needs-libnothere.so.9: in no package",
                "LD_LIBRARY_PATH",
            ),
            (&driver, "NVIDIA", "hardware.graphics.enable"),
        ] {
            Diagnosis::of(&root, &[program]).says("program.library", "error", words, remedy).ends_with(1);
        }
    }
    // Only what is in the store can be compared.
    let root = fixture().root(Who::Alice);
    run(&mut root.command(&unfit));
    Diagnosis::of(&root, &[&unfit])
        .says("program.library", "error", "lacks NO_PNG_HAS_THIS_1.0", "sonde find --for")
        .ends_with(1);
}

#[test]
fn a_glibc_that_is_too_old_is_told_before_the_loader_does() {
    let guest = fixture().guest_that_needs_version("libm.so.6", "GLIBC_2.99");
    let root = fixture().root(Who::Alice);
    let natively = run(&mut root.command(&guest));
    assert!(!natively.succeeded() && natively.stderr.contains("GLIBC_2.99"), "{natively}");
    Diagnosis::of(&root, &[&guest])
        .says("program.glibc", "error", "it needs GLIBC_2.99 of glibc", "sonde index update")
        .ends_with(1);
}

#[test]
fn an_executable_stack_and_data_that_is_not_there_are_warnings() {
    let root = fixture().root(Who::Alice);
    let stack = fixture().compile("end", "executable-stack", &["-Wl,-z,execstack"]);
    Diagnosis::of(&root, &[&stack])
        .says("program.executable-stack", "warning", "executable stack", "patchelf --clear-execstack")
        .ends_with(0);
    let fonts = fixture().guest_that_needs("libfontconfig.so.1");
    Diagnosis::of(&root, &[&fonts]).says("program.data", "warning", "fonts", "fonts.fontconfig.enable");
    let named = root.env("FONTCONFIG_FILE", "/etc/fonts.conf");
    Diagnosis::of(&named, &[&fonts]).says("program.data", "ok", "fonts", "");
}

#[test]
fn a_machine_without_nix_is_asked_for_its_caches_and_keys() {
    let root = fixture().plain(Who::Alice);
    Diagnosis::by(&root, PLAIN_SONDE, &[])
        .says("store.folder", "ok", "/home/store/sonde/store", "")
        .says("store.caches", "ok", "http://127.0.0.1", "")
        .says("store.keys", "ok", "signatures of ", "");
    let offline = fixture().root(Who::Alice).env("SONDE_OFFLINE", "1");
    Diagnosis::of(&offline, &[]).says(
        "store.offline",
        "warning",
        "nothing is fetched",
        "unset SONDE_OFFLINE",
    );
    let state = fixture().root(Who::Alice).env("XDG_STATE_HOME", "/proc/none");
    Diagnosis::of(&state, &[]).says("store.roots", "error", "/proc/none/sonde/roots", "ls -ld").ends_with(1);
}

#[test]
fn every_finding_is_documented_and_none_is_that_there_is_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names = regex::Regex::new(
        r#"["`]((?:kernel|engine|surroundings|shim|index|store|configuration|program)\.[a-z0-9-]+)["`]"#,
    )
    .unwrap();
    let all = |text: &str| -> BTreeSet<String> {
        names.captures_iter(text).map(|found| found[1].to_owned()).collect()
    };
    let sources = fs::read_dir(root.join("supervisor/src/doctor")).unwrap().flatten();
    let made: BTreeSet<String> =
        sources.flat_map(|file| all(&fs::read_to_string(file.path()).unwrap())).collect();
    let documented = all(&fs::read_to_string(root.join("docs/doctor.md")).unwrap());
    assert!(made.len() > 20, "{made:?}");
    assert_eq!(made, documented);
}
