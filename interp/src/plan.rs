//! The head of a plan file: what was resolved for one program, laid out so that it is used where it lies.
//!
//! The supervisor writes plans and the shim reads them, so both compile this; [`layout`] has every byte. A plan comes
//! from a file that anybody may have damaged: [`Plan::read`] checks every span once, so that nothing that is read
//! afterwards can fail.

pub mod layout;

use core::ffi::CStr;

pub use layout::{BUILT_BY_NIX, ELSEWHERE, Fixed, INLINE, LOOKS_AT_CACHE, Span, Stamp};
use layout::{FIXED, MAGIC, VERSION, WATCHED, checksum_of, u32_at, u64_at};

use crate::contents::Contents;
use crate::site::Sites;

/// How long it is believed that nobody has a library, in seconds: it may be put where no condition shows it. No plan that
/// depends on it holds for longer.
pub const ABSENCE_STANDS: u64 = 7 * 24 * 3600;

/// Where plans lie, below the user's cache folder (`$XDG_CACHE_HOME`, or `.cache` in `$HOME`).
pub const FOLDER: &str = "sonde/plans";

/// No plan is as large, in bytes; the largest known have some ten kB.
pub const LARGEST: u64 = 16 << 20;

/// What of a program's environment a plan depends on: where the loader looks before its cache, and where index,
/// configuration and store are found. A start that says otherwise has another plan ([`key`]).
pub const VARIABLES: [&str; 10] = [
    "HOME",
    "LD_LIBRARY_PATH",
    "NIX_LD",
    "NIX_LD_LIBRARY_PATH",
    "NIX_LD_LIBRARY_PATH_x86_64_linux",
    "NIX_LD_x86_64_linux",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
];

/// FNV-1a, 64 bits: for names that are looked up in a plan, and for its own name; stable between releases.
#[must_use]
pub const fn digest(bytes: &[u8]) -> u64 {
    continue_digest(SEED, bytes)
}

/// The digest of nothing.
pub(crate) const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The digest of what was digested so far with `bytes` behind it.
#[must_use]
pub const fn continue_digest(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// What a program's plan is called: a digest of its path and of what [`VARIABLES`] say. `variable` returns the value of
/// one; empty ones are as good as unset.
pub fn key<'a>(program: &[u8], variable: impl Fn(&str) -> Option<&'a [u8]>) -> u64 {
    VARIABLES.iter().fold(digest(program), |hash, name| match variable(name) {
        Some(value) if !value.is_empty() => {
            [b"\0", name.as_bytes(), b"=", value].iter().fold(hash, |hash, part| continue_digest(hash, part))
        }
        _ => hash,
    })
}

/// A plan's file name: its key as sixteen hexadecimal digits and `.plan`.
#[must_use]
pub fn file_name(key: u64) -> [u8; 21] {
    let mut name = *b"0000000000000000.plan";
    for (at, digit) in name.iter_mut().take(16).enumerate() {
        *digit = b"0123456789abcdef"[(key >> (60 - 4 * at)) as usize & 15];
    }
    name
}

/// How things are now.
pub trait World {
    /// What is at a path; what cannot be looked at is not there.
    fn stamp_at(&self, path: &CStr) -> Stamp;
    /// In seconds since 1970.
    fn now(&self) -> u64;
}

