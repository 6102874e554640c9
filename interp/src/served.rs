//! A served cache as the engine inline sees it: only whether it has a name. What it has the loader finds by itself, after
//! it has looked in folders that have not got it, so nobody need be asked about those.
//!
//! The format is glibc's (`struct cache_file_new`, sysdeps/generic/dl-cache.h), and so is the order of the entries, from
//! the greatest name to the least (`_dl_cache_libcmp`, elf/dl-cache.c).

use core::cmp::Ordering;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The bytes of a cache.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Served<'a> {
    /// Reads the header; `None` if it is no such cache, or cut off.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) {
            return None;
        }
        let count = word(bytes, MAGIC.len())?;
        let end = count.checked_mul(ENTRY)?.checked_add(HEADER)?;
        (end <= bytes.len()).then_some(Self { bytes, count })
    }

    /// Has it this name? In doubt it has not.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let (mut from, mut to) = (0, self.count);
        while from < to {
            let middle = from + (to - from) / 2;
            // The key stands behind an entry's flags.
            let Some(key) = word(self.bytes, HEADER + middle * ENTRY + 4) else { return false };
            match compare(name, self.bytes.get(key..).unwrap_or_default()) {
                Ordering::Equal => return true,
                Ordering::Greater => to = middle,
                Ordering::Less => from = middle + 1,
            }
        }
        false
    }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*word)).ok()
}

/// Compares two names, of which the second ends with a NUL, as the loader does: runs of digits are numbers.
fn compare(mut one: &[u8], mut other: &[u8]) -> Ordering {
    loop {
        let (x, y) = (one.first().copied().unwrap_or(0), other.first().copied().unwrap_or(0));
        match (x.is_ascii_digit(), y.is_ascii_digit()) {
            _ if x == 0 => return x.cmp(&y),
            (true, true) => {
                let ((left, rest), (right, other_rest)) = (number(one), number(other));
                if left != right {
                    return left.cmp(&right);
                }
                (one, other) = (rest, other_rest);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if x != y => return x.cmp(&y),
            (false, false) => {
                (one, other) = (one.get(1..).unwrap_or_default(), other.get(1..).unwrap_or_default());
            }
        }
    }
}

fn number(text: &[u8]) -> (u64, &[u8]) {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(length).unwrap_or_default();
    let value = digits
        .iter()
        .fold(0_u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(*digit - b'0')));
    (value, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of these names, in this order.
    fn cache(names: &[&str]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        bytes.resize(HEADER, 0);
        let mut strings = Vec::new();
        for name in names {
            let key = HEADER + names.len() * ENTRY + strings.len();
            let mut entry = [0; ENTRY];
            entry[4..8].copy_from_slice(&u32::try_from(key).unwrap().to_le_bytes());
            bytes.extend(entry);
            strings.extend(name.bytes().chain([0]));
        }
        [bytes, strings].concat()
    }

    #[test]
    fn what_is_there_is_found_and_nothing_else() {
        let names = ["libz.so.10", "libz.so.9", "libz.so", "libpng16.so.16", "libabc.so.1", "liba.so.1"];
        for count in 0..=names.len() {
            let bytes = cache(&names[..count]);
            let served = Served::read(&bytes).unwrap();
            for (index, name) in names.iter().enumerate() {
                assert_eq!(served.has(name.as_bytes()), index < count, "{name} of {count}");
            }
            for other in ["", "libz.so.1", "libz", "zzz", "libz.so.90"] {
                assert!(!served.has(other.as_bytes()), "{other}");
            }
        }
    }

    #[test]
    fn a_damaged_cache_never_panics() {
        let bytes = cache(&["libz.so.1", "liba.so.1"]);
        for cut in 0..bytes.len() {
            let _ = Served::read(&bytes[..cut]).map(|served| served.has(b"liba.so.1"));
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = 0xff;
            let _ = Served::read(&changed).map(|served| served.has(b"liba.so.1"));
        }
    }
}
