//! What lies in the folders of the store that a program's libraries are searched in, as its plan knows it.
//!
//! A library of nixpkgs names a folder for each package that it was linked with, and the loader tries them one after the
//! other: of ten opens nine fail, whose answer does not change while the packages are there.

use crate::plan::{SEED, continue_digest};
use crate::site::STORE;

/// The folders that are known, and what lies in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents<'a> {
    /// Digests of the folders' paths, ascending, 8 bytes each, little-endian.
    pub folders: &'a [u8],
    /// Digests of the paths of everything in them, likewise.
    pub entries: &'a [u8],
    /// Digests of the sonames that are found elsewhere, or nowhere, likewise.
    pub settled: &'a [u8],
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing is known of the folder.
    Unknown,
    /// It is there.
    Present,
    /// It is not.
    Absent,
}

impl Contents<'_> {
    /// Is there anything at this path?
    #[must_use]
    pub fn presence_of(&self, path: &[u8]) -> Presence {
        if self.folders.is_empty() || !path.starts_with(STORE) {
            return Presence::Unknown;
        }
        let mut hash = continue_digest(SEED, STORE);
        let mut done = STORE.len();
        while let Some(length) = path[done..].iter().position(|byte| *byte == b'/') {
            hash = continue_digest(hash, &path[done..done + length]);
            done += length;
            let presence = if has(self.folders, hash) {
                self.presence_in(hash, &path[done..])
            } else {
                Presence::Unknown
            };
            if presence != Presence::Unknown {
                return presence;
            }
            hash = continue_digest(hash, b"/");
            done += 1;
        }
        Presence::Unknown
    }

    /// Is it settled what becomes of a search for the soname with this digest, if folders do not have it?
    #[must_use]
    pub fn settles(&self, name: u64) -> bool {
        has(self.settled, name)
    }

    /// Of what stands behind a folder's path: `rest` begins with the slash.
    fn presence_in(&self, folder: u64, rest: &[u8]) -> Presence {
        let length = rest.iter().skip(1).position(|byte| *byte == b'/');
        let entry = &rest[..length.map_or(rest.len(), |length| length + 1)];
        match entry {
            // Folders have these without listing them.
            b"/" | b"/." | b"/.." => Presence::Unknown,
            _ if !has(self.entries, continue_digest(folder, entry)) => Presence::Absent,
            _ if entry.len() == rest.len() => Presence::Present,
            _ => Presence::Unknown,
        }
    }
}

fn has(table: &[u8], digest: u64) -> bool {
    let at = |index: usize| {
        let entry = table.get(8 * index..).and_then(<[u8]>::first_chunk);
        entry.map_or(u64::MAX, |entry| u64::from_le_bytes(*entry))
    };
    let (mut from, mut to) = (0, table.len() / 8);
    while from < to {
        let middle = from + (to - from) / 2;
        if at(middle) < digest {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from < table.len() / 8 && at(from) == digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::digest;

    #[test]
    fn what_is_known_of_a_folder_is_known_of_all_below_it() {
        let mut folders = ["a-z/lib", "a-z/lib/inner", "b-y/lib"]
            .map(|folder| digest(&[STORE, folder.as_bytes()].concat()));
        folders.sort_unstable();
        let mut entries = ["libz.so.1", "engines", "inner", "inner/libp.so"]
            .map(|name| digest(&[b"/nix/store/a-z/lib/", name.as_bytes()].concat()));
        entries.sort_unstable();
        let folders = folders.map(u64::to_le_bytes);
        let [entries, settled] =
            [entries, [digest(b"libz.so.1"); 4]].map(|table| table.map(u64::to_le_bytes));
        let contents = Contents {
            folders: folders.as_flattened(),
            entries: entries.as_flattened(),
            settled: settled.as_flattened(),
        };
        assert!(contents.settles(digest(b"libz.so.1")) && !contents.settles(digest(b"liby.so.1")));
        for (path, presence) in [
            ("/nix/store/a-z/lib/libz.so.1", Presence::Present),
            ("/nix/store/a-z/lib/liby.so.1", Presence::Absent),
            ("/nix/store/b-y/lib/libz.so.1", Presence::Absent),
            ("/nix/store/b-y/lib/glibc-hwcaps/x86-64-v3/libz.so.1", Presence::Absent),
            ("/nix/store/a-z/lib/engines/x.so", Presence::Unknown),
            ("/nix/store/a-z/lib/inner/libp.so", Presence::Present),
            ("/nix/store/a-z/lib/inner/tls/libp.so", Presence::Absent),
            ("/nix/store/c-x/lib/libz.so.1", Presence::Unknown),
            ("/nix/store/a-z/share/libz.so.1", Presence::Unknown),
            ("/nix/store/a-z/lib", Presence::Unknown),
            ("/nix/store/a-z/lib/", Presence::Unknown),
            ("/nix/store/a-z/lib//libz.so.1", Presence::Unknown),
            ("/nix/store/a-z/lib/./libz.so.1", Presence::Unknown),
            ("/nix/store/b-y/lib/../../a-z/lib/libz.so.1", Presence::Unknown),
            ("/usr/lib/libz.so.1", Presence::Unknown),
            ("", Presence::Unknown),
        ] {
            assert_eq!(contents.presence_of(path.as_bytes()), presence, "{path}");
            assert_eq!(Contents::default().presence_of(path.as_bytes()), Presence::Unknown);
        }
    }
}
