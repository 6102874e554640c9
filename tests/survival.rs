//! Killed supervisors: programs go on, no open is lost, and nobody but the killed one is missed.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sonde_world::{Program, RootBuilder};

use crate::harness::{Conversation, EVERY_ENGINE, EVERYBODY, SONDE, Who, fixture, proves, run};
use crate::supervisors::{Supervisors, kill, parent, the_worker_of};

fn start(program: &Program, mut root: RootBuilder) -> Child {
    for (name, value) in &program.env {
        root = root.env(name, value);
    }
    let mut command = root.command(&program.executable);
    command.args(&program.args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Moments between 0 and 255 ms, the same in each run of the tests.
fn moments(count: usize) -> impl Iterator<Item = Duration> {
    let mut state = 0x2545_f491_u32;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_millis(u64::from(state >> 24))
    })
    .take(count)
}

#[test]
fn a_worker_that_is_killed_at_any_moment_is_not_missed() {
    let root = fixture().with_trees(fixture().root(Who::Alice));
    let mut killed = 0;
    for name in ["ffmpeg", "numpy"] {
        let program = fixture().world.program(name).unwrap();
        for moment in moments(25) {
            let child = start(program, root.clone());
            thread::sleep(moment);
            killed += kill(&Supervisors::beside(child.id()).workers);
            let output = child.wait_with_output().unwrap();
            let (stdout, stderr) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(
                proves(program, &stdout),
                "{name}, killed after {moment:?}: {}\n{stdout}\n{stderr}",
                output.status
            );
        }
    }
    assert!(killed > 20, "only {killed} workers were met alive");
}

#[test]
fn an_open_that_waits_for_its_package_outlives_the_worker() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let mut guest = Conversation::with(root.command(fixture().guest("load")).arg("asked"));
        assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
        for library in ["libsqlite3.so.0", "libexpat.so.1", "libxml2.so.2"] {
            let worker = the_worker_of(guest.pid());
            guest.say(library);
            thread::sleep(Duration::from_millis(10));
            assert_eq!(kill(&[worker]), 1);
            let answer = guest.hear();
            assert!(answer.contains(": map /nix/store/"), "{answer}");
        }
    }
}

#[test]
fn a_worker_that_finds_no_index_lets_its_inheritance_through() {
    let (_state, root) = fixture().cold(Who::Root);
    let mut guest = Conversation::with(root.command(fixture().guest("load")).arg("asked"));
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
    assert!(run(root.command("/bin/sh").args(["-c", "rm -r ~/.cache/sonde/index"])).succeeded());
    assert_eq!(kill(&[the_worker_of(guest.pid())]), 1);
    let answer = guest.ask("libsqlite3.so.0");
    assert!(answer.contains("cannot open shared object file: No such file or directory"), "{answer}");
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"), "what is there stays");
}

#[test]
fn a_keeper_that_is_killed_is_not_missed_either() {
    let root = fixture().with_trees(fixture().root(Who::Alice));
    let mut guest = Conversation::with(root.command(fixture().guest("load")).arg("asked"));
    assert!(guest.ask("libpng16.so.16").contains(": map /nix/store/"));
    assert_eq!(kill(&Supervisors::beside(guest.pid()).keepers), 1);
    assert!(guest.ask("libsqlite3.so.0").contains(": map /nix/store/"));
}

#[test]
fn without_any_supervisor_the_next_program_finds_a_new_one() {
    let root = fixture().with_trees(fixture().root(Who::Alice));
    let python = fixture().world.program("python3").unwrap();
    let mut builder = root;
    for (name, value) in &python.env {
        builder = builder.env(name, value);
    }
    let script = "import subprocess, sys\nfor line in sys.stdin:\n  \
                  print(subprocess.run(line.split(), capture_output=True, text=True).stdout.split('\\n')[0], flush=True)";
    let mut guest = Conversation::with(builder.command(&python.executable).args(["-B", "-c", script]));
    let curl = "/opt/programs/curl/usr/bin/curl --version";
    assert!(guest.ask(curl).starts_with("curl 7."));
    let Supervisors { keepers, workers } = Supervisors::beside(guest.pid());
    kill(&keepers);
    kill(&workers);
    assert!(guest.ask(curl).starts_with("curl 7."), "its shim has to start a supervisor");
    assert_ne!(Supervisors::beside(guest.pid()).workers, workers);
}

