//! Who has called dlopen(3), read off the stack of a thread whose loader has trapped.
//!
//! glibc keeps what it was asked for in a `struct dl_open_args` in the frame of `_dl_open` (elf/dl-open.c), which begins
//! alike in all its versions since 2.3: the name, the mode, and the address to which dlopen(3) will return. It is known by
//! its mode, in which `__RTLD_DLOPEN` is set and little else can be, and by its name, which must be the one that is opened
//! now. What is left on a stack by calls that have ended looks the same, so if there are several and they do not agree,
//! nothing is said; nor where the address is not behind a call.

use std::path::{Path, PathBuf};

use super::remote::{Address, Thread};
use crate::sys::process_vm;

/// How far above the stack's end the frame of `_dl_open` is looked for, in bytes. Below it are those that walk through
/// folders and lists of libraries, a few kilobytes.
const REACH: usize = 24 << 10;

/// `__RTLD_DLOPEN` (include/dlfcn.h of glibc): set in each call of dlopen(3), and by nobody else.
const DLOPEN: u32 = 0x8000_0000;

/// What may be set besides: how symbols are bound, `RTLD_NOLOAD`, `_DEEPBIND`, `_GLOBAL`, `_NODELETE`, and what glibc uses
/// itself.
const MODE: u32 = 0xce00_110f;

/// The lowest address that a process can have mapped, as far as it matters.
const LOWEST: u64 = 0x1000;

/// The longest name that is compared, in bytes (`PATH_MAX`, limits.h).
const LONGEST: usize = 4096;

/// The bytes before a return address that can be a call: `e8` with a distance of four bytes, or `ff /2` with up to five
/// bytes that say where the address is.
const LONGEST_CALL: usize = 7;

impl Thread {
    /// The file whose code has called dlopen(3) for what is opened now; none if it is not opened for that, or it cannot be
    /// told for certain. `pointer` is where the stack ends, and the thread must wait.
    pub(crate) fn dlopen_caller(self, pointer: Address, asked: &Path) -> Option<PathBuf> {
        let mut bytes = vec![0; REACH];
        let count = process_vm::read(self.id(), pointer.0, &mut bytes).ok()?;
        let (words, _) = bytes.get(..count)?.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let is_meant = |name: &u64| {
            let name = process_vm::read_string(self.id(), *name, LONGEST).unwrap_or_default();
            is_same(&name, asked)
        };
        let mut callers = requests(&words).filter(|(name, _)| is_meant(name)).map(|(_, caller)| caller);
        let caller = callers.next()?;
        if callers.any(|other| other != caller) || !self.is_behind_call(caller) {
            return None;
        }
        self.mapping_at(Address(caller)).map(|(_, path)| path)
    }

    fn is_behind_call(self, address: u64) -> bool {
        let mut bytes = [0; LONGEST_CALL];
        let start = address.saturating_sub(LONGEST_CALL as u64);
        process_vm::read(self.id(), start, &mut bytes)
            .is_ok_and(|count| count == bytes.len() && is_call(&bytes))
    }
}

/// Name and return address of whatever may be a request to open something.
fn requests(words: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    words.windows(3).filter_map(|three| {
        let [name, mode, caller] = *three else { return None };
        // An int: the other half of the word may hold anything.
        let mode = mode as u32;
        let is_mode = mode & DLOPEN != 0 && mode & !MODE == 0 && mode & 3 != 0;
        (is_mode && name >= LOWEST && caller >= LOWEST).then_some((name, caller))
    })
}

/// Is this what dlopen(3) was given, when the loader opens that path?
fn is_same(name: &[u8], asked: &Path) -> bool {
    let asked_name = asked.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes);
    let name_of = name.rsplit(|byte| *byte == b'/').next();
    !name.is_empty() && name_of == asked_name
}

/// Do these bytes end with a call (Intel's manual, "CALL")?
fn is_call(bytes: &[u8; LONGEST_CALL]) -> bool {
    let indirect = |length: usize| {
        let at = LONGEST_CALL - length;
        // With `ff` the three bits in the middle of the next byte say which instruction it is; 2 is a call.
        bytes[at] == 0xff && bytes[at + 1] >> 3 & 7 == 2
    };
    bytes[2] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_mode() {
        let high = 0xffff_ffff_0000_0000;
        let stack = [7, 0x5000, high | 0x8000_0001, 0x6000, 0x7000, 1, 0x8000, 0x5000, !0, 0x6000];
        assert_eq!(requests(&stack).collect::<Vec<_>>(), [(0x5000, 0x6000)]);
        assert_eq!(requests(&[0x5000, 0x8000_0102, 0x6000]).count(), 1);
        for mode in [2, 0x8000_0000, 0x8000_0012, 0x8000_0000_0000_0001] {
            assert_eq!(requests(&[0x5000, mode, 0x6000]).count(), 0, "{mode:x}");
        }
    }

    #[test]
    fn what_was_asked_for_is_what_is_opened() {
        let is = |name: &str, asked: &str| is_same(name.as_bytes(), Path::new(asked));
        assert!(is("libz.so.1", "/nix/store/x/lib/libz.so.1") && is("/opt/libz.so.1", "/opt/libz.so.1"));
        assert!(!is("libz.so", "/opt/libz.so.1") && !is("", "/opt/libz.so.1") && !is("z/", "/opt/z"));
    }

    #[test]
    fn a_return_address_has_a_call_before_it() {
        for call in [
            [0x90, 0x90, 0xe8, 1, 2, 3, 4],
            [0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0],
            [0x90, 0xff, 0x15, 1, 2, 3, 4],
            [0x90, 0x90, 0x90, 0x90, 0xff, 0x50, 8],
        ] {
            assert!(is_call(&call), "{call:x?}");
        }
        assert!(!is_call(&[0x90; 7]) && !is_call(&[0, 0, 0, 0, 0, 0xff, 0xe0]), "a jump is none");
    }
}
