//! All sentences as they read, and what holds of each.

use super::*;
use crate::store::StorePath;
use sonde_interp::sentence::Sentence;

/// All sentences, with the names that the code has for them.
fn all() -> Vec<(&'static str, String)> {
    let (soname, app, lib) = ("libq.so.1", Path::new("/opt/app"), Path::new("/opt/libq.so.1"));
    let loader = Path::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-glibc-2.40/lib/ld-linux-x86-64.so.2");
    let stored = Path::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-q/lib/libq.so.1");
    let object = StorePath::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-q").unwrap();
    let choice = Choice { attribute: "q".into(), output: "out".into(), file: stored.into(), object };
    let offline = StoreError::Refused("offline: it is not in the store".into());
    let shim = |sentence: Sentence<'_>| String::from_utf8(sentence.pieces().concat()).unwrap();
    vec![
        ("absent", absent(soname, app)),
        ("no_index", no_index(soname, app)),
        ("excluded", excluded(soname, app, "part of the NVIDIA driver")),
        ("unfit", unfit(soname, app, &["Q_2".into(), "Q_3".into()])),
        ("unavailable", unavailable(soname, app, &choice, &offline)),
        ("forbidden", forbidden(soname, app, Some("q.out"), "/etc/sonde/policy.toml:1: deny")),
        ("forbidden, host", forbidden(soname, app, None, "/etc/sonde/policy.toml:1: deny")),
        ("would_be_forbidden", would_be_forbidden(soname, Some("q.out"), "/etc/sonde/policy.toml:1")),
        ("faulty", faulty("/etc/sonde/policy.toml:1: no such key")),
        ("NO_ENGINE", NO_ENGINE.into()),
        ("NO_GLIBC", NO_GLIBC.into()),
        ("engines_forbidden", engines_forbidden("/etc/sonde/policy.toml:1")),
        ("loader_unavailable", loader_unavailable(loader, &offline)),
        ("filter_refused", filter_refused("EBUSY")),
        ("loader_unchanged", loader_unchanged("EACCES")),
        ("not_traceable", not_traceable("EPERM")),
        ("other_store", other_store(app)),
        ("other_class", other_class(lib)),
        ("other_machine", other_machine(lib, 183)),
        ("other_machine, unknown", other_machine(lib, 9)),
        ("not_elf", not_elf(lib)),
        ("is_a_program", is_a_program(lib)),
        ("lacks_versions", lacks_versions(app, lib, &["GLIBC_2.41"])),
        ("lacks_versions, of a package", lacks_versions(app, stored, &["A", "B"])),
        ("old_glibc", old_glibc(app, &["GLIBC_2.41"], loader, "2.40")),
        ("executable_stack", executable_stack(lib)),
        ("OTHER_FORM", OTHER_FORM.into()),
        ("is_watched", is_watched(4711)),
        ("no_process", no_process(4711)),
        ("others_process", others_process(4711, "alice")),
        ("not_supervised", not_supervised(4711, app)),
        ("no_supervisor_inline", no_supervisor_inline(4711, app)),
        ("supervisor_out_of_reach", supervisor_out_of_reach(4711, app)),
        ("is_traced", is_traced(4711, 4710)),
        ("WATCH_CUT_OFF", WATCH_CUT_OFF.into()),
        ("shim: NoProgram", shim(Sentence::NoProgram)),
        ("shim: BadOption", shim(Sentence::BadOption(b"--engin"))),
        (
            "shim: CannotRun",
            shim(Sentence::CannotRun { program: b"/opt/app", reason: b"not an ELF program" }),
        ),
        (
            "shim: NoSupervisor",
            shim(Sentence::NoSupervisor {
                supervisor: b"/bin/sonde",
                reason: b"No such file or directory",
                program: b"/opt/app",
                loader: b"/lib/ld.so",
            }),
        ),
        (
            "shim: NoLoader",
            shim(Sentence::NoLoader {
                program: b"/opt/app",
                loader: b"/lib/ld.so",
                reason: b"No such file or directory",
                supervisor: None,
            }),
        ),
        (
            "shim: NoLoader, no supervisor",
            shim(Sentence::NoLoader {
                program: b"/opt/app",
                loader: b"/lib/ld.so",
                reason: b"No such file or directory",
                supervisor: Some((b"/bin/sonde", b"Permission denied")),
            }),
        ),
        ("shim: NotSupervised", shim(Sentence::NotSupervised { reason: b"Operation not permitted" })),
        ("shim: Impossible", shim(Sentence::Impossible)),
    ]
}

/// `SONDE_UPDATE_SNAPSHOTS=1 cargo test` writes the file anew; what has changed is then read in the diff.
#[test]
fn all_sentences_read_as_they_did() {
    let text: String = all().iter().map(|(name, sentence)| format!("{name}\n    {sentence}\n")).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/errors/errors.txt");
    if std::env::var_os("SONDE_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    for (now, before) in text.lines().zip(kept.lines()) {
        assert_eq!(now, before);
    }
    assert_eq!(text, kept);
}

#[test]
fn a_sentence_is_one_line_and_names_what_it_is_about() {
    for (name, sentence) in all() {
        assert!(!sentence.contains('\n') && sentence.len() < 1024, "{name}: {sentence}");
        let things = [
            "libq.so.1",
            "/opt/app",
            "4711",
            "policy.toml",
            "glibc",
            "engine",
            "kernel",
            "process",
            "supervisor",
        ];
        let is_of_command = name.starts_with("shim: NoProgram") || name.starts_with("shim: BadOption");
        let named = is_of_command
            || name.ends_with("Impossible")
            || name == "loader_unchanged"
            || things.iter().any(|thing| sentence.contains(thing));
        assert!(named, "{name}: {sentence}");
    }
}