#[test]
fn programs_of_one_user_share_a_supervisor_which_leaves_when_nobody_is_left() {
    let root = fixture().with_trees(fixture().root(Who::Alice)).env("XDG_RUNTIME_DIR", "/tmp/neighbours");
    assert!(run(root.command("/bin/sh").args(["-c", "mkdir -m 700 /tmp/neighbours"])).succeeded());
    // One namespace for all of them: a shell that starts them.
    let mut shell =
        Conversation::with(root.command("/bin/sh").args(["-c", "while read c; do eval \"$c\"; done"]));
    let hello = "/opt/programs/hello/usr/bin/hello";
    for _ in 0..3 {
        assert_eq!(shell.ask(hello).trim(), "Hello, world!");
    }
    the_worker_of(shell.pid());
    // Where nixpkgs is matters to nobody for whom nothing is built. Who stays would keep a supervisor of its own.
    let asked = format!(
        "mkfifo /tmp/neighbours/names; exec 8<>/tmp/neighbours/names; \
         NIX_PATH=/elsewhere {} asked </tmp/neighbours/names 8<&- & echo libpng16.so.16 >&8",
        fixture().guest("load")
    );
    assert!(shell.ask(&asked).contains(": map /nix/store/"));
    the_worker_of(shell.pid());
    assert_eq!(shell.ask("exec 8>&-; wait; rm /tmp/neighbours/names; echo gone").trim(), "gone");
    // Whose environment says something else has a supervisor of their own.
    assert_eq!(shell.ask(&format!("XDG_CACHE_HOME=/tmp/else {hello} || echo alone")).trim(), "alone");
    assert_eq!(shell.ask(hello).trim(), "Hello, world!");
    let started = Instant::now();
    while !Supervisors::beside(shell.pid()).keepers.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(100), "{:?}", Supervisors::beside(shell.pid()));
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(shell.ask("ls /tmp/neighbours/sonde").trim(), "lock");
    assert_eq!(shell.ask(hello).trim(), "Hello, world!");
}

