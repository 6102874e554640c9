//! The embedded store as `/nix/store` of one program, and of nobody else: on a machine without Nix, where neither
//! libraries nor a loader are to be had from anywhere else.

use std::fs;

use sonde_world::RootBuilder;

use crate::harness::{EVERYBODY, Outcome, PLAIN_SONDE, PLAIN_STORE, SONDE, Who, fixture, proves, run};

const MOUNT: [&str; 3] = ["run", "--store-mode", "mount"];

/// Runs a shell script behind `sonde run --store-mode mount`.
fn mounted(root: &RootBuilder, script: &str) -> Outcome {
    run(root.command(PLAIN_SONDE).args(MOUNT).args(["/bin/sh", "-c", script]))
}

fn shell(root: &RootBuilder, script: &str) -> Outcome {
    run(root.command("/bin/sh").args(["-c", script]))
}

/// A package with a data file that no library redirect would reach.
fn package_with_data() -> (String, String) {
    let packages = fixture().world.packages().unwrap();
    let path = &packages.iter().find(|package| package.attr == "libmysofa").unwrap().store_path;
    (path.clone(), format!("{path}/share/libmysofa/default.sofa"))
}

#[test]
fn programs_run_with_libraries_that_only_the_mounted_store_has() {
    for who in EVERYBODY {
        for name in ["curl", "sqlite3"] {
            let program = fixture().world.program(name).unwrap();
            let root = fixture().plain(who);
            let before = run(root.command(&program.executable).args(&program.args));
            assert_eq!(before.code(), Some(127), "{name} needs no Sonde: {before}");
            for how in ["run", "trace"] {
                let mut command = root.command(PLAIN_SONDE);
                command.args([how, "--store-mode", "mount", &program.executable]).args(&program.args);
                let outcome = crate::harness::output::run_with(&mut command, &program.stdin);
                assert!(
                    outcome.succeeded() && proves(program, &outcome.stdout),
                    "{how} {name} as {who:?}: {outcome}"
                );
                assert_eq!(outcome.stderr.is_empty(), how == "run", "{outcome}");
            }
        }
    }
}

#[test]
fn a_program_cannot_tell_but_by_the_store() {
    for who in EVERYBODY {
        let guest = fixture().guest("identity");
        let prepared = |root: RootBuilder| {
            let root = root.env_clear().chdir("/tmp").env("PATH", "/opt/base/bin");
            root.env("XDG_CONFIG_HOME", "/guests/plain").env("XDG_DATA_HOME", "/home/store")
        };
        let words = [&*guest, "one", "", "th ree"];
        let native = run(prepared(fixture().native(who)).command(words[0]).args(&words[1..]));
        let outcome = run(prepared(fixture().plain(who)).command(PLAIN_SONDE).args(MOUNT).args(words));
        assert!(native.stdout.contains("exe: /guests/identity\n"), "{native}");
        assert_eq!(native.stdout, outcome.stdout, "as {who:?}: {outcome}");
        let parent = format!("pid {} parent {}\n", outcome.pid, std::process::id());
        assert_eq!(outcome.stderr, parent);
    }
}

#[test]
fn user_groups_folders_and_capabilities_stay() {
    // What the superuser may do stays, and nobody else gains anything.
    let script = "id -u; id -g; id -G; pwd; readlink /proc/self/cwd; echo $HOME; grep -E ^Cap /proc/self/status; \
                  stat -c '%u %g %a' /etc/passwd \"$HOME\"; touch /tmp/mine && stat -c '%u %g' /tmp/mine; \
                  ls -A / /opt; echo $PPID";
    for who in EVERYBODY {
        for folder in ["/tmp", "/", "/opt/programs/curl", "/proc/self"] {
            let root = fixture().plain(who).chdir(folder);
            // They belong to the superuser, whom a namespace of alice does not know.
            let nobody = |text: &str| match who {
                Who::Root => text.to_owned(),
                Who::Alice => text.replace("0 0 ", "65534 65534 "),
            };
            let (native, ours) = (shell(&root, script), mounted(&root, script));
            assert!(ours.succeeded(), "{ours}");
            let lines = ours.stdout.lines().filter(|line| *line != "nix").map(|line| format!("{line}\n"));
            if folder != "/proc/self" {
                assert_eq!(nobody(&native.stdout), lines.collect::<String>(), "{who:?} in {folder}");
            }
            assert_eq!(native.stdout.contains("CapEff:\t0000000000000000\n"), who == Who::Alice, "{native}");
        }
    }
}

