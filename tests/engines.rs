//! Which engine is taken, and why; and that what holds under one holds under the others.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::harness::{EVERY_ENGINE, EVERYBODY, Engine, Outcome, SONDE, TREE_ENGINES, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";
const LIBRARIES: [&str; 4] = ["libpng16.so.16", "libsqlite3.so.0", "libexpat.so.1", "libxml2.so.2"];

#[test]
fn trace_says_which_engine_runs() {
    for engine in EVERY_ENGINE {
        let root = fixture().under(engine, fixture().without_shim(Who::Alice));
        let outcome = run(root.command(SONDE).args(["trace", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{engine:?}: {outcome}");
        assert!(outcome.stderr.starts_with(engine.name()), "{engine:?}: {outcome}");
    }
}

#[test]
fn libraries_are_provided_whatever_the_engine() {
    for engine in EVERY_ENGINE {
        for who in EVERYBODY {
            let (_state, root) = fixture().cold(who);
            let root = fixture().under(engine, root);
            let usual = "/usr/lib/x86_64-linux-gnu/libgmp.so.10";
            for (way, count) in [("here", 5), ("fork", 5), ("threads", 25), ("alarms", 5)] {
                let all: Vec<&str> = LIBRARIES.iter().copied().chain([usual]).cycle().take(count).collect();
                let outcome = run(root.command(fixture().guest("load")).arg(way).args(&all));
                assert!(outcome.succeeded(), "{way} under {engine:?} as {who:?}: {outcome}");
                let found = outcome.stdout.matches(": map /nix/store/").count();
                let redirected = outcome.stdout.matches(&format!("{usual}: map {usual} ")).count();
                assert_eq!(found + redirected, count, "{way} under {engine:?} as {who:?}: {outcome}");
            }
        }
    }
}

/// The kernel allows one listener for a process and its ancestors (seccomp(2)).
fn under_another_listener() -> String {
    fixture().compile("own_listener", "own_listener", &["-static"])
}

#[test]
fn where_somebody_else_has_the_listener_the_program_is_traced() {
    let guest = under_another_listener();
    for who in EVERYBODY {
        let root = fixture().under(Engine::Auto, fixture().root(who));
        let outcome = run(root.command(&guest).args([CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7.") && outcome.stderr.is_empty(), "{who:?}: {outcome}");
        let outcome = run(root.command(&guest).args([SONDE, "trace", CURL, "--version"]));
        let first = "engine ptrace: the kernel refused a filter with a listener (Device or resource busy";
        assert!(outcome.stderr.starts_with(first), "{who:?}: {outcome}");
    }
}

#[test]
fn where_seccomp_is_forbidden_every_call_is_traced() {
    let guest = fixture().compile("without_seccomp", "without_seccomp", &["-static"]);
    for who in EVERYBODY {
        let root = fixture().under(Engine::Auto, fixture().root(who));
        let outcome = run(root.command(&guest).args([SONDE, "trace", CURL, "--version"]));
        assert!(outcome.stdout.starts_with("curl 7."), "{who:?}: {outcome}");
        let first = "engine ptrace, at every system call: the kernel does not offer user notification here\n";
        assert!(outcome.stderr.starts_with(first), "{who:?}: {outcome}");
    }
}

#[test]
fn a_filter_that_is_refused_is_named_if_nothing_else_may_be_tried() {
    let guest = under_another_listener();
    let root = fixture().under(Engine::Seccomp, fixture().root(Who::Alice));
    let outcome = run(root.command(guest).args([CURL, "--version"]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{outcome}");
    assert!(
        lines[0].starts_with("sonde: the kernel refused the filter (Device or resource busy)"),
        "{outcome}"
    );
    assert!(lines[1].contains("error while loading shared libraries"), "{outcome}");
}

#[test]
fn the_command_line_comes_before_the_configuration() {
    let root = fixture().under(Engine::Seccomp, fixture().without_shim(Who::Alice));
    for (word, name) in [("ptrace", "engine ptrace: asked for\n"), ("seccomp", "engine seccomp: asked for\n")]
    {
        let outcome = run(root.command(SONDE).args(["trace", "--engine", word, CURL, "--version"]));
        assert!(outcome.stderr.starts_with(name), "{outcome}");
    }
    let outcome = run(root.command(SONDE).args(["run", "--engine", "ptrace", CURL, "--version"]));
    assert!(outcome.stdout.starts_with("curl 7.") && outcome.stderr.is_empty(), "{outcome}");
    let outcome = run(root.command(SONDE).args(["run", "--engine", "diesel", CURL]));
    assert_eq!(outcome.code(), Some(2), "{outcome}");
}

#[test]
fn without_no_new_privs_a_setuid_child_has_its_privilege() {
    let ids = fixture().compile("ids", "setuid_child", &["-static"]);
    let host = fixture().guests().join("setuid_child");
    std::fs::set_permissions(&host, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let expectations =
        [(Engine::Seccomp, "1000 1000\n"), (Engine::PtraceAll, "1000 0\n"), (Engine::Inline, "1000 0\n")];
    for (engine, expected) in expectations {
        for way in ["fork", "vfork", "posix_spawn"] {
            let root = fixture().under(engine, fixture().root(Who::Alice));
            let outcome = run(root.command(fixture().guest("spawn")).args([way, &ids]));
            assert!(outcome.stdout.starts_with(expected), "{way} under {engine:?}: {outcome}");
            assert!(
                outcome.stdout.contains("child ended: exit 0 signal 0\n"),
                "{way} under {engine:?}: {outcome}"
            );
        }
    }
}

/// Runs a command under a debugger of this machine; says so and returns nothing where that is not installed.
fn under_a_debugger(debugger: &[&str], command: &Command) -> Option<Outcome> {
    if Command::new(debugger[0]).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED 1 check: {} is not installed", debugger[0]);
        return None;
    }
    let mut outer = Command::new(debugger[0]);
    Some(run(outer.args(&debugger[1..]).arg(command.get_program()).args(command.get_args())))
}

#[test]
fn a_program_that_a_debugger_has_runs_under_the_other_engine() {
    let debuggers: [&[&str]; 2] = [
        &["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat"],
        &["gdb", "-nx", "-batch", "-ex", "set startup-with-shell off", "-ex", "run", "--args"],
    ];
    for debugger in debuggers {
        for who in EVERYBODY {
            for engine in [Engine::Seccomp, Engine::Inline] {
                let root = fixture().under(engine, fixture().root(who));
                let mut command = root.command(CURL);
                let Some(outcome) = under_a_debugger(debugger, command.arg("--version")) else { continue };
                assert!(outcome.stdout.contains("curl 7."), "{debugger:?}, {engine:?} as {who:?}: {outcome}");
            }
            let root = fixture().under(Engine::Auto, fixture().root(who));

            // What the debugger has not looked at yet, `sonde trace` waits for.
            let mut command = root.command(SONDE);
            let Some(outcome) = under_a_debugger(debugger, command.args(["trace", CURL, "--version"])) else {
                continue;
            };
            assert!(outcome.stdout.contains("curl 7."), "{debugger:?} as {who:?}: {outcome}");

            // A process has one tracer: one line says so, and the program runs as it would without us.
            let root = fixture().under(Engine::Ptrace, fixture().root(who));
            let Some(outcome) = under_a_debugger(debugger, root.command(CURL).arg("--version")) else {
                continue;
            };
            let line =
                "sonde: this process may not be traced (Operation not permitted): a debugger may have it";
            assert!(outcome.stderr.contains(line), "{debugger:?} as {who:?}: {outcome}");
            assert!(
                outcome.stderr.contains("error while loading shared libraries"),
                "{debugger:?}: {outcome}"
            );
        }
    }
}

#[test]
fn a_program_may_be_attached_to_from_outside_or_not_and_lives() {
    for engine in EVERY_ENGINE {
        let root = fixture().under(engine, fixture().root(Who::Alice));
        let mut command = root.command(fixture().guest("line"));
        let mut child =
            command.arg("libexpat.so.1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
        // As strace -p does: on a thread of its own, which detaches by ending.
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        let seized =
            std::thread::spawn(move || nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty()));
        assert_eq!(seized.join().unwrap().is_ok(), !engine.traces(), "{engine:?}");
        child.stdin.take().unwrap().write_all(b"on\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "got on\n", "{engine:?}");
    }
}

/// Runs a script under the world's Python, as root.
fn python(engine: Engine, script: &str) -> Outcome {
    let python = fixture().world.program("python3").unwrap();
    let mut root = fixture().under(engine, fixture().root(Who::Root));
    for (name, value) in &python.env {
        root = root.env(name, value);
    }
    run(root.command(&python.executable).args(["-c", script]))
}

#[test]
fn a_process_that_has_changed_its_user_or_its_namespaces_is_served() {
    let open = "[ctypes.CDLL(name) for name in ('libpng16.so.16', 'libexpat.so.1', 'libsqlite3.so.0')]; print('opened')";
    let lib = "import os, ctypes; libc = ctypes.CDLL('libc.so.6')";
    let count = "before = len(os.listdir('/proc/self/fd'))";
    let same = "assert before == len(os.listdir('/proc/self/fd')), 'descriptors are left'";
    for engine in TREE_ENGINES {
        let outcome = python(engine, &format!("{lib}; os.setuid(1000); {count}; {open}; {same}"));
        assert_eq!(outcome.stdout, "opened\n", "{engine:?}: {outcome}");

        // CLONE_NEWPID, CLONE_NEWNS, CLONE_NEWNET: the child is process 1, and nobody's number means the same to it.
        let unshare = "assert libc.unshare(0x20000000 | 0x20000 | 0x40000000) == 0";
        let mount = "libc.mount(b'none', b'/', None, 0x44000, None); assert libc.mount(b'p', b'/proc', b'proc', 0, None) == 0";
        let script = format!("{lib}; {unshare}\nif os.fork() == 0:\n    {mount}; {open}\nelse: os.wait()");
        let outcome = python(engine, &script);
        assert_eq!(outcome.stdout, "opened\n", "{engine:?}: {outcome}");
    }
}

#[test]
fn signals_do_not_get_into_a_file_that_is_handed_over() {
    let script = "import os, ctypes, signal; os.setuid(1000); seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1)); signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for _ in range(50): assert ctypes.CDLL('libpng16.so.16')
dlclose = ctypes.CDLL(None).dlclose; dlclose.argtypes = [ctypes.c_void_p]
for _ in range(200): dlclose(ctypes.CDLL('libsqlite3.so.0')._handle)
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(seen) > 0, signal.pthread_sigmask(signal.SIG_BLOCK, []))";
    for engine in TREE_ENGINES {
        let outcome = python(engine, script);
        assert_eq!(outcome.stdout, "True set()\n", "{engine:?}: {outcome}");
    }
}
