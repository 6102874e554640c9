//! What the kernel offers, and what it lets us do. docs/kernel-support.md has each feature with its release.

use std::fs;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::finding::Finding;
use crate::guest::remote::GuestRoot;
use crate::sys::capabilities::Capabilities;
use crate::sys::features::Features;
use crate::sys::{process_vm, ptrace};

/// `CAP_SYS_PTRACE` (capabilities(7)).
const CAP_SYS_PTRACE: u32 = 19;

const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Looks at the kernel.
pub(super) fn examine() -> Vec<Finding> {
    let features = Features::probe();
    vec![
        user_notification(features),
        wait_killable(features),
        tracing(),
        memory(),
        paths(),
        memory_files(),
        yama(),
        namespaces(),
    ]
}

fn user_notification(features: Features) -> Finding {
    const ID: &str = "kernel.user-notification";
    match (features.user_notification, features.adds_descriptors) {
        (true, true) => Finding::ok(ID, "traps by seccomp, answered with descriptors (Linux 5.9)"),
        (false, _) => Finding::warning(
            ID,
            "seccomp(2) has no user notification here: the kernel is older than 5.0, or a sandbox forbids it",
            "programs are traced instead, which costs more; see `docs/kernel-support.md`, \"Containers and namespaces\"",
        ),
        (true, false) => Finding::warning(
            ID,
            "traps cannot be answered with descriptors: the kernel is older than 5.9, or a sandbox forbids close_range(2)",
            "a kernel from 5.9 on; until then programs are traced, which costs more",
        ),
    }
}

fn wait_killable(features: Features) -> Finding {
    const ID: &str = "kernel.wait-killable";
    if features.wait_killable {
        return Finding::ok(
            ID,
            "an open that waits for a download is not interrupted by signals (Linux 5.19)",
        );
    }
    Finding::warning(
        ID,
        "a signal that a program handles can end an open that waits for a download",
        "a kernel from 5.19 on; start such a program again when the download is done",
    )
}

fn tracing() -> Finding {
    const ID: &str = "kernel.ptrace";
    if ptrace::is_supported() {
        return Finding::ok(ID, "tracing, should the first engine be refused (Linux 5.3)");
    }
    Finding::warning(
        ID,
        "the kernel cannot tell a tracer what a system call is: there is no second engine",
        "a kernel from 5.3 on",
    )
}

/// Reads this process's own memory as a program's is read.
fn memory() -> Finding {
    const ID: &str = "kernel.process-vm";
    if process_vm::is_allowed() {
        return Finding::ok(ID, "the paths that programs ask for can be read");
    }
    Finding::error(
        ID,
        "process_vm_readv(2) is forbidden here, so no path that a program asks for can be read",
        "allow it in the profile of the container or sandbox",
    )
}

/// Looks at a path inside of a root, as a program's are looked at.
fn paths() -> Finding {
    const ID: &str = "kernel.openat2";
    if GuestRoot::own().is_ok_and(|root| root.contains("/".as_ref())) {
        return Finding::ok(ID, "paths can be looked up in a program's own root (Linux 5.6)");
    }
    Finding::error(
        ID,
        "openat2(2) is forbidden here, so nothing can be looked up in a program's own root",
        "allow it in the profile of the container or sandbox",
    )
}

fn memory_files() -> Finding {
    const ID: &str = "kernel.memfd";
    match memfd_create(c"sonde-doctor", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING) {
        Ok(_) => Finding::ok(ID, "a served cache can be made"),
        Err(error) => Finding::warning(
            ID,
            format!("memory files cannot be made ({}), so there is no served cache", error.desc()),
            "set vm.memfd_noexec to 0 or 1: `sysctl vm.memfd_noexec`",
        ),
    }
}

fn yama() -> Finding {
    const ID: &str = "kernel.yama";
    let scope = fs::read_to_string(YAMA).ok().and_then(|text| text.trim().parse().ok());
    let privileged = Capabilities::own().is_ok_and(|own| own.permitted & (1 << CAP_SYS_PTRACE) != 0);
    judge_yama(ID, scope, privileged)
}

fn judge_yama(id: &'static str, scope: Option<u32>, privileged: bool) -> Finding {
    match scope {
        None => Finding::ok(id, "no Yama: programs of the same user can be read"),
        Some(0) => Finding::ok(id, "Yama lets programs of the same user be read (ptrace_scope 0)"),
        Some(scope) if scope <= 2 && privileged => Finding::ok(
            id,
            format!("Yama lets whoever has CAP_SYS_PTRACE read programs (ptrace_scope {scope})"),
        ),
        Some(1) => Finding::ok(id, "Yama lets programs be read that a shim has started (ptrace_scope 1)"),
        Some(scope) => Finding::error(
            id,
            format!("Yama forbids reading other programs (ptrace_scope {scope}): nothing is provided"),
            "set `boot.kernel.sysctl.\"kernel.yama.ptrace_scope\" = 1;`",
        ),
    }
}

/// What `sonde run` wants a user namespace for is nice to have, so that it is never an error.
fn namespaces() -> Finding {
    const ID: &str = "kernel.user-namespaces";
    let setting =
        |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|text| text.trim().to_owned());
    let forbidding = [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ]
    .into_iter()
    .find(|(name, value)| setting(name).as_deref() == Some(*value));
    match forbidding {
        Some(_) if nix::unistd::Uid::effective().is_root() => {
            Finding::ok(ID, "root needs no user namespaces")
        }
        None => Finding::ok(ID, "no setting forbids user namespaces"),
        Some((name, value)) => Finding::warning(
            ID,
            format!(
                "{} is {value}: under `sonde run` a program finds the shim behind /proc/self/exe, and the embedded store \
                 cannot be mounted",
                name.replace('/', ".")
            ),
            "install the shim, so that programs are started without `sonde run`; or change the setting",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn yama_is_in_the_way_from_level_2_on_and_not_of_the_privileged() {
        let level = |scope, privileged| judge_yama("x", scope, privileged).level;
        assert_eq!([level(None, false), level(Some(0), false), level(Some(1), false)], [Level::Ok; 3]);
        assert_eq!([level(Some(2), false), level(Some(3), true)], [Level::Error; 2]);
        assert_eq!(level(Some(2), true), Level::Ok);
    }
}