#[test]
fn what_a_group_may_do_its_members_still_may() {
    let member = "setpriv --reuid 1000 --regid 100 --groups 100,27 env HOME=/home/alice";
    let script = format!(
        "mkdir -p -m 770 /tmp/shared && chown 0:27 /tmp/shared && exec {member} {PLAIN_SONDE} run --store-mode mount \
         /bin/sh -c 'touch /tmp/shared/file && id -G'"
    );
    // Alice's files, seen by somebody who can give her one more group. The group has no name in her namespace.
    let outcome = shell(&fixture().plain(Who::Alice).user(false).chdir("/tmp"), &script);
    assert_eq!(outcome.stdout, "100 65534\n", "{outcome}");
}

#[test]
fn a_working_directory_that_is_gone_cannot_be_taken_along() {
    for who in EVERYBODY {
        let script =
            "mkdir -p /tmp/gone && cd /tmp/gone && rmdir /tmp/gone && exec sonde run --store-mode mount true";
        let outcome = shell(&fixture().plain(who), script);
        assert_eq!(outcome.code(), Some(126), "{outcome}");
        assert!(outcome.stderr.contains("mounted: the working directory: No such file"), "{outcome}");
    }
}

#[test]
fn an_attempt_that_fails_halfway_has_no_effect() {
    // What is mounted over the working directory stands at its path: that is noticed when all else is done.
    let mount = fixture().compile("bind_mount", "bind_mount", &["-static"]);
    let before =
        format!("mkdir -p /tmp/over && cd /tmp/over && {mount} /opt /tmp/over && readlink /proc/self/ns/mnt");
    let root = fixture().plain(Who::Root).env("NIX_LD", "/opt/base/lib/ld-linux-x86-64.so.2");
    let tried = |mode: &str| {
        let after = format!(
            "sonde run --store-mode {mode} /bin/sh -c 'readlink /proc/self/ns/mnt; ls -A /proc/self/cwd'"
        );
        run(root.command("unshare").args(["--mount", "/bin/sh", "-c", &format!("{before} && {after}")]))
    };
    let insisting = tried("mount");
    assert_eq!(insisting.code(), Some(126), "{insisting}");
    assert!(insisting.stderr.contains("the working directory is not what is at its path"), "{insisting}");
    let outcome = tried("auto");
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let [outside, inside] = lines[..] else { panic!("{outcome}") };
    assert_eq!(outside, inside, "{outcome}");
}

#[test]
fn what_the_machine_has_mounted_is_there() {
    let points = |outcome: &Outcome| {
        assert!(outcome.succeeded(), "{outcome}");
        let point = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
        outcome.stdout.lines().map(point).collect::<Vec<_>>()
    };
    for who in EVERYBODY {
        let root = fixture().plain(who);
        let native = points(&shell(&root, "cat /proc/self/mountinfo"));
        assert!(
            native.contains(&"/opt/programs".to_owned()) && native.contains(&"/proc".to_owned()),
            "{native:?}"
        );
        let ours = points(&mounted(&root, "cat /proc/self/mountinfo"));
        for point in &native {
            assert!(ours.contains(point), "{point} is lost as {who:?}: {ours:?}");
        }
        assert!(ours.contains(&"/nix/store".to_owned()), "{ours:?}");
        assert!(!ours.iter().any(|point| point.contains("old-root")), "{ours:?}");
        // And nothing has happened to anybody else.
        assert_eq!(shell(&root, "ls -d /nix").code(), Some(2), "there is a /nix on the machine");
    }
}

