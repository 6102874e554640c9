//! The order of a cache's entries: glibc's `_dl_cache_libcmp`, in which runs of digits compare as numbers.

use std::cmp::Ordering;

/// Compares two names as the loader does; a cache is sorted from the greatest to the least.
///
/// Two different names can be equal (`libz.so.01` and `libz.so.1`), and the loader then takes one for the
/// other.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (x, y) = (a.first().copied().unwrap_or(0), b.first().copied().unwrap_or(0));
        if x == 0 {
            // A name that has ended meets a digit like any other character: as `'\0' - '5'`.
            return x.cmp(&y);
        }
        match (x.is_ascii_digit(), y.is_ascii_digit()) {
            (true, true) => {
                let ((left, rest_a), (right, rest_b)) = (number(a), number(b));
                if left != right {
                    return left.cmp(&right);
                }
                (a, b) = (rest_a, rest_b);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if x != y => return x.cmp(&y),
            (false, false) => (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default()),
        }
    }
}

/// Whether the loader finds a name in a sorted cache. glibc reads a run of digits into an `int`, which
/// overflows beyond 2147483647, and compares characters as `char`, which is signed on some machines only:
/// such names have no reliable order.
pub fn holds(soname: &str) -> bool {
    let mut rest = soname.as_bytes();
    while let Some(&byte) = rest.first() {
        if byte == 0 || !byte.is_ascii() {
            return false;
        }
        if byte.is_ascii_digit() {
            let (value, after) = number(rest);
            if value > i32::MAX as u64 {
                return false;
            }
            rest = after;
        } else {
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    !soname.is_empty()
}

/// The number at the start (saturating), and what follows it.
fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (run, rest) = bytes.split_at(digits);
    let value = run
        .iter()
        .fold(0u64, |value, &digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    (value, rest)
}
