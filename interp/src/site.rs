//! What the engine inline changes in a loader, and which of its opens are worth a question.
//!
//! glibc opens every file of a search by one system call, openat(2) (since 2.26: `__open64_nocancel`,
//! sysdeps/unix/sysv/linux/open64_nocancel.c). How gcc writes it differs: before `syscall` stand `mov $AT_FDCWD,%edi` and
//! `mov $__NR_openat,%eax` in either order, at times with a copy of another register between them (2.27 to 2.44, as Debian
//! and Ubuntu build them). Whichever stands last has five bytes, and these become a jump.
//!
//! Before, it was open(2), in a function that does nothing else (2.17 to 2.25: `T_PSEUDO`,
//! sysdeps/unix/sysv/linux/x86_64/sysdep.h): `mov $__NR_open,%eax; syscall; cmp $-4095,%rax; jae …; ret`.
//!
//! It looks at folders and, from 2.44 on, at its cache (`_dl_check_ldsocache_needs_loading`, elf/dl-cache.c) by one
//! newfstatat(2) (`__fstatat64_time64`): `mov $__NR_newfstatat,%eax; syscall`.

/// `mov $AT_FDCWD,%edi`
const FOLDER: [u8; JUMP] = [0xbf, 0x9c, 0xff, 0xff, 0xff];

/// `mov $__NR_openat,%eax`
const OPENAT: [u8; JUMP] = [0xb8, 0x01, 0x01, 0x00, 0x00];

/// `mov $__NR_open,%eax`
const OPEN: [u8; JUMP] = [0xb8, 0x02, 0x00, 0x00, 0x00];

/// `syscall; cmp $-4095,%rax; jae .+3; ret`
const REST_OF_OPEN: [u8; 11] = [0x0f, 0x05, 0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x73, 0x01, 0xc3];

/// `mov $__NR_newfstatat,%eax`
const NEWFSTATAT: [u8; JUMP] = [0xb8, 0x06, 0x01, 0x00, 0x00];

const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// What a jump takes, in bytes.
pub const JUMP: usize = 5;

/// The jump and the `syscall` behind it, in bytes.
pub const LENGTH: usize = JUMP + SYSCALL.len();

/// Where a loader is changed, in bytes behind its load bias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sites {
    /// Where it opens files; 0 where that is not known.
    pub open: u32,
    /// Where it looks at files; 0 where that is not known.
    pub look: u32,
}

/// The instruction that a jump takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// `mov $AT_FDCWD,%edi`, of an open.
    Folder,
    /// `mov $__NR_openat,%eax`
    Openat,
    /// `mov $__NR_open,%eax`
    Open,
    /// `mov $__NR_newfstatat,%eax`
    Newfstatat,
}

impl Replaced {
    /// Which it is, at the beginning of a loader's `code`; none if that is no place for a jump.
    #[must_use]
    pub fn at(code: &[u8]) -> Option<Self> {
        let (instruction, rest) = code.split_first_chunk()?;
        let replaced = match *instruction {
            FOLDER => Self::Folder,
            OPENAT => Self::Openat,
            OPEN => Self::Open,
            NEWFSTATAT => Self::Newfstatat,
            _ => return None,
        };
        rest.starts_with(&SYSCALL).then_some(replaced)
    }
}

/// Where `code` opens files, in bytes from its start; nothing unless there is exactly one such place.
#[must_use]
pub fn find_open(code: &[u8]) -> Option<usize> {
    only((0..code.len()).filter(|at| is_open(code, *at)))
}

/// Where `code` looks at files, in the same manner.
#[must_use]
pub fn find_look(code: &[u8]) -> Option<usize> {
    let is_look = |at: &usize| code.get(*at..).and_then(Replaced::at) == Some(Replaced::Newfstatat);
    only((0..code.len()).filter(is_look))
}