#[test]
fn without_the_users_door_a_supervisor_ends_with_its_program() {
    for (who, engine) in EVERYBODY.into_iter().flat_map(|who| EVERY_ENGINE.map(|engine| (who, engine))) {
        let root = fixture().under(engine, fixture().root(who));
        // One namespace for both: a shell that starts them.
        let script = "unset XDG_RUNTIME_DIR; while read c; do eval \"$c\"; done";
        let mut shell = Conversation::with(root.command("/bin/sh").args(["-c", script]));
        for _ in 0..3 {
            let answer = shell.ask("/opt/programs/hello/usr/bin/hello");
            assert_eq!(answer.trim(), "Hello, world!", "{engine:?} as {who:?}");
        }
        let started = Instant::now();
        while !Supervisors::beside(shell.pid()).keepers.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(100), "{engine:?} as {who:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_folder_that_others_may_enter_is_no_door() {
    let root = fixture().root(Who::Alice);
    let script = "mkdir -p /tmp/open/sonde && chmod 755 /tmp/open/sonde && XDG_RUNTIME_DIR=/tmp/open \
                  /opt/programs/hello/usr/bin/hello && ls /tmp/open/sonde";
    let outcome = run(root.command("/bin/sh").args(["-c", script]));
    assert_eq!(outcome.stdout, "Hello, world!\n", "{outcome}");
}

/// A shell in whose runtime folder something listens as a service manager does, and starts a supervisor when somebody
/// comes; the supervisor stays the shell's child.
fn shell_with_a_service(root: &RootBuilder, runtime: &str) -> Conversation {
    let activate = fixture().compile("activate", "activate", &["-static"]);
    let script = format!(
        "mkdir -m 700 {runtime} {runtime}/sonde; {activate} {runtime}/sonde/socket {SONDE} sonde supervise & \
         while read c; do eval \"$c\"; done"
    );
    let root = root.clone().env("XDG_RUNTIME_DIR", runtime);
    let mut shell = Conversation::with(root.command("/bin/sh").args(["-c", &script]));
    assert_eq!(shell.hear().trim(), "ready");
    shell
}

#[test]
fn a_service_manager_may_hold_the_door() {
    const HELLO: &str = "/opt/programs/hello/usr/bin/hello";
    for who in EVERYBODY {
        let runtime = format!("/tmp/service-{who:?}");
        let root = fixture().root(who);
        assert_eq!(run(&mut root.command(HELLO)).stdout, "Hello, world!\n"); // its loader is there
        let mut shell = shell_with_a_service(&root, &runtime);
        // Nobody was started yet; a supervisor of a program's own does not take the place.
        assert_eq!(shell.ask(&format!("{SONDE} run --offline {HELLO}")).trim(), "Hello, world!");
        for _ in 0..3 {
            assert_eq!(shell.ask(HELLO).trim(), "Hello, world!");
        }
        let Supervisors { keepers, .. } = Supervisors::beside(shell.pid());
        let services = keepers.iter().filter(|keeper| parent(**keeper) == Some(shell.pid())).count();
        assert_eq!(services, 1, "{keepers:?}");
        assert_eq!(shell.ask(&format!("echo $(ls {runtime}/sonde)")).trim(), "lock socket");
        // When nobody is left it leaves, and the socket with the service manager.
        let started = Instant::now();
        while !Supervisors::beside(shell.pid()).keepers.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(100), "{:?}", Supervisors::beside(shell.pid()));
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(shell.ask(&format!("test -S {runtime}/sonde/socket && echo there")).trim(), "there");
    }
}

/// A shell beside a service manager, whose commands go to descriptor 4, and a guest that loads what it is told by
/// descriptor 5.
fn shell_with_a_manager(root: &RootBuilder, runtime: &str) -> Conversation {
    let manager = fixture().compile("manager", "manager", &["-static"]);
    let load = fixture().guest("load");
    let script = format!(
        "mkdir -m 700 {runtime} {runtime}/sonde; mkfifo {runtime}/commands {runtime}/names; \
         {manager} {runtime}/sonde/socket {SONDE} sonde supervise <{runtime}/commands & exec 4>{runtime}/commands; \
         read start; {load} asked <{runtime}/names 4>&- & exec 5>{runtime}/names; \
         while read c; do eval \"$c\"; done"
    );
    let root = root.clone().env("XDG_RUNTIME_DIR", runtime);
    let mut shell = Conversation::with(root.command("/bin/sh").args(["-c", &script]));
    assert_eq!(shell.hear().trim(), "ready");
    shell.say("start");
    shell
}

