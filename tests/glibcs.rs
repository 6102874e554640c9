//! Programs under other glibcs than this machine's: each is served, by the engine inline if its loader opens files by
//! openat(2), and by another one if not.

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
        std::fs::copy(fixture().guests().join(plain.trim_start_matches("/guests/")), &unfinished).unwrap();
        let status = Command::new("patchelf")
            .args(["--set-interpreter", &format!("{store_path}/lib/ld-linux-x86-64.so.2")])
            .args(["--set-rpath", &format!("{store_path}/lib")])
            .arg(&unfinished)
            .status();
        assert!(status.unwrap().success());
        std::fs::rename(unfinished, &own).unwrap();
    }
    (root.bind(&glibc.folder, format!("{store_path}/lib")), format!("/guests/{name}"))
}

fn expected(filters: u32) -> String {
    let [first, second] = LIBRARIES;
    format!("{first}\n{second}\nNoNewPrivs:\t0\nSeccomp:\t{filters}\n\n")
}

#[test]
fn the_engine_inline_knows_them_from_2_27_on() {
    for glibc in glibcs().iter().filter(|glibc| glibc.version >= "2.27") {
        for who in EVERYBODY {
            let (root, guest) = with_glibc(fixture().under(Engine::Inline, fixture().root(who)), glibc);
            let outcome = run(root.command(SONDE).args(["run", &guest]).args(LIBRARIES));
            assert_eq!(outcome.stdout, expected(0), "{} as {who:?}: {outcome}", glibc.version);
            assert_eq!(outcome.stderr, "", "{} as {who:?}: {outcome}", glibc.version);
        }
    }
}

#[test]
fn where_it_does_not_another_engine_serves() {
    for glibc in glibcs().iter().filter(|glibc| glibc.version < "2.27") {
        let (root, guest) = with_glibc(fixture().under(Engine::Inline, fixture().root(Who::Root)), glibc);
        let outcome = run(root.command(SONDE).args(["run", &guest]).args(LIBRARIES));
        assert_eq!(outcome.stdout, expected(2), "{}: {outcome}", glibc.version);
    }
}