fn only(mut places: impl Iterator<Item = usize>) -> Option<usize> {
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

/// Is here the second of the two instructions, the first close before it and the system call behind it? Or the one of an
/// older glibc?
fn is_open(code: &[u8], at: usize) -> bool {
    let other = match code.get(at..).and_then(Replaced::at) {
        Some(Replaced::Folder) => OPENAT,
        Some(Replaced::Openat) => FOLDER,
        Some(Replaced::Open) => {
            return code.get(at + JUMP..).is_some_and(|rest| rest.starts_with(&REST_OF_OPEN));
        }
        _ => return false,
    };
    let before = code.get(..at).unwrap_or_default();
    let without_copy = || match before {
        // mov between two registers of 64 bits, the first eight
        [earlier @ .., 0x48, 0x89, 0xc0..=0xff] => Some(earlier),
        _ => None,
    };
    before.ends_with(&other) || without_copy().is_some_and(|earlier| earlier.ends_with(&other))
}

/// The jump from one address to another: the instruction has room for ±2 GiB.
#[must_use]
pub fn jump(from: u64, to: u64) -> Option<[u8; JUMP]> {
    let distance = to.wrapping_sub(from.wrapping_add(JUMP as u64)).cast_signed();
    let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

/// How far above the loader's stack pointer a path counts as put together on the stack, in bytes. The frame with the path in
/// it is the second from the bottom (`open_path` above `open_verify`, elf/dl-load.c), and the path at its lower end: from 96
/// bytes up in 2.39 to 400 in 2.44. Farther up there may be somebody else's memory: a thread's stack can end where a heap
/// begins, and a path that the loader was given lies on a heap. From here it is some kilobytes to the end of a stack from
/// which somebody has called dlopen(3): the frame above has a buffer of 832 bytes and more.
pub const NEAR_STACK: usize = 1 << 10;

/// How the path of every loader's cache ends.
pub const CACHE: &[u8] = b"/ld.so.cache";

/// Where packages lie.
pub(crate) const STORE: &[u8] = b"/nix/store/";

/// May this be a part of a package that is still being written?
#[must_use]
pub fn is_in_store(path: &[u8]) -> bool {
    path.starts_with(STORE)
}

/// Could a supervisor do anything about a path that is not there? Only for the name of a shared object, or of the loader's
/// cache, in the store or in a folder of the system's. Variants for newer processors are never provided.
#[must_use]
pub fn is_worth_asking(path: &[u8]) -> bool {
    const VARIANTS: &[u8] = b"/glibc-hwcaps/";
    let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else { return false };
    let name = &path[slash + 1..];
    let is_library = name.ends_with(b".so") || name.windows(4).any(|window| window == b".so.");
    let is_ours = [STORE, b"/lib", b"/usr/"].iter().any(|folder| path.starts_with(folder));
    is_library
        && (is_ours || path.ends_with(CACHE))
        && !path.windows(VARIANTS.len()).any(|window| window == VARIANTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_in_either_order() {
        let copies: [&[u8]; 3] = [&[], &[0x48, 0x89, 0xfe], &[0x48, 0x89, 0xc6]];
        for (first, second) in [(FOLDER, OPENAT), (OPENAT, FOLDER)] {
            for copy in copies {
                let code = [&[0x90; 9][..], &first, copy, &second, &SYSCALL, &[0xc3; 3]].concat();
                let place = 9 + JUMP + copy.len();
                assert_eq!(find_open(&code), Some(place), "{code:x?}");
                let replaced = if second == FOLDER { Replaced::Folder } else { Replaced::Openat };
                assert_eq!(Replaced::at(&code[place..]), Some(replaced));
            }
        }
    }

    #[test]
    fn of_an_older_glibc_the_function_is_known_and_no_other_open() {
        let function = [&OPEN[..], &REST_OF_OPEN].concat();
        // As in 2.23, which reads a folder in other ways.
        let another = [&OPEN[..], &SYSCALL, &[0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0x3c]].concat();
        let code = [&another[..], &another, &function, &another].concat();
        assert_eq!(find_open(&code), Some(2 * another.len()));
        assert_eq!(Replaced::at(&code[2 * another.len()..]), Some(Replaced::Open));
        assert_eq!(find_open(&another), None);
        assert_eq!(find_open(&function[..function.len() - 1]), None);
        assert_eq!(find_open(&[&function[..], &function].concat()), None);
        // Both ways in one loader: it is not known which of them the searches go.
        assert_eq!(find_open(&[&function[..], &OPENAT, &FOLDER, &SYSCALL].concat()), None);
    }

    #[test]
    fn only_one_place_is_the_place() {
        let one = [&OPENAT[..], &FOLDER, &SYSCALL].concat();
        assert_eq!(find_open(&one), Some(JUMP));
        assert_eq!(find_open(&[&one[..], &one].concat()), None);
        assert_eq!(find_open(&one[..11]), None);
        assert_eq!(find_open(&one[1..]), None);
        assert_eq!(find_open(&[&OPENAT[..], &[0x89, 0xfe], &FOLDER, &SYSCALL].concat()), None);
        // openat(2) of something else's folder, and another call
        assert_eq!(find_open(&[&OPENAT[..], &SYSCALL].concat()), None);
        assert_eq!(find_open(&[&[0xb8, 2, 0, 0, 0][..], &FOLDER, &SYSCALL].concat()), None);
        assert_eq!(find_open(b""), None);
    }

    #[test]
    fn where_it_looks_is_known_if_it_looks_at_one_place() {
        let look = [&[0x41, 0x89, 0xca][..], &NEWFSTATAT, &SYSCALL].concat();
        assert_eq!(find_look(&look), Some(3));
        assert_eq!(find_look(&[&look[..], &look].concat()), None);
        assert_eq!(find_look(&look[..9]), None);
        assert_eq!(find_open(&look), None);
    }

    #[test]
    fn a_jump_reaches_two_gibibytes_and_no_further() {
        assert_eq!(jump(0x1000, 0x1005), Some([0xe9, 0, 0, 0, 0]));
        assert_eq!(jump(0x1000, 0x0ffb), Some([0xe9, 0xf6, 0xff, 0xff, 0xff]));
        assert_eq!(jump(0x1000, 0x1005 + 0x7fff_ffff), Some([0xe9, 0xff, 0xff, 0xff, 0x7f]));
        assert_eq!(jump(0x1000, 0x1005 + 0x8000_0000), None);
        assert_eq!(jump(0x7fff_0000_0000, 0x5555_0000_0000), None);
    }

    #[test]
    fn questions_are_asked_about_libraries_where_they_can_be_provided() {
        for path in [
            "/nix/store/x-zlib-1.3/lib/libz.so.1",
            "/nix/store/x-glibc-2.42/etc/ld.so.cache",
            "/etc/ld.so.cache",
            "/lib64/libz.so",
            "/usr/lib/x86_64-linux-gnu/gio/modules/libx.so",
        ] {
            assert!(is_worth_asking(path.as_bytes()), "{path}");
        }
        for path in [
            "",
            "libz.so.1",
            "./libz.so.1",
            "/opt/app/libz.so.1",
            "/etc/passwd",
            "/nix/store/x-glibc-2.42/lib/locale/locale-archive",
            "/usr/lib/",
            "/nix/store/x-zlib-1.3/lib/glibc-hwcaps/x86-64-v3/libz.so.1",
        ] {
            assert!(!is_worth_asking(path.as_bytes()), "{path}");
        }
    }
}