#[test]
fn mounts_that_come_later_arrive() {
    let root = fixture().plain(Who::Root);
    let mount = fixture().compile("bind_mount", "bind_mount", &["-static"]);
    let program = format!("{PLAIN_SONDE} run --store-mode mount /bin/sh -c");
    let script = format!(
        "mkdir -p /tmp/late && exec unshare --mount --propagation shared /bin/sh -c '\
         {program} \"until mountpoint -q /tmp/late; do :; done; echo arrived\" & \
         until grep -q /nix/store /proc/$!/mountinfo; do :; done; {mount} /opt /tmp/late; wait'"
    );
    let outcome = shell(&root, &script);
    assert_eq!(outcome.stdout, "arrived\n", "{outcome}");
}

#[test]
fn data_files_of_packages_can_be_read_by_children_as_soon_as_they_are_fetched() {
    let (package, data) = package_with_data();
    for who in EVERYBODY {
        let root = fixture().plain(who);
        // `sonde` in the program's place fetches to where it always does, and what it says is true there too.
        let script = format!("{PLAIN_SONDE} store fetch {package} && stat -c %s {data} {PLAIN_STORE}{data}");
        let outcome = mounted(&root, &script);
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let [place, size, same] = lines[..] else { panic!("{outcome}") };
        assert_eq!((place, size), (&*format!("{PLAIN_STORE}{package}"), same), "as {who:?}: {outcome}");
        assert_ne!(size, "0");
        assert!(!shell(&root, &format!("cat {data}")).succeeded(), "it is on the machine");
    }
}

#[test]
fn an_empty_folder_is_mounted_on_and_what_stands_beside_it_stays() {
    let folder = tempfile::tempdir_in(fixture().guests()).unwrap();
    fs::write(folder.path().join("file"), "there\n").unwrap();
    let empty = tempfile::tempdir_in(fixture().guests()).unwrap();
    fs::create_dir(empty.path().join(".links")).unwrap();
    for who in EVERYBODY {
        let beside = fixture().plain(who).bind(folder.path(), "/nix/var");
        for root in [beside.clone(), beside.bind(empty.path(), "/nix/store")] {
            let outcome =
                mounted(&root, "cat /nix/var/file; mountpoint /nix/store; ls -d /nix/store/*-glibc-*");
            assert!(
                outcome.stdout.starts_with("there\n/nix/store is a mountpoint\n/nix/store/"),
                "{outcome}"
            );
        }
    }
}

#[test]
fn whoever_is_in_a_mounted_store_needs_no_second_mount() {
    for who in EVERYBODY {
        let root = fixture().plain(who);
        let inner = "grep -c ' /nix/store ' /proc/self/mountinfo; readlink /proc/self/ns/mnt";
        let script = format!(
            "readlink /proc/self/ns/mnt; {PLAIN_SONDE} run --store-mode mount /bin/sh -c \"{inner}\""
        );
        let outcome = mounted(&root, &script);
        let lines: Vec<_> = outcome.stdout.lines().collect();
        let [outer, count, inner] = lines[..] else { panic!("{outcome}") };
        assert_eq!((count, inner), ("1", outer), "as {who:?}: {outcome}");
    }
}

/// As [`mounted`], where no user namespace can be made and there is no capability to do without.
fn without_namespaces(mode: &str, words: &str) -> Outcome {
    let setpriv = "setpriv --bounding-set=-all --inh-caps=-all";
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec {setpriv} {PLAIN_SONDE} run --store-mode {mode} {words}"
    );
    let root = fixture().plain(Who::Alice);
    run(root.command("unshare").args(["--user", "--map-root-user", "--", "/bin/sh", "-c", &script]))
}

