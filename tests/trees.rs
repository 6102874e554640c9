//! Trees of processes and threads that are awkward to supervise, under every engine: crowds, exec in a thread, stops,
//! terminals, core dumps.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sonde_world::RootBuilder;

use crate::harness::{EVERY_ENGINE, Engine, Outcome, Who, fixture, run};

const HELLO: &str = "/opt/programs/hello/usr/bin/hello";
const LIBRARIES: [&str; 4] = ["libpng16.so.16", "libsqlite3.so.0", "libexpat.so.1", "libxml2.so.2"];

fn root(engine: Engine, who: Who) -> RootBuilder {
    fixture().under(engine, fixture().root(who))
}

/// Runs a guest as alice.
fn guest(engine: Engine, name: &str, arguments: &[&str]) -> Outcome {
    run(root(engine, Who::Alice).command(fixture().guest(name)).args(arguments))
}

#[test]
fn two_hundred_processes_with_twenty_opens_each_are_served_at_once() {
    for engine in EVERY_ENGINE {
        let arguments = [&["processes", "200", "20"][..], &LIBRARIES].concat();
        let outcome = guest(engine, "crowd", &arguments);
        assert_eq!(outcome.stdout, "opened 4000, strangers 0\n", "{engine:?}: {outcome}");
    }
}

#[test]
fn a_bomb_of_five_hundred_processes_is_served() {
    for engine in EVERY_ENGINE {
        let outcome = guest(engine, "crowd", &["bomb", "500", "1", "libexpat.so.1"]);
        assert_eq!(outcome.stdout, "opened 500, strangers 0\n", "{engine:?}: {outcome}");
    }
}

#[test]
fn a_hundred_threads_open_at_once() {
    for engine in EVERY_ENGINE {
        let (_state, cold) = fixture().cold(Who::Alice);
        let many: Vec<&str> = LIBRARIES.iter().copied().cycle().take(100).collect();
        let root = fixture().under(engine, cold);
        let outcome = run(root.command(fixture().guest("load")).arg("threads").args(&many));
        assert!(outcome.succeeded(), "{engine:?}: {outcome}");
        assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 100, "{engine:?}: {outcome}");
    }
}

#[test]
fn a_thread_that_is_not_the_first_executes_a_program() {
    for engine in EVERY_ENGINE {
        let program = fixture().guest("load");
        for _ in 0..5 {
            let outcome = guest(engine, "exec_in_thread", &[&program, "here", "libpng16.so.16"]);
            assert!(outcome.stdout.starts_with("libpng16.so.16: map /nix/store/"), "{engine:?}: {outcome}");
            assert!(outcome.succeeded(), "{engine:?}: {outcome}");
        }
    }
}

#[test]
fn children_start_and_fail_to_start_as_natively_and_nobody_meets_strangers() {
    for engine in EVERY_ENGINE {
        for way in ["fork", "vfork", "posix_spawn"] {
            for program in [HELLO, "/no/such/program", "/bin/sh"] {
                let native =
                    run(fixture().native(Who::Alice).command(fixture().guest("spawn")).args([way, program]));
                let outcome = guest(engine, "spawn", &[way, program]);
                assert_eq!(native.stdout, outcome.stdout, "{way} of {program} under {engine:?}: {outcome}");
                assert!(
                    outcome.stdout.ends_with("others: -1 No child processes\n") || way == "posix_spawn",
                    "{outcome}"
                );
            }
        }
    }
}

#[test]
fn a_process_that_has_closed_everything_is_served_and_so_is_what_it_executes() {
    for engine in EVERY_ENGINE {
        let outcome = guest(engine, "close_all", &["libexpat.so.1", HELLO]);
        assert_eq!(outcome.stdout, "opened\nHello, world!\n", "{engine:?}: {outcome}");
    }
}

#[test]
fn a_filter_is_no_filter_of_the_programs() {
    // Programs that filter themselves: an answer of ours must not run into a filter of theirs, nor the other way round.
    for engine in EVERY_ENGINE {
        let wrapper = fixture().compile("without_seccomp", "without_seccomp", &["-static"]);
        let outcome = guest(engine, "spawn", &["fork", &wrapper, HELLO]);
        assert!(
            outcome.stdout.starts_with("Hello, world!\nchild ended: exit 0 signal 0\n"),
            "{engine:?}: {outcome}"
        );
    }
}

