//! Where this runs: a container, WSL, a session with a runtime folder or without.

use std::env;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use sonde_interp::handoff::DOOR;

use super::finding::Finding;

/// What container managers leave in their containers, and who they are.
const CONTAINERS: [(&str, &str); 3] = [
    ("/run/systemd/container", "systemd-nspawn or another that says so in /run/systemd/container"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
];

/// Looks around.
pub(super) fn examine() -> Vec<Finding> {
    vec![host(), door()]
}

fn host() -> Finding {
    const ID: &str = "surroundings.host";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if is_wsl(&release) {
        return Finding::ok(
            ID,
            "WSL: with mirrored networking it takes the one listener, and programs are traced",
        );
    }
    match CONTAINERS.iter().find(|(mark, _)| Path::new(mark).exists()) {
        Some((_, manager)) => {
            Finding::ok(ID, format!("a container ({manager}); its profile decides what is allowed"))
        }
        None => Finding::ok(ID, format!("Linux {}, in no container that is known", release.trim())),
    }
}

/// Microsoft's kernels say so in their release, in either spelling.
fn is_wsl(release: &str) -> bool {
    release.to_ascii_lowercase().contains("microsoft")
}

fn door() -> Finding {
    const ID: &str = "surroundings.door";
    let Some(runtime) = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
    else {
        return Finding::warning(
            ID,
            "XDG_RUNTIME_DIR names no folder: each program gets a supervisor of its own",
            "log in through a session manager, which makes one; on servers `loginctl enable-linger` keeps it",
        );
    };
    let shown = runtime.display();
    let Ok(data) = fs::metadata(&runtime) else {
        return Finding::warning(
            ID,
            format!(
                "{shown}, which XDG_RUNTIME_DIR names, is not there: each program gets a supervisor of its own"
            ),
            "unset XDG_RUNTIME_DIR, or let it name a folder that is this user's alone",
        );
    };
    if !data.is_dir() || data.uid() != Uid::effective().as_raw() {
        return Finding::warning(
            ID,
            format!(
                "{shown}, which XDG_RUNTIME_DIR names, is not this user's: each program gets a supervisor of its own"
            ),
            "start the session anew instead of becoming this user with `su`; `machinectl shell` or `su -` help",
        );
    }
    let socket = runtime.join(DOOR);
    let is_open = fs::symlink_metadata(&socket).is_ok_and(|data| data.file_type().is_socket());
    let state = if is_open { "open" } else { "closed until a program runs" };
    Finding::ok(ID, format!("programs share a supervisor; its door, {}, is {state}", socket.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wsl_is_known_by_the_release_of_its_kernel() {
        assert!(is_wsl("5.15.167.4-microsoft-standard-WSL2\n") && is_wsl("4.4.0-19041-Microsoft"));
        assert!(!is_wsl("6.18.1"));
    }
}
