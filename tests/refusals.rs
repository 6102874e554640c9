//! What is not run, or lacks something, is said in one line; what is none of our business is left to the kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{EVERYBODY, Outcome, SONDE, Who, fixture, run};

fn sonde_run(program: &str, arguments: &[&str]) -> Outcome {
    run(fixture().without_shim(Who::Alice).command(SONDE).args(["run", program]).args(arguments))
}

/// A file that is visible inside the root; returns its path there.
fn file(name: &str, content: &[u8], mode: u32) -> String {
    let path = fixture().guests().join(name);
    let _ = fs::remove_file(&path);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    format!("/guests/{name}")
}

#[track_caller]
fn assert_one_line(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code(), Some(code), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    assert!(outcome.stderr.starts_with("sonde: "), "{outcome}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no {word:?}: {outcome}");
    }
}

#[test]
fn a_missing_soname_ends_in_the_loaders_message_and_one_line_of_ours() {
    let guest = fixture().guest_that_needs("libnothere.so.9");
    for who in EVERYBODY {
        for (root, before) in [(fixture().root(who), &[][..]), (fixture().without_shim(who), &[SONDE, "run"])]
        {
            let words: Vec<&str> = before.iter().copied().chain([guest.as_str(), "exit", "0"]).collect();
            let outcome = run(root.command(words[0]).args(&words[1..]));
            assert_eq!(outcome.code(), Some(127), "{outcome}");
            let lines: Vec<&str> = outcome.stderr.lines().collect();
            assert_eq!(lines.len(), 2, "{outcome}");
            assert!(
                lines[0].starts_with("sonde: libnothere.so.9, needed by /guests/needs-libnothere.so.9"),
                "{outcome}"
            );
            assert!(lines[1].contains("error while loading shared libraries: libnothere.so.9"), "{outcome}");
        }
    }
}

#[test]
fn a_driver_that_the_host_does_not_have_is_explained() {
    let guest = fixture().guest_that_needs("libcuda.so.1");
    let outcome = run(fixture().root(Who::Alice).command(&guest).args(["exit", "0"]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("is not provided by packages: part of the NVIDIA driver"), "{outcome}");
}

#[test]
fn a_package_without_the_version_that_is_needed_is_no_candidate() {
    let guest = fixture().guest_that_needs_version("libpng16.so.16", "NO_PNG_HAS_THIS_1.0");
    for who in EVERYBODY {
        let outcome = run(&mut fixture().root(who).command(&guest));
        assert_eq!(outcome.code(), Some(127), "{outcome}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{outcome}");
        assert!(lines[0].starts_with("sonde: libpng16.so.16, needed by /guests/"), "{outcome}");
        assert!(lines[0].contains("in none with NO_PNG_HAS_THIS_1.0"), "{outcome}");
        assert!(lines[1].contains("error while loading shared libraries: libpng16.so.16"), "{outcome}");
    }
}

#[test]
fn a_truncated_program_is_left_to_the_kernel() {
    let whole = fs::read(fixture().world.program_dir("curl").join("usr/bin/curl")).unwrap();
    // Of nothing, execvp(3) makes an empty shell script, and so does every shell.
    for length in [4, 63, 64, 200, 4096] {
        let path = file(&format!("cut-{length}"), &whole[..length], 0o755);
        let outcome = sonde_run(&path, &["--version"]);
        assert!(!outcome.succeeded(), "{length} bytes ran: {outcome}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        let native = run(fixture().root(Who::Alice).command(&path).arg("--version"));
        assert!(!native.succeeded(), "{length} bytes ran: {native}");
        assert!(!native.stderr.contains("holds impossible"), "{native}");
    }
}

#[test]
fn a_folder_a_missing_and_an_unexecutable_file_are_named() {
    assert_one_line(&sonde_run("/tmp", &[]), 126, &["/tmp", "folder"]);
    assert_one_line(&sonde_run("/no/such/program", &[]), 127, &["/no/such/program", "No such file"]);
    assert_one_line(&sonde_run("no-such-command", &[]), 127, &["no-such-command", "PATH"]);
    let plain = file("not-executable", b"#!/bin/sh\n", 0o644);
    assert_one_line(&sonde_run(&plain, &[]), 126, &["chmod"]);
    let fifo = fixture().guests().join("fifo");
    let _ = nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o777));
    assert_one_line(&sonde_run("/guests/fifo", &[]), 126, &["not a regular file"]);
}

#[test]
fn a_script_runs_under_its_interpreter() {
    let path = file("script", b"#!/bin/sh\necho $0 $1; exit 3\n", 0o755);
    let outcome = sonde_run(&path, &["x"]);
    assert_eq!(outcome.stdout, "/guests/script x\n", "{outcome}");
    assert_eq!(outcome.code(), Some(3));

    let foreign = "#!/opt/programs/python3/usr/bin/python3.11 -S\nimport sys; print(sys.argv)\n";
    let path = file("script.py", foreign.as_bytes(), 0o755);
    let python = fixture().world.program("python3").unwrap();
    let mut root = fixture().without_shim(Who::Alice);
    for (name, value) in &python.env {
        root = root.env(name, value);
    }
    let outcome = run(root.command(SONDE).args(["run", &path, "x"]));
    assert_eq!(outcome.stdout, "['/guests/script.py', 'x']\n", "{outcome}");
}