/// A service manager that holds the keeper's descriptors (`FileDescriptorStoreMax=`) makes up for the keeper's end.
#[test]
fn what_a_service_manager_holds_outlives_keeper_and_worker() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let root = fixture().with_trees(root);
        let mut shell = shell_with_a_manager(&root, "/tmp/managed");
        assert!(shell.ask("echo libpng16.so.16 >&5").contains(": map /nix/store/"));
        // Listener, ledger and record.
        shell.ask_until("echo held >&4", "3 held");
        let mut keepers = Supervisors::beside(shell.pid()).keepers;
        assert_eq!(keepers.len(), 1);
        let rounds =
            [("restart", "libsqlite3.so.0", "libexpat.so.1"), ("crash", "libxml2.so.2", "libcurl.so.4")];
        for (end, idle, library) in rounds {
            // While nothing waits, and while an open waits for its package.
            assert_eq!(shell.ask(&format!("echo {end} >&4")).trim(), "started", "{who:?}");
            let answer = shell.ask(&format!("echo {idle} >&5"));
            assert!(answer.contains(": map /nix/store/"), "{who:?}, {end}: {answer}");
            shell.say(&format!("echo {library} >&5; echo {end} >&4"));
            let (one, other) = (shell.hear(), shell.hear());
            let answer = if one.trim() == "started" { other } else { one };
            assert!(answer.contains(": map /nix/store/"), "{who:?}, {end}: {answer}");
            let now = Supervisors::beside(shell.pid()).keepers;
            assert!(now.len() == 1 && now != keepers, "{now:?}");
            keepers = now;
        }
        // Others find the same door, and nothing is held that is of no use.
        assert_eq!(shell.ask("/opt/programs/hello/usr/bin/hello").trim(), "Hello, world!");
        assert_eq!(Supervisors::beside(shell.pid()).keepers, keepers);
        shell.ask_until("echo held >&4", "3 held");
        shell.say("exec 5>&-");
        shell.ask_until("echo held >&4", "0 held");
    }
}

/// A tree that ended while nobody was there leaves nothing behind.
#[test]
fn what_is_held_of_a_tree_that_has_ended_is_let_go() {
    let root = fixture().with_trees(fixture().root(Who::Alice));
    let mut shell = shell_with_a_manager(&root, "/tmp/managed");
    assert!(shell.ask("echo libpng16.so.16 >&5").contains(": map /nix/store/"));
    shell.ask_until("echo held >&4", "3 held");
    let Supervisors { keepers, workers } = Supervisors::beside(shell.pid());
    kill(&keepers);
    kill(&workers);
    shell.say("exec 5>&-");
    // The manager lets go of the listener, and the next supervisor of the rest.
    shell.ask_until("echo held >&4", "2 held");
    assert_eq!(shell.ask("/opt/programs/hello/usr/bin/hello").trim(), "Hello, world!");
    shell.ask_until("echo held >&4", "0 held");
}

#[test]
fn what_is_passed_and_is_no_door_is_refused() {
    let root = fixture().root(Who::Alice);
    let cases = [
        ("1", "0</dev/null 3</dev/null", "sonde: "),
        ("2", "3</dev/null 4</dev/null", "sonde: 2 sockets were passed"),
    ];
    for (count, files, words) in cases {
        let script = format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec {SONDE} supervise {files}");
        let outcome = run(root.command("/bin/sh").args(["-c", &script]));
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stderr.starts_with(words) && outcome.stderr.lines().count() == 1, "{outcome}");
    }
    // Another process's variables are none of ours.
    let script = format!("LISTEN_PID=1 LISTEN_FDS=1 {SONDE} supervise 3<&-");
    let outcome = run(root.command("/bin/sh").args(["-c", &script]));
    assert!(outcome.stderr.contains("is started by the shim"), "{outcome}");
}

#[test]
fn seeds_outlive_the_worker() {
    let folder = fixture().guests().join("seeds/survivor");
    fs::create_dir_all(&folder).unwrap();
    for soname in ["libfirst.so.1", "libsecond.so.1"] {
        fixture().library(&folder.join(soname), soname);
    }
    let root = fixture().root(Who::Alice).env("NIX_LD_LIBRARY_PATH", "/guests/seeds/survivor");
    let mut guest = Conversation::with(root.command(fixture().guest("load")).arg("asked"));
    assert!(guest.ask("libfirst.so.1").contains(": map /guests/seeds/survivor/"));
    assert_eq!(kill(&[the_worker_of(guest.pid())]), 1);
    let answer = guest.ask("libsecond.so.1");
    assert!(answer.contains(": map /guests/seeds/survivor/"), "{answer}");
}
