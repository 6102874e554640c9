//! Entering leaves no trace on the command: its pid is the child's, its end is the child's end, it has the standard
//! descriptors and no others, no children, no trace of the machine's files, and default signal handling.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use anyhow::{Context, Result};
use nix::libc;

use super::report;
use crate::{RootBuilder, World};

pub(super) fn check(world: &World) -> Result<bool> {
    let root = RootBuilder::new(world);
    let shell = |root: &RootBuilder, script: &str| {
        let mut command = root.command("bash");
        command.args(["-c", script]);
        command
    };
    let output = |script: &str| -> Result<String> {
        let output = shell(&root, script).output().with_context(|| format!("running {script}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut good = true;

    let child = shell(&root, "echo $$").stdout(Stdio::piped()).spawn().context("running bash")?;
    let pid = child.id().to_string();
    let said = child.wait_with_output().context("waiting for bash")?.stdout;
    good &= report(
        "the command is the child itself",
        String::from_utf8_lossy(&said).trim() == pid,
        "another pid",
    );

    let status = shell(&root, "exit 42").status().context("running bash")?;
    good &= report("its exit status passes through", status.code() == Some(42), &status.to_string());
    let status = shell(&root, "kill -TERM $$").status().context("running bash")?;
    good &= report("its death by a signal too", status.signal() == Some(15), &status.to_string());

    // The glob's own descriptor is bash's, opened for listing.
    let descriptors = output("cd /proc/$$/fd && echo *")?;
    good &= report(
        "it has no descriptors but its own",
        matches!(descriptors.as_str(), "0 1 2" | "0 1 2 3" | "0 1 2 255"),
        &descriptors,
    );
    // Not bash's own: it ignores SIGQUIT.
    let ignored = output("grep SigIgn /proc/self/status")?;
    let ignored = ignored.trim_start_matches("SigIgn:").trim();
    // glibc's posix_spawn leaves its own two signals, 32 and 33, ignored in every child.
    let but = |signals: u64, these: u64| signals & !these;
    let theirs = u64::from_str_radix(ignored, 16).ok().map(|signals| but(signals, 0b11 << 31));
    let as_we = theirs == Some(but(ignored_here()?, 0b11 << 31 | 1 << (libc::SIGPIPE - 1)));
    good &= report("it ignores the signals that its caller ignores, no SIGPIPE", as_we, ignored);
    let children = output("cat /proc/$$/task/$$/children; :")?;
    good &= report(
        "it has no children that it did not make",
        children.split_whitespace().count() <= 1,
        &children,
    );
    let privileges = output("while read -r a b; do [ $a = NoNewPrivs: ] && echo $b; done < /proc/$$/status")?;
    good &= report("it may still gain privileges", privileges == "0", &privileges);
    let libraries = output("ls -d /lib /lib64 /usr/lib /etc/ld.so.cache 2>/dev/null")?;
    good &= report("the root has no FHS libraries", libraries.is_empty(), &libraries);
    let top = output("echo /*")?;
    let expected = "/bin /dev /etc /home /nix /opt /proc /root /run /sys /tmp /usr /var";
    good &= report("nor anything else of the machine", top == expected, &top);
    Ok(good)
}

/// Rust's runtime adds SIGPIPE to what this process was started with.
fn ignored_here() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .context("no SigIgn in /proc/self/status")?;
    u64::from_str_radix(line.trim(), 16).context("reading SigIgn")
}
