//! One desktop notification (org.freedesktop.Notifications) for a program that is started from a menu and takes long,
//! because nobody sees a terminal there.
//!
//! It is sent by a command that desktops have anyway: `busctl` of systemd, or `notify-send`. A D-Bus library would be
//! dozens of crates, or a C library to link with, for this one message.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Numbers, Request};
use crate::store::size;

/// A fetch that is over by then is not worth a word.
const UNSEEN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

/// Where commands are looked for before `PATH`.
const FOLDERS: [&str; 2] = ["/run/current-system/sw/bin", "/usr/bin"];

/// A command that notifies.
#[derive(Debug)]
pub(super) struct Notifier {
    command: PathBuf,
    speaks_bus: bool,
}

impl Notifier {
    /// `None` where there is no desktop, or no command.
    pub(super) fn find() -> Option<Self> {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        if !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
            return None;
        }
        let busctl = find("busctl").map(|command| Self { command, speaks_bus: true });
        busctl.or_else(|| find("notify-send").map(|command| Self { command, speaks_bus: false }))
    }

    fn arguments(&self, title: &str, text: &str) -> Vec<String> {
        let words: &[&str] = if self.speaks_bus {
            // Application, replaced id, icon, title, text, no actions, no hints, milliseconds.
            const PATH: &str = "/org/freedesktop/Notifications";
            const NAME: &str = "org.freedesktop.Notifications";
            &[
                "--user",
                "--timeout=5",
                "call",
                NAME,
                PATH,
                NAME,
                "Notify",
                "susssasa{sv}i",
                "Sonde",
                "0",
                "",
                title,
                text,
                "0",
                "0",
                "10000",
            ]
        } else {
            &["--app-name=Sonde", "--expire-time=10000", "--", title, text]
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn notify(&self, title: &str, text: &str) {
        let mut command = Command::new(&self.command);
        command.args(self.arguments(title, text)).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Meant for the program.
        command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
        match command.spawn() {
            // A bus that does not answer is not waited for.
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(error) => tracing::debug!(command = %self.command.display(), %error, "no notification"),
        }
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = FOLDERS.iter().map(PathBuf::from).chain(env::split_paths(&path));
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Notifies when a request has been under way for long.
pub(super) fn wait(numbers: &Numbers, notifier: &Notifier, program: &str) {
    if !numbers.wait(UNSEEN) {
        return;
    }
    loop {
        if let Some(request) = numbers.request() {
            let (title, text) = words(program, &request);
            return notifier.notify(&title, &text);
        }
        // Between two requests of one start.
        if !numbers.wait(TICK) {
            return;
        }
    }
}

fn words(program: &str, request: &Request) -> (String, String) {
    let name = Path::new(program).file_name().unwrap_or(OsStr::new(program)).to_string_lossy();
    let amount = request.bytes.map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
    let plural = if request.paths == 1 { "" } else { "s" };
    // A name in the text might be taken for markup; titles are plain.
    (format!("{name} waits for a download"), format!("{} store path{plural}{amount}", request.paths))
}

#[cfg(test)]
mod tests {
    use super::super::{Observed, Progress};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_fetch_that_takes_long_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let command = folder.path().join("notify-send");
        std::fs::write(&command, "#!/bin/sh\nprintf '%s|' \"$@\" >> \"$0.log\"\n").unwrap();
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
        let log = folder.path().join("notify-send.log");
        let notifier = Notifier { command, speaks_bus: false };
        let observed = Observed::by(move |numbers| wait(numbers, &notifier, "/opt/app/demo"));
        observed.begin(3, Some(5 << 20));
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with(")|")) {
            std::thread::sleep(Duration::from_millis(20));
        }
        observed.end();
        observed.begin(1, None);
        drop(observed);
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            "--app-name=Sonde|--expire-time=10000|--|demo waits for a download|\
             3 store paths (5.0 MiB)|"
        );
    }
}
