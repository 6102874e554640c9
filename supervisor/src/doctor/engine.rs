//! Which engine a program would get, tried as far as it can be tried without a program; and `no_new_privs`.

use std::fs;
use std::io;

use nix::errno::Errno;
use sonde_interp::handoff::{Engine, Wish};
use sonde_policy::{Decision, Engine as PolicysEngine, Policy};

use super::finding::Finding;
use crate::engine::choose::{Attempt, EngineConfig, POLICY_IN_FORCE, Why};
use crate::rules::Rules;
use crate::settings::Settings;
use crate::sys::capabilities::Capabilities;
use crate::sys::executable_memory;
use crate::sys::features::{Features, Listening};

/// `CAP_SYS_ADMIN` (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;

const FILE_REMEDY: &str =
    "correct the [engine] section; docs/architecture.md, \"The life of a tree\", has its keys";

/// Tries the engines in the order in which a supervisor would.
pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    const ID: &str = "engine.configuration";
    let config = match EngineConfig::load(settings) {
        Ok(config) => config,
        Err(error) => return vec![Finding::error(ID, error.to_string(), FILE_REMEDY)],
    };
    let features = Features::probe();
    let policy = Rules::load(settings, &[]).policy();
    // Of what else may stand against the engine inline, only a start can tell.
    let obstacle = if policy.is_allow_all() {
        (!executable_memory::may_be_made()).then_some("memory may not be made executable here")
    } else {
        Some(POLICY_IN_FORCE)
    };
    let mut attempts = config.attempts(Wish::Unsaid, features, obstacle).peekable();
    let is_inline = attempts.peek().is_some_and(|attempt| attempt.engine == Engine::Inline);
    vec![choice(&config, features, &policy, attempts), no_new_privs(&config, is_inline)]
}

fn choice(
    config: &EngineConfig,
    features: Features,
    policy: &Policy,
    attempts: impl Iterator<Item = Attempt>,
) -> Finding {
    const ID: &str = "engine.choice";
    let mut refused = None;
    for attempt in attempts {
        let name = match attempt.engine {
            Engine::Seccomp => PolicysEngine::Seccomp,
            Engine::Ptrace => PolicysEngine::Ptrace,
            Engine::Inline => return Finding::ok(ID, format!("inline: {}", attempt.why)),
        };
        if policy.fault().is_none()
            && let Decision::Refuse { rule } = policy.decide_engine(name)
        {
            refused = Some(format!("the policy forbids it: {rule}"));
            continue;
        }
        let why = refused
            .as_ref()
            .map_or_else(|| attempt.why.to_string(), |reason| format!("no seccomp: {reason}"));
        match name {
            PolicysEngine::Seccomp => match features.try_listener(config.no_new_privs) {
                Ok(listening) => return seccomp(ID, listening, &why),
                Err(error) => refused = Some(words(&error)),
            },
            PolicysEngine::Ptrace => {
                let summary = format!("ptrace: {why}");
                return if attempt.why == Why::AskedFor {
                    Finding::ok(ID, summary)
                } else {
                    let remedy = "nothing need be done: programs run, their loads cost more, and debuggers cannot attach";
                    Finding::warning(ID, summary, remedy)
                };
            }
        }
    }
    Finding::error(
        ID,
        refused.map_or_else(
            || "no engine: what is configured cannot be had here".to_owned(),
            |reason| format!("no engine: {reason}"),
        ),
        "set `kind = \"auto\"` in the [engine] section of config.toml; docs/kernel-support.md says what each needs",
    )
}

/// An error as everybody prints it, without Rust's number.
fn words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).desc().to_owned())
}

fn seccomp(id: &'static str, listening: Listening, why: &str) -> Finding {
    let Listening { wakes_synchronously } = listening;
    if wakes_synchronously {
        return Finding::ok(id, format!("seccomp: {why}; traps wake the supervisor at once (Linux 6.6)"));
    }
    let summary = format!("seccomp: {why}; each trap costs several times what it could");
    Finding::warning(id, summary, "a kernel from 6.6 on, which wakes the supervisor synchronously")
}

fn no_new_privs(config: &EngineConfig, is_inline: bool) -> Finding {
    const ID: &str = "engine.no-new-privs";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"]));
    let administers = Capabilities::own().is_ok_and(|own| own.permitted & (1 << CAP_SYS_ADMIN) != 0);
    if set {
        Finding::warning(
            ID,
            "no_new_privs is set already, by whoever started this shell: sudo and its like have no privilege in it",
            "start programs from a session outside of the sandbox, container or supervised program that this is",
        )
    } else if administers || is_inline {
        Finding::ok(ID, "programs keep the privileges of the setuid programs that they start")
    } else if config.no_new_privs {
        Finding::ok(
            ID,
            "programs get no_new_privs: sudo that one of them starts has no privilege, unless `no-new-privs = false` is \
             in the [engine] section of config.toml",
        )
    } else {
        Finding::ok(ID, "programs do not get no_new_privs, and every system call of theirs is traced")
    }
}
