//! System calls of the supervisor that fail: those of `sys/` and of what stands on it. strace injects the errors; nothing but
//! the supervisor is traced.

use std::fs;

use crate::harness::{Engine, Who, fixture, run};

/// Calls that supervising makes, how many of each the loader makes before `main`, and how the kernel can fail each when the
/// machine is short of something or a signal comes.
const CALLS: [(&str, u32, &[&str]); 25] = [
    ("accept4", 0, &["EMFILE", "ENOMEM", "EINTR"]),
    ("clone3", 0, &["EAGAIN", "ENOMEM"]),
    ("clone", 0, &["EAGAIN", "ENOMEM"]),
    ("close_range", 0, &["EMFILE", "ENOMEM"]),
    ("eventfd2", 0, &["EMFILE", "ENOMEM"]),
    ("fcntl", 3, &["EMFILE"]),
    ("flock", 0, &["EINTR", "ENOLCK"]),
    ("ftruncate", 0, &["EINTR", "ENOSPC"]),
    ("getsockopt", 0, &["ENOMEM"]),
    ("ioctl", 0, &["EINTR"]), // what else the listener's can fail of is the program's doing
    ("memfd_create", 0, &["EMFILE", "ENOMEM"]),
    ("openat", 15, &["EMFILE", "ENOMEM"]),
    ("openat2", 0, &["EMFILE", "ENOMEM", "EAGAIN"]),
    ("pidfd_open", 0, &["EMFILE", "ENOMEM"]),
    ("poll", 0, &["ENOMEM", "EINTR"]),
    ("prctl", 0, &["ENOMEM"]),
    ("prlimit64", 2, &["EPERM"]),
    ("process_vm_readv", 0, &["ENOMEM", "EFAULT"]),
    ("read", 9, &["EINTR"]),
    ("recvmsg", 0, &["EMFILE", "ENOMEM", "EINTR"]),
    ("sendmsg", 0, &["ENOBUFS", "ENOMEM", "EINTR"]),
    ("setsockopt", 0, &["ENOMEM"]),
    ("socketpair", 0, &["EMFILE", "ENOMEM"]),
    ("wait4", 0, &["EINTR"]),
    ("write", 0, &["EINTR", "ENOSPC"]),
];

/// Which of a call's times fail, as strace(1) has it, from `main` on: the first, the third, the fifth, and so on. `SONDE_TEST_FAULTS`, which
/// is a list with commas (`1,2,3,1+`), says otherwise. What fails at all times is no machine that is short of something; of
/// a call without which nothing can be received or let in, or that is made again, such a run has no end.
const TIMES: &str = "1+2";
const NEVER_FOR_EVER: [&str; 2] = ["accept4", "ioctl"];

/// Two of which there are, and one that nobody has.
const LIBRARIES: &str = "libpng16.so.16 libexpat.so.1 libnobody.so.7";

#[test]
fn calls_that_fail_cost_a_program_nothing_but_what_sonde_would_have_given() {
    let fixture = fixture();
    let (_state, root) = fixture.cold(Who::Root);
    let root = fixture.under(Engine::Seccomp, root).env("SONDE_LOG", "sonde=debug");
    if !run(root.command("/run/current-system/sw/bin/strace").args([
        "-qq",
        "-o",
        "/dev/null",
        "/bin/sh",
        "-c",
        ":",
    ]))
    .succeeded()
    {
        return eprintln!("SKIPPED 1 check: strace, which makes calls fail, does not run in this root");
    }
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/calls.sh"),
        fixture.guests().join("calls.sh"),
    )
    .unwrap();
    // A program that starts another one, which opens libraries.
    let program = format!("{} fork {} here {LIBRARIES}", fixture.guest("spawn"), fixture.guest("load"));
    let times = std::env::var("SONDE_TEST_FAULTS").unwrap_or_else(|_| TIMES.to_owned());
    for (call, before, errors) in CALLS {
        let cases = errors.iter().flat_map(|error| times.split(',').map(move |times| (*error, times)));
        let for_ever = |error: &str| error == "EINTR" || NEVER_FOR_EVER.contains(&call);
        let cases = cases.filter(|(error, times)| *times != "1+" || !for_ever(error));
        let cases: Vec<String> =
            cases.map(|(error, times)| format!("{error} {}", after(before, times))).collect();
        let outcome = run(root.command("/bin/sh").args(["/guests/calls.sh", call, &program]).args(&cases));
        let told: Vec<&str> = outcome.stdout.split("case ").skip(1).collect();
        assert_eq!(told.len(), cases.len(), "{call}: {outcome}");
        assert!(outcome.stdout.contains("\nreached"), "{call} is not called: {outcome}");
        for told in told {
            assert!(!told.contains("panicked") && !told.contains("its supervisor stays"), "{call} {told}");
            let starts: Vec<Start> = Start::all(told).collect();
            let (well, faulty) = starts.split_last().unwrap();
            assert!(well.is_served(), "the next start after {call} {told}");
            // After a signal the call is made again.
            let must = told.starts_with("EINTR");
            let acceptable = |start: &Start| start.is_served() || !must && start.is_told();
            assert!(faulty.iter().all(acceptable), "{call} {told}");
        }
    }
}

/// The times, counted from the first on.
fn after(before: u32, times: &str) -> String {
    let end = times.find('+').unwrap_or(times.len());
    let first: u32 = times[..end].parse().unwrap();
    format!("{}{}", before + first, &times[end..])
}

/// What one start has printed, and its status.
struct Start<'t> {
    words: &'t str,
    status: &'t str,
}

impl<'t> Start<'t> {
    fn all(told: &'t str) -> impl Iterator<Item = Self> {
        let mut rest = told.split_once('\n').unwrap().1;
        std::iter::from_fn(move || {
            let (words, after) = rest.split_once("status ")?;
            let (status, after) = after.split_once('\n')?;
            rest = after;
            Some(Self { words, status })
        })
    }

    fn is_served(&self) -> bool {
        self.has_ended_well() && self.words.matches(": map /nix/store/").count() == 2
    }

    /// It is as without Sonde: not started for want of a loader, or its loader finds nothing, and says so as it always
    /// does.
    fn is_told(&self) -> bool {
        let loader = self.words.contains("cannot open shared object file: No such file or directory");
        let shim = self.words.contains("sonde: cannot run ");
        (loader && self.has_ended_well()) || (self.status == "127" && (loader || shim))
    }

    /// The child has ended by itself, and its parent has met nobody else.
    fn has_ended_well(&self) -> bool {
        self.status == "0" && self.words.contains("signal 0\nothers: -1 No child processes\n")
    }
}