/// Starts `line` with pipes, and waits until it is up.
fn start_line(engine: Engine, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut command = root(engine, Who::Alice).command(fixture().guest("line"));
    // A process group of its own, since one that is orphaned is not stopped by SIGTSTP (setpgid(2)), and the tests' may be.
    command.process_group(0).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut up = String::new();
    stdout.read_line(&mut up).unwrap();
    assert_eq!(up, "up\n", "{engine:?}");
    (child, stdout)
}

#[test]
fn a_stop_stops_and_a_continue_continues() {
    for engine in EVERY_ENGINE {
        let (mut child, mut stdout) = start_line(engine, &["libexpat.so.1"]);
        let pid = Pid::from_raw(child.id().cast_signed());
        let changes = Some(WaitPidFlag::WUNTRACED | WaitPidFlag::WCONTINUED);
        for signal in [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGSTOP] {
            kill(pid, signal).unwrap();
            assert_eq!(waitpid(pid, changes), Ok(WaitStatus::Stopped(pid, signal)), "{engine:?}");
            assert_eq!(state_of(pid), if engine.traces() { 't' } else { 'T' }, "{engine:?}");
            kill(pid, Signal::SIGCONT).unwrap();
            assert_eq!(waitpid(pid, changes), Ok(WaitStatus::Continued(pid)), "{engine:?}");
        }
        child.stdin.take().unwrap().write_all(b"a line\n").unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "got a line\n", "{engine:?}");
        assert!(child.wait().unwrap().success(), "{engine:?}");
    }
}

/// `proc_pid_stat(5)`: stopped by a signal is `T`, and `t` if there is a tracer.
fn state_of(pid: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap()
}

#[test]
fn the_terminals_keys_do_what_they_do_natively() {
    let guest = fixture().guest("line");
    // With -m the shell gives each command a process group of its own, and notices when it stops.
    let script = format!("{guest} libexpat.so.1; echo was $?; fg; echo then $?; {guest}; echo not reached");
    for engine in EVERY_ENGINE {
        let root = root(engine, Who::Alice);
        let mut inner = root.command("/bin/sh");
        inner.args(["-m", "-c", &script]);
        let words: Vec<String> = std::iter::once(inner.get_program())
            .chain(inner.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")))
            .collect();
        // Whoever started us may have had us ignore the keys' signals (a shell's background), which is inherited.
        let mut terminal = Command::new("env");
        terminal.args([
            "--default-signal=INT,QUIT,TSTP",
            "script",
            "-q",
            "-e",
            "-E",
            "never",
            "-c",
            &words.join(" "),
            "/dev/null",
        ]);
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut seen = String::new();
        let mut wait_for = |text: &str| {
            let mut byte = [0];
            while !seen.ends_with(text) {
                assert_eq!(screen.read(&mut byte).unwrap(), 1, "{engine:?}: no {text:?} in {seen:?}");
                seen.push(char::from(byte[0]));
            }
        };
        wait_for("up\r\n");
        keys.write_all(b"\x1a").unwrap(); // Ctrl-Z
        wait_for("was 148\r\n");
        wait_for("\r\n"); // `fg` repeats the command
        keys.write_all(b"a line\n").unwrap();
        wait_for("got a line\r\n");
        wait_for("then 0\r\n");
        wait_for("up\r\n");
        keys.write_all(b"\x03").unwrap(); // Ctrl-C
        // Killed by SIGINT, it takes the shell with it, as it should (a shell ends as its interrupted command did).
        assert_eq!(child.wait().unwrap().code(), Some(130), "{engine:?}");
        let mut rest = String::new();
        screen.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("not reached"), "{engine:?}: {rest}");
    }
}

#[test]
fn a_core_is_dumped_as_natively() {
    let guest = fixture().guest("line");
    let script = format!("cd /tmp && ulimit -c unlimited && exec {guest} abort");
    let native = run(fixture().native(Who::Root).command("/bin/sh").args(["-c", &script]));
    for engine in EVERY_ENGINE {
        let outcome = run(root(engine, Who::Root).command("/bin/sh").args(["-c", &script]));
        assert_eq!(outcome.status.signal(), Some(Signal::SIGABRT as i32), "{engine:?}: {outcome}");
        assert_eq!(outcome.status.core_dumped(), native.status.core_dumped(), "{engine:?}");
    }
}

#[test]
fn the_death_of_a_whole_tree_leaves_nobody_waiting() {
    for engine in EVERY_ENGINE {
        let (mut child, _stdout) = start_line(engine, &[]);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32), "{engine:?}");
    }
}
