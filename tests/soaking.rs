//! A day of use in minutes: starts of several programs through one supervisor, with plans, misses, changes of the policy and
//! collections of garbage. What keeper and worker hold must not grow with it.
#![allow(dead_code)] // the suite and `make soak` each use a part

use std::fmt;
use std::fs;
use std::path::Path;

use crate::harness::{Conversation, Engine, Who, fixture};
use crate::supervisors::Supervisors;

/// Programs that one round starts.
pub(crate) const STARTS: usize = 4;

/// What the shell of the soak does in a round, whose number is `$1`. A round prints how many starts have failed.
const ROUND: &str = r#"
round() {
    failed=0
    /opt/programs/hello/usr/bin/hello >/dev/null || failed=$((failed + 1))
    /opt/programs/curl/usr/bin/curl --version >/dev/null || failed=$((failed + 1))
    # One that nobody has, another one in each round; its child is of the same tree.
    /guests/load here libpng16.so.16 libexpat.so.1 libnobody-$1.so.1 >/tmp/loaded 2>&1
    [ "$(grep -c ': map /nix/store/' /tmp/loaded)" = 2 ] || failed=$((failed + 1))
    /guests/spawn fork /guests/load here libxml2.so.2 >/tmp/spawned 2>&1
    grep -q ': map /nix/store/' /tmp/spawned || failed=$((failed + 1))
    echo "libnobody-$(($1 % 50)).so.1" >/tmp/neighbour
    case $1 in
    *5) printf 'version = 1\ndefault = "allow"\n[[package]]\nname = "sqlite"\nrule = "deny"\n' >$XDG_CONFIG_HOME/sonde/policy.toml ;;
    *0) rm -f $XDG_CONFIG_HOME/sonde/policy.toml; sonde plans gc >/dev/null 2>&1 ;;
    *7) rm -rf ~/.cache/sonde/plans ~/.cache/sonde/served 2>/dev/null ;; # somebody may be writing
    esac
    echo $failed
}
mkdir -p $XDG_RUNTIME_DIR $XDG_CONFIG_HOME/sonde; chmod 700 $XDG_RUNTIME_DIR
# Who comes first has the door; of two at once one would have a supervisor of its own.
/opt/programs/hello/usr/bin/hello >/dev/null
mkfifo /tmp/neighbour; exec 8<>/tmp/neighbour; /guests/load asked </tmp/neighbour 8<&- >/dev/null 2>&1 &
while read command; do eval "$command"; done
"#;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// KiB in memory.
    pub(crate) resident: usize,
    /// Children that have ended and were not waited for.
    pub(crate) zombies: usize,
}

impl Holdings {
    fn of(pid: u32) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        let count = |what: &str| fs::read_dir(process.join(what)).unwrap().count();
        let status = fs::read_to_string(process.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let zombie =
            |status: String| status.contains("State:\tZ") && status.contains(&format!("\nPPid:\t{pid}\n"));
        let all = fs::read_dir("/proc").unwrap().flatten();
        let zombies = all
            .filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok())
            .filter(|text| zombie(text.clone()));
        Self {
            descriptors: count("fd"),
            threads: count("task"),
            resident: resident.trim().trim_end_matches(" kB").parse().unwrap(),
            zombies: zombies.count(),
        }
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, threads, resident, zombies } = self;
        write!(f, "{descriptors:>11} {threads:>7} {resident:>8} {zombies:>7}")
    }
}

/// A supervisor that is used.
pub(crate) struct Soak {
    shell: Conversation,
    _state: tempfile::TempDir,
    pub(crate) rounds: usize,
}

impl Soak {
    pub(crate) fn begin() -> Self {
        for guest in ["load", "spawn"] {
            fixture().guest(guest);
        }
        let (state, root) = fixture().cold(Who::Root);
        let root = fixture().under(Engine::Seccomp, root);
        let root = root.env("XDG_RUNTIME_DIR", "/tmp/soak").env("XDG_CONFIG_HOME", "/tmp/soak/configuration");
        let shell = Conversation::with(root.command("/bin/sh").args(["-c", ROUND]));
        Self { shell, _state: state, rounds: 0 }
    }

    /// A round; how many of its starts have failed.
    pub(crate) fn round(&mut self) -> usize {
        self.rounds += 1;
        self.shell.ask(&format!("round {}", self.rounds)).trim().parse().unwrap()
    }

    /// What keeper and worker hold now. They must be those that there were at the beginning.
    pub(crate) fn holdings(&self) -> [(u32, Holdings); 2] {
        let Supervisors { keepers, workers } = Supervisors::beside(self.shell.pid());
        let ([keeper], [worker]) = (&*keepers, &*workers) else {
            panic!("keepers {keepers:?}, workers {workers:?}")
        };
        [*keeper, *worker].map(|pid| (pid, Holdings::of(pid)))
    }
}

#[test]
fn what_a_supervisor_holds_does_not_grow_with_what_it_has_served() {
    let mut soak = Soak::begin();
    // The first rounds meet everything once.
    let failed: usize = (0..4).map(|_| soak.round()).sum();
    let before = soak.holdings();
    let failed: usize = failed + (0..20).map(|_| soak.round()).sum::<usize>();
    assert_eq!(failed, 0, "starts have failed");
    // A tree that has just ended may still be putting its plan away.
    let started = std::time::Instant::now();
    loop {
        let now = soak.holdings();
        let grown = before.iter().zip(&now).any(|((old, before), (new, now))| {
            assert_eq!(old, new, "another process");
            now.descriptors > before.descriptors || now.threads > before.threads || now.zombies > 0
        });
        if !grown {
            return;
        }
        assert!(started.elapsed().as_secs() < 60, "before {before:?}, now {now:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
