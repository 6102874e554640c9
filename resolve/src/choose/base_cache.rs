//! The prebuilt part of every served cache: each soname of a table and the path of its best provider.
//!
//! Left out is what a loader must not get from an index: glibc's members (the supervisor adds those of the
//! loader in use), drivers, what is never provided, stubs, and what only lies in private folders and is a plug-in
//! by its name.

use super::{Context, serve};
use crate::index::table::Table;
use crate::ldcache::{self, CacheError, Entry};
use crate::lists::Lists;
use std::collections::BTreeSet;

const X86_64: u16 = 62;

/// The cache of all names in some databases, the one asked first at the front. Aliases are no part of it:
/// whether another library will do depends on the program.
///
/// # Errors
/// It would be larger than 4 GiB.
pub fn build<B: AsRef<[u8]>>(databases: &[&Table<B>], lists: &Lists) -> Result<Vec<u8>, CacheError> {
    let system = databases.iter().find_map(|table| table.metadata().systems.first());
    let machine = system.map_or(X86_64, |system| machine_of(system));
    let flags = ldcache::flags_of(machine).unwrap_or_default();
    let context = Context::bare(lists);
    let names: BTreeSet<&str> = databases.iter().flat_map(|table| table.sonames()).collect();
    let entries: Vec<Entry> = names
        .into_iter()
        .filter_map(|soname| {
            let best = serve(soname, databases, false, &context)?;
            Some(Entry { soname: soname.to_owned(), path: best.provider.store_path(), flags, hwcap: 0 })
        })
        .collect();
    ldcache::write(&entries)
}

/// `e_machine` of a Nix system; what has no such name is taken for x86-64, as databases of that system often
/// have none.
fn machine_of(system: &str) -> u16 {
    match system.split('-').next().unwrap_or_default() {
        "i686" => 3,
        "aarch64" => 183,
        "riscv64" => 243,
        "loongarch64" => 258,
        _ => X86_64,
    }
}