#[test]
fn where_namespaces_are_forbidden_whoever_insists_is_told() {
    let outcome = without_namespaces("mount", "true");
    assert_eq!(outcome.code(), Some(126), "{outcome}");
    assert!(outcome.stderr.contains("user namespaces are forbidden here: ENOSPC"), "{outcome}");
    assert!(outcome.stderr.ends_with("--store-mode auto or redirect\n"), "{outcome}");
}

#[test]
fn where_namespaces_are_forbidden_redirection_is_left() {
    let outcome = without_namespaces("auto", "/opt/programs/curl/usr/bin/curl --version");
    assert!(outcome.stdout.starts_with("curl 7."), "{outcome}");
}

#[test]
fn capabilities_are_not_given_up_for_a_mount() {
    // Root of a container: it may do much, but not mount.
    let root = fixture().plain(Who::Root);
    let words = ["--bounding-set=-sys_admin", PLAIN_SONDE, "run", "--store-mode", "mount", "true"];
    let outcome = run(root.command("setpriv").args(words));
    assert_eq!(outcome.code(), Some(126), "{outcome}");
    assert!(outcome.stderr.contains("mounting needs CAP_SYS_ADMIN"), "{outcome}");
}

/// The NixOS-like root, told to use the embedded store.
fn occupied(who: Who) -> RootBuilder {
    let folder = fixture().guests().join("occupied/sonde");
    let key = fixture().world.public_key().unwrap();
    let url = fixture().server.url();
    let text =
        format!("[store]\nkind = \"embedded\"\ncaches = [\"{url}\"]\ntrusted-public-keys = [\"{key}\"]\n");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), text).unwrap();
    fixture()
        .without_shim(who)
        .env("XDG_CONFIG_HOME", "/guests/occupied")
        .env("XDG_DATA_HOME", format!("/tmp/occupied-{who:?}"))
}

#[test]
fn a_nix_store_is_never_hidden() {
    for who in EVERYBODY {
        let curl = "/opt/programs/curl/usr/bin/curl";
        let outcome = run(occupied(who).command(SONDE).args(MOUNT).args([curl, "--version"]));
        assert_eq!((outcome.code(), &*outcome.stdout), (Some(126), ""), "{outcome}");
        assert!(
            outcome.stderr.starts_with("sonde: the store cannot be mounted: /nix/store is not empty"),
            "{outcome}"
        );
    }
}

#[test]
fn beside_a_nix_store_redirection_is_left() {
    for who in EVERYBODY {
        let words = ["run", "/opt/programs/curl/usr/bin/curl", "--version"];
        let outcome = run(occupied(who).command(SONDE).args(words));
        assert!(outcome.stdout.starts_with("curl 7."), "as {who:?}: {outcome}");
    }
}

#[test]
fn the_mode_is_asked_of_the_command_line_then_of_the_configuration() {
    let root = fixture().plain(Who::Alice);
    let folder = tempfile::tempdir_in(fixture().guests()).unwrap();
    let text = fs::read_to_string(fixture().guests().join("plain/sonde/config.toml")).unwrap();
    fs::create_dir(folder.path().join("sonde")).unwrap();
    fs::write(folder.path().join("sonde/config.toml"), format!("{text}mode = \"redirect\"\n")).unwrap();
    let inside = format!("/guests/{}", folder.path().file_name().unwrap().display());
    let root = root.env("XDG_CONFIG_HOME", inside);
    let moved = |options: &str| {
        let look = "readlink /proc/self/ns/mnt";
        // A program that nothing is provided to: it brings its libraries, and falls back to its own loader.
        let loader = "NIX_LD=/opt/base/lib/ld-linux-x86-64.so.2";
        let seen = shell(&root, &format!("{look}; {loader} {PLAIN_SONDE} run {options} /bin/sh -c '{look}'"));
        let seen: Vec<&str> = seen.stdout.lines().collect();
        assert_eq!(seen.len(), 2, "{seen:?}");
        seen[0] != seen[1]
    };
    assert!(!moved(""));
    assert!(!moved("--store-mode redirect"));
    assert!(moved("--store-mode mount"));
    assert!(moved("--store-mode auto"));
}