/// A plan, checked; everything borrows from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    fixed: Fixed,
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> Plan<'a> {
    /// Reads the bytes of a plan file; `None` if they are not a plan of this version, or damaged.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < FIXED || !bytes.starts_with(MAGIC) || u32_at(bytes, 8) != VERSION {
            return None;
        }
        let (head, body) = bytes.split_at_checked(usize::try_from(u32_at(bytes, 12)).ok()?)?;
        let whole = usize::try_from(u64_at(bytes, 16)).ok()?;
        if head.len() < FIXED || whole != bytes.len() || u64_at(bytes, 24) != checksum_of(head) {
            return None;
        }
        let plan = Self { fixed: Fixed::at(head), head, body };
        plan.is_sound().then_some(plan)
    }

    fn is_sound(&self) -> bool {
        let fixed = &self.fixed;
        let paths = [fixed.program, fixed.loader, fixed.loader_cache, fixed.served_cache];
        let is_path = |span: Span| path_at(self.head, span).is_some();
        let all = |span: Span, size: usize| {
            let table = span.of(self.head, size, 0);
            table.is_some_and(|table| table.chunks_exact(size).all(|entry| is_path(Span::at(entry, 0))))
        };
        paths.iter().all(|span| is_path(*span))
            && all(fixed.bundled, WATCHED)
            && all(fixed.conditions, WATCHED)
            && all(fixed.objects, 8)
            && [fixed.settled, fixed.provided, fixed.folders, fixed.entries]
                .iter()
                .all(|span| span.of(self.head, 8, 0).is_some())
            && fixed.build_id.of(self.head, 1, 0).is_some()
    }

    /// [`BUILT_BY_NIX`] and its like.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.fixed.flags
    }

    /// Where the loader is to be changed.
    #[must_use]
    pub fn sites(&self) -> Sites {
        self.fixed.sites
    }

    /// May a start go by it, of this program, whose file has this stamp? Everything that decided is as it was, and whatever
    /// must be there is, whole.
    pub fn holds(&self, program: &[u8], stamp: Stamp, world: &impl World) -> bool {
        /// The time stamp that Nix sets when all of a path is written, in seconds since 1970.
        const WHOLE: i64 = 1;
        self.program().to_bytes() == program
            && self.stamp() == stamp
            && !self.is_expired(world.now())
            && self.conditions().chain(self.bundled()).all(|(path, stamp)| world.stamp_at(path) == stamp)
            && self.objects().all(|object| world.stamp_at(object).modified == WHOLE)
    }

    /// Has its time passed? `now` is in seconds since 1970. A plan whose time is still further away than any can be was made
    /// before the clock was set back.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        let end = self.fixed.expiry;
        end != 0 && (now >= end || end - now > ABSENCE_STANDS)
    }

    /// The program's path.
    #[must_use]
    pub fn program(&self) -> &'a CStr {
        self.path(self.fixed.program)
    }

    /// What the program's file was.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.fixed.stamp
    }

    /// The program's build id, as [`crate::elf::build_id`] finds it; empty if it finds none.
    #[must_use]
    pub fn build_id(&self) -> &'a [u8] {
        self.fixed.build_id.of(self.head, 1, 0).unwrap_or_default()
    }

    /// The loader's path.
    #[must_use]
    pub fn loader(&self) -> &'a CStr {
        self.path(self.fixed.loader)
    }

    /// The path that the loader opens as its cache; empty for one that has none.
    #[must_use]
    pub fn loader_cache(&self) -> &'a CStr {
        self.path(self.fixed.loader_cache)
    }

    /// The file that it is to find there; empty where none could be kept.
    #[must_use]
    pub fn served_cache(&self) -> &'a CStr {
        self.path(self.fixed.served_cache)
    }

    /// Files that came with the program, or that were at hand for it, in its own root, and what they were.
    pub fn bundled(&self) -> impl Iterator<Item = (&'a CStr, Stamp)> {
        self.watched(self.fixed.bundled)
    }

    /// Files and folders that decided, and what they were.
    pub fn conditions(&self) -> impl Iterator<Item = (&'a CStr, Stamp)> {
        self.watched(self.fixed.conditions)
    }

    /// Store objects that must be there.
    pub fn objects(&self) -> impl Iterator<Item = &'a CStr> {
        let plan = *self;
        self.table(self.fixed.objects, 8).map(move |entry| plan.path(Span::at(entry, 0)))
    }

    /// Digests, ascending, of the sonames about which nobody need be asked when a search does not find them.
    pub fn settled(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.digests(self.fixed.settled)
    }

    /// Digests, ascending, of the paths at which something is provided, so that it ought to be there.
    pub fn provided(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.digests(self.fixed.provided)
    }

    /// What lies in the folders that libraries are searched in.
    #[must_use]
    pub fn contents(&self) -> Contents<'a> {
        let table = |span: Span| span.of(self.head, 8, 0).unwrap_or_default();
        let Fixed { folders, entries, settled, .. } = self.fixed;
        Contents { folders: table(folders), entries: table(entries), settled: table(settled) }
    }

    /// What is for people.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    fn path(&self, span: Span) -> &'a CStr {
        path_at(self.head, span).unwrap_or_default()
    }

    fn table(&self, span: Span, size: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        span.of(self.head, size, 0).unwrap_or_default().chunks_exact(size)
    }

    fn watched(&self, span: Span) -> impl Iterator<Item = (&'a CStr, Stamp)> + use<'a> {
        let plan = *self;
        self.table(span, WATCHED).map(move |entry| (plan.path(Span::at(entry, 0)), Stamp::at(entry, 8)))
    }

    fn digests(&self, span: Span) -> impl Iterator<Item = u64> + use<'a> {
        self.table(span, 8).map(|entry| u64_at(entry, 0))
    }
}

