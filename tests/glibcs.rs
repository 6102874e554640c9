//! Programs under other glibcs than this machine's: each is served, by the engine inline if the place is known where its
//! loader opens files, and by another one if not.

use std::fs;
use std::process::Command;

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Engine, Glibc, SONDE, Who, fixture, glibcs, run};

const LIBRARIES: [&str; 2] = ["libz.so.1", "libogg.so.0"];

/// A program that was built with this glibc by Nix, and a root that has both.
fn with_glibc(root: RootBuilder, glibc: &Glibc) -> (RootBuilder, String) {
    let store_path = format!("/nix/store/{}-glibc-{}", "g".repeat(32), glibc.version);
    let options = ["-fno-stack-protector", "-nostartfiles", "-Wl,--no-as-needed", "-l:libdl.so.2"];
    let plain = fixture().compile("any_glibc", "any-glibc", &options);
    let name = format!("any-glibc-{}", glibc.version);
    let own = fixture().guests().join(&name);
    if !own.exists() {
        let unfinished = own.with_extension(format!("{:?}", std::thread::current().id()));
        fs::copy(fixture().guests().join(plain.trim_start_matches("/guests/")), &unfinished).unwrap();
        let status = Command::new("patchelf")
            .args(["--set-interpreter", &format!("{store_path}/lib/ld-linux-x86-64.so.2")])
            .args(["--set-rpath", &format!("{store_path}/lib")])
            .arg(&unfinished)
            .status();
        assert!(status.unwrap().success());
        fs::rename(unfinished, &own).unwrap();
    }
    (root.bind(&glibc.folder, format!("{store_path}/lib")), format!("/guests/{name}"))
}

fn expected(filters: u32) -> String {
    let [first, second] = LIBRARIES;
    format!("{first}\n{second}\nNoNewPrivs:\t0\nSeccomp:\t{filters}\n\n")
}

#[test]
fn the_engine_inline_knows_them() {
    for glibc in glibcs() {
        for who in EVERYBODY {
            let (root, guest) = with_glibc(fixture().under(Engine::Inline, fixture().root(who)), glibc);
            let outcome = run(root.command(SONDE).args(["run", &guest]).args(LIBRARIES));
            assert_eq!(outcome.stdout, expected(0), "{} as {who:?}: {outcome}", glibc.version);
            assert_eq!(outcome.stderr, "", "{} as {who:?}: {outcome}", glibc.version);
        }
    }
}

/// The first of them, whose loader says the same in other words: `cmp $-4096,%rax; ja` for `cmp $-4095,%rax; jae`.
fn reworded() -> Option<Glibc> {
    const BEFORE: [u8; 9] = [0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x73];
    const AFTER: [u8; 9] = [0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77];
    let original = glibcs().iter().find(|glibc| glibc.version < "2.26")?;
    let folder = fixture().guests().join("reworded-glibc");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(&original.folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let loader = folder.join("ld-linux-x86-64.so.2");
    let mut code = fs::read(&loader).unwrap();
    let mut places = 0;
    for at in 0..code.len() {
        if code[at..].starts_with(&BEFORE) {
            code[at..at + AFTER.len()].copy_from_slice(&AFTER);
            places += 1;
        }
    }
    assert!(places > 0, "{} has other words already", original.version);
    fs::write(&loader, code).unwrap();
    Some(Glibc { version: "2.0-reworded", folder })
}

#[test]
fn where_it_does_not_another_engine_serves() {
    let Some(glibc) = reworded() else {
        return eprintln!("SKIPPED 1 check: no glibc before 2.26 can be had");
    };
    let (root, guest) = with_glibc(fixture().under(Engine::Inline, fixture().root(Who::Root)), &glibc);
    let outcome = run(root.command(SONDE).args(["run", &guest]).args(LIBRARIES));
    assert_eq!(outcome.stdout, expected(2), "{outcome}");
}
