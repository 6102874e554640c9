//! What a policy says beside its rules: limits, what `dlopen` may do, caches, keys, engines. Of two that say different
//! things the stricter counts.

use std::sync::Arc;

/// A setting, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stated<T> {
    /// What is set.
    pub value: T,
    /// The line that sets it, as `file:line: text`.
    pub rule: Arc<str>,
}

/// What may be provided to a program that asks at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dlopen {
    /// Whatever the rules allow.
    Provide,
    /// Of that, what is in the store already.
    RealisedOnly,
    /// Nothing.
    Deny,
}

/// What makes traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// User notification.
    Seccomp,
    /// Tracing.
    Ptrace,
}

/// How much may be fetched. What is not there is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes for one start of a program.
    pub download_per_start: Option<Stated<u64>>,
    /// Bytes in total.
    pub download_total: Option<Stated<u64>>,
    /// Packages that are got for one soname, to choose among them.
    pub candidates: Option<Stated<u64>>,
    /// Nothing may be downloaded, if it is true.
    pub offline: Option<Stated<bool>>,
}

/// What the general part and a section can both say.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgramSettings {
    pub(crate) dlopen: Option<Stated<Dlopen>>,
    pub(crate) limits: Limits,
}

/// What a file says once.
#[derive(Debug, Clone, Default)]
pub(crate) struct MachineSettings {
    pub(crate) caches: Option<Stated<Vec<String>>>,
    pub(crate) keys: Option<Stated<Vec<String>>>,
    pub(crate) engines: Option<Stated<Vec<Engine>>>,
    pub(crate) build: Option<Stated<bool>>,
}

/// What can be stricter than something of its kind.
pub(crate) trait Strict {
    fn strictness(&self) -> u64;
}

impl Strict for u64 {
    fn strictness(&self) -> u64 {
        u64::MAX - self
    }
}

impl Strict for bool {
    fn strictness(&self) -> u64 {
        u64::from(*self)
    }
}

impl Strict for Dlopen {
    fn strictness(&self) -> u64 {
        match self {
            Dlopen::Provide => 0,
            Dlopen::RealisedOnly => 1,
            Dlopen::Deny => 2,
        }
    }
}

/// The strictest of some; of equals the first.
pub(crate) fn strictest<'s, T: Strict + 's>(
    all: impl IntoIterator<Item = &'s Stated<T>>,
) -> Option<&'s Stated<T>> {
    all.into_iter().reduce(
        |one, other| {
            if other.value.strictness() > one.value.strictness() { other } else { one }
        },
    )
}

impl Engine {
    /// The engine of a name, as policies have it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "seccomp" => Some(Self::Seccomp),
            "ptrace" => Some(Self::Ptrace),
            _ => None,
        }
    }
}

/// An address of a cache as it is compared: a slash at its end means nothing.
pub(crate) fn address(text: &str) -> &str {
    text.trim_end_matches('/')
}

/// Reads a size such as `500 MB` or `2 GiB`, in bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?.trim_end();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [("500 MB", 500_000_000), ("2GiB", 2 << 30), ("0 B", 0), ("12 kB", 12_000)] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for wrong in ["", "5", "MB", "-1 MB", "+1 MB", "1.5 GB", "5 mb", "99999999999 TB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_strictest_counts() {
        fn stated<T>(value: T) -> Stated<T> {
            Stated { value, rule: "".into() }
        }
        let all = [stated(Dlopen::Provide), stated(Dlopen::Deny), stated(Dlopen::RealisedOnly)];
        assert_eq!(strictest(&all).map(|one| one.value), Some(Dlopen::Deny));
        assert_eq!(strictest(&[stated(5_u64), stated(3)]).map(|one| one.value), Some(3));
        assert_eq!(strictest::<bool>(&[]), None);
    }
}