fn path_at(head: &[u8], span: Span) -> Option<&CStr> {
    CStr::from_bytes_with_nul(span.of(head, 1, 1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::layout::START;
    use super::*;

    const PROGRAM: &[u8] = b"/opt/program\0";
    const BODY: &[u8] = b"{}";

    fn stamp() -> Stamp {
        Stamp {
            device: 1,
            inode: 2,
            size: 3,
            modified: -4,
            changed: 5,
            modified_nanoseconds: 6,
            changed_nanoseconds: 7,
        }
    }

    /// A plan with one path in every place, and one digest of it in both tables.
    fn plan() -> Vec<u8> {
        plan_of(stamp())
    }

    fn plan_of(stamp: Stamp) -> Vec<u8> {
        let mut rest = PROGRAM.to_vec();
        let program = Span { offset: FIXED as u32, length: 12 };
        let mut table = |bytes: &[u8]| {
            let span = Span { offset: (FIXED + rest.len()) as u32, length: 1 };
            rest.extend(bytes);
            span
        };
        let watched = table(&[program.to_bytes().as_slice(), &stamp.to_bytes()].concat());
        let digests = table(&digest(b"/opt/program").to_le_bytes());
        let fixed = Fixed {
            flags: BUILT_BY_NIX,
            sites: Sites { open: 0x20b16, look: 0x2638c },
            expiry: 100,
            stamp,
            program,
            build_id: Span { length: 4, ..program },
            loader: program,
            loader_cache: program,
            served_cache: program,
            bundled: watched,
            conditions: watched,
            objects: watched,
            settled: digests,
            provided: digests,
            folders: digests,
            entries: digests,
        };
        [fixed.to_bytes(&rest, BODY).unwrap().as_slice(), &rest, BODY].concat()
    }

    /// Where everything has one stamp.
    struct Uniform(Stamp, u64);

    impl World for Uniform {
        fn stamp_at(&self, _: &CStr) -> Stamp {
            self.0
        }
        fn now(&self) -> u64 {
            self.1
        }
    }

    #[test]
    fn a_plan_holds_while_everything_is_as_it_was() {
        let program = b"/opt/program";
        // The objects of this plan are the program as well, and whole is what has the time stamp 1.
        let whole = Stamp { modified: 1, ..stamp() };
        let bytes = plan_of(whole);
        let plan = Plan::read(&bytes).unwrap();
        assert!(plan.holds(program, whole, &Uniform(whole, 99)));
        assert!(!plan.holds(program, whole, &Uniform(whole, 100)), "its time has passed");
        assert!(!plan.holds(b"/opt/other", whole, &Uniform(whole, 99)));
        assert!(!plan.holds(program, stamp(), &Uniform(whole, 99)), "another file");
        assert!(!plan.holds(program, whole, &Uniform(Stamp { size: 4, ..whole }, 99)));
        assert!(!plan.holds(program, whole, &Uniform(Stamp::ABSENT, 99)));
        let unfinished = plan_of(stamp());
        assert!(!Plan::read(&unfinished).unwrap().holds(program, stamp(), &Uniform(stamp(), 99)));
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = plan();
        let plan = Plan::read(&bytes).unwrap();
        assert_eq!(plan.program(), c"/opt/program");
        assert_eq!(plan.build_id(), b"/opt");
        assert_eq!(plan.stamp(), stamp());
        assert_eq!((plan.flags(), plan.sites()), (BUILT_BY_NIX, Sites { open: 0x20b16, look: 0x2638c }));
        assert_eq!(plan.bundled().collect::<Vec<_>>(), [(c"/opt/program", stamp())]);
        assert_eq!(plan.objects().collect::<Vec<_>>(), [c"/opt/program"]);
        assert!(plan.settled().chain(plan.provided()).eq([digest(b"/opt/program"); 2]));
        let table = digest(b"/opt/program").to_le_bytes();
        assert_eq!(plan.contents(), Contents { folders: &table, entries: &table, settled: &table });
        assert!(plan.is_expired(100) && !plan.is_expired(99));
        assert_eq!(plan.body(), BODY);
    }

    #[test]
    fn a_damaged_head_is_no_plan_wherever_the_damage_is() {
        let bytes = plan();
        for cut in 0..bytes.len() {
            assert!(Plan::read(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        for at in 0..bytes.len() - BODY.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                assert!(damaged == bytes || Plan::read(&damaged).is_none(), "byte {at}");
            }
        }
    }

    /// Whoever makes a plan may get its checksum right.
    #[test]
    fn no_span_leads_out_of_the_file() {
        let bytes = plan();
        for at in (96..FIXED).step_by(4) {
            for value in [0u32, 1, 170, 0x7fff_ffff, u32::MAX] {
                let mut hostile = bytes.clone();
                hostile[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let sum = checksum_of(&hostile[..bytes.len() - BODY.len()]);
                hostile[24..START].copy_from_slice(&sum.to_le_bytes());
                if let Some(plan) = Plan::read(&hostile) {
                    let _ = (
                        plan.program(),
                        plan.build_id(),
                        plan.loader(),
                        plan.settled().count(),
                        plan.provided().count(),
                    );
                    let _ = (plan.bundled().count(), plan.conditions().count(), plan.objects().count());
                }
            }
        }
    }

    #[test]
    fn a_key_depends_on_the_program_and_on_what_its_environment_says() {
        let with = |name: &'static str, value: &'static [u8]| {
            key(b"/bin/p", move |asked| (asked == name).then_some(value))
        };
        assert_eq!(with("HOME", b""), key(b"/bin/p", |_| None));
        assert_eq!(with("EDITOR", b"ed"), key(b"/bin/p", |_| None));
        assert_ne!(with("HOME", b"/root"), with("HOME", b"/home"));
        assert_ne!(with("LD_LIBRARY_PATH", b"/x"), with("NIX_LD_LIBRARY_PATH", b"/x"));
        assert_ne!(key(b"/bin/p", |_| None), key(b"/bin/q", |_| None));
        assert_eq!(&file_name(0x0123_4567_89ab_cdef), b"0123456789abcdef.plan");
    }

    #[test]
    fn the_digest_is_fnv_1a() {
        assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
