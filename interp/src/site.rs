//! What the engine inline changes in a loader, and which of its opens are worth a question.
//!
//! glibc opens every file of a search with one instruction: `mov $AT_FDCWD,%edi; syscall` (`__open64_nocancel`,
//! sysdeps/unix/sysv/linux/open64_nocancel.c, as compiled by gcc). Its first five bytes become a jump.

/// The instructions: `mov $-100,%edi`, and `syscall` behind it, which stays.
pub const INSTRUCTIONS: [u8; 7] = [0xbf, 0x9c, 0xff, 0xff, 0xff, 0x0f, 0x05];

/// What a jump takes, in bytes.
pub const JUMP: usize = 5;

/// Where `code` has the instructions, in bytes from its start; nothing unless there is exactly one such place.
#[must_use]
pub fn find(code: &[u8]) -> Option<usize> {
    let mut places =
        code.windows(INSTRUCTIONS.len()).enumerate().filter(|(_, window)| **window == INSTRUCTIONS);
    let (place, _) = places.next()?;
    places.next().is_none().then_some(place)
}

/// The jump from one address to another: the instruction has room for ±2 GiB.
#[must_use]
pub fn jump(from: u64, to: u64) -> Option<[u8; JUMP]> {
    let distance = to.wrapping_sub(from.wrapping_add(JUMP as u64)).cast_signed();
    let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

/// How the path of every loader's cache ends.
pub const CACHE: &[u8] = b"/ld.so.cache";

/// Where packages lie.
const STORE: &[u8] = b"/nix/store/";

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
    fn only_one_place_is_the_place() {
        let one = [&[0x90; 9][..], &INSTRUCTIONS, &[0xc3; 3]].concat();
        assert_eq!(find(&one), Some(9));
        assert_eq!(find(&[&one[..], &one].concat()), None);
        assert_eq!(find(&one[..15]), None);
        assert_eq!(find(b""), None);
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