#[test]
fn a_static_program_runs_untouched() {
    let path = fixture().compile("end", "static_end", &["-static"]);
    assert_eq!(sonde_run(&path, &["exit", "9"]).code(), Some(9));
}

#[test]
fn a_32_bit_program_runs_untouched_or_is_refused_in_one_line() {
    // `mov eax, 1; mov ebx, 42; int 0x80`: exit(42), by the kernel's i386 interface.
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
    let static_program = elf32(&code, None);
    let outcome = sonde_run(&file("static32", &static_program, 0o755), &[]);
    assert_eq!(outcome.code(), Some(42), "{outcome}");
    let dynamic = elf32(&code, Some(b"/lib/ld-linux.so.2\0"));
    let outcome = sonde_run(&file("dynamic32", &dynamic, 0o755), &[]);
    assert_one_line(&outcome, 127, &["/guests/dynamic32", "interpreter"]);
}

#[test]
fn a_program_that_may_be_executed_but_not_read_is_left_to_the_kernel() {
    let path = file("unreadable", &fs::read("/bin/true").unwrap(), 0o711);
    // It has no shim to be left to, so it cannot run; but that is the kernel's word.
    let outcome = sonde_run(&path, &[]);
    assert_one_line(&outcome, 127, &["/guests/unreadable", "interpreter"]);
}

#[test]
fn an_unreadable_program_says_what_is_wrong() {
    let _ = fixture().guest("end");
    let path = file("unreadable-foreign", &fs::read(fixture().guests().join("end")).unwrap(), 0o711);
    let outcome = run(fixture().root(Who::Alice).command(&path).args(["exit", "0"]));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("Permission denied"), "{outcome}");
}

#[test]
fn a_setuid_program_keeps_its_privilege() {
    let path = fixture().compile("ids", "setuid_ids", &["-static"]);
    let host = fixture().guests().join("setuid_ids");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o4755)).unwrap();
    let outcome = sonde_run(&path, &[]);
    assert_eq!(outcome.stdout, "1000 0\n", "{outcome}");
}

#[test]
fn a_setuid_foreign_program_believes_nothing_of_its_user() {
    let path = fixture().compile("ids", "setuid_foreign", &[]);
    let host = fixture().guests().join("setuid_foreign");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o4755)).unwrap();
    // What its user would have it run under, and be served by, is not even looked at: it needs the compiled-in loader.
    let root = fixture().root(Who::Alice).env("NIX_LD", "/guests/end").env("SONDE_SUPERVISOR", "/guests/end");
    let outcome = run(&mut root.command(&path));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    assert!(
        outcome.stderr.contains("no loader at /run/current-system/sw/share/nix-ld/lib/ld.so"),
        "{outcome}"
    );
    // For root, whom it gives nothing, it is a program like any other.
    let outcome = run(&mut fixture().root(Who::Root).command(&path));
    assert_eq!(outcome.stdout, "0 0\n", "{outcome}");
}

#[test]
fn without_an_index_the_remedy_is_said() {
    let root = fixture().root(Who::Alice).env("XDG_CACHE_HOME", "/tmp/no-cache-here");
    let outcome = run(&mut root.command("/opt/programs/hello/usr/bin/hello"));
    assert_eq!(outcome.code(), Some(127), "{outcome}");
    assert!(outcome.stderr.contains("sonde index import FILE"), "{outcome}");
}

/// A 32-bit ELF file that holds `code`, and names an interpreter if it is given one.
fn elf32(code: &[u8], interpreter: Option<&[u8]>) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let count: u16 = if interpreter.is_some() { 2 } else { 1 };
    let code_at = 52 + 32 * u32::from(count);
    let interpreter_at = code_at + code.len() as u32;
    let length = interpreter_at + interpreter.map_or(0, |path| path.len() as u32);
    let mut bytes = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2_u16, 3] {
        bytes.extend(half.to_le_bytes()); // ET_EXEC, EM_386
    }
    for word in [1, BASE + code_at, 52, 0, 0] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for half in [52, 32, count, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    let mut header = |kind: u32, offset: u32, size: u32, flags: u32| {
        for word in [kind, offset, BASE + offset, BASE + offset, size, size, flags, 0x1000] {
            bytes.extend(word.to_le_bytes());
        }
    };
    if let Some(path) = interpreter {
        header(3, interpreter_at, path.len() as u32, 4);
    }
    header(1, 0, length, 5);
    bytes.extend(code);
    bytes.extend(interpreter.unwrap_or_default());
    bytes
}
