//! `make demo`: a real, unpatched foreign program in a NixOS-like root where none of its libraries exist. First as it is,
//! then under `sonde trace`.

mod harness;

use std::process::{Command, ExitCode};

use harness::{SONDE, Who, fixture};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

fn main() -> ExitCode {
    let fixture = fixture();
    let (_state, root) = fixture.embedded(Who::Root, &fixture.server.url());
    let bare = fixture.without_shim(Who::Root);

    println!("Debian's curl, in a root that has no /lib64, no /usr/lib and an empty store:\n");
    show(&format!("{CURL} --version"), bare.command("/bin/sh").args(["-c", &format!("{CURL} --version")]));
    println!(
        "\nThe same under Sonde, with an index of what could be fetched, and a binary cache to fetch it from:\n"
    );
    let traced = show(
        &format!("sonde trace {CURL} --version"),
        root.command(SONDE).args(["trace", CURL, "--version"]),
    );
    if traced { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a command with our own standard output; did it succeed?
fn show(shown: &str, command: &mut Command) -> bool {
    println!("$ {shown}");
    command.status().is_ok_and(|status| status.success())
}
