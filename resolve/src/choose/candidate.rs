//! A provider being considered.

use crate::index::table::{LinkTarget, Provider, Table};
use crate::lists::Lists;

/// A provider being considered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'t> {
    /// What has the library.
    pub provider: Provider<'t>,
    /// Which of the databases it is from: 0 is asked first.
    pub database: usize,
    /// It was found under another spelling of the name.
    pub alias: bool,
}

impl<'t> Candidate<'t> {
    /// A candidate from the first database, under the name that was asked for.
    pub fn new(provider: Provider<'t>) -> Candidate<'t> {
        Candidate { provider, database: 0, alias: false }
    }

    /// It lies where programs look, for 64-bit or 32-bit ones.
    pub fn is_public(&self) -> bool {
        matches!(self.provider.dir, "lib" | "lib64" | "lib32" | "libx32")
    }

    /// A stand-in that only serves to link against: CUDA's `lib/stubs`.
    pub fn is_stub(&self) -> bool {
        self.provider.dir.split('/').any(|part| part == "stubs")
    }

    /// A link into another store path: an environment's, whose member is the real provider.
    pub fn is_foreign_link(&self) -> bool {
        matches!(self.provider.kind, LinkTarget::Symlink(target) if target.starts_with('/'))
    }

    /// A program may be given it without a look at its symbols. In a public folder anything; in a package's private
    /// one (`lib/mariadb`) what is called like a library with a version: a program that asks for such a name has no
    /// other way to get it, and plug-ins are not called so.
    pub fn may_be_served(&self, lists: &Lists) -> bool {
        let provider = &self.provider;
        let versioned = provider.file_name.starts_with("lib") && !provider.file_name.ends_with(".so");
        let folder = provider.dir.strip_prefix("lib64").or_else(|| provider.dir.strip_prefix("lib"));
        let depth = match folder.map(|rest| rest.strip_prefix('/')) {
            Some(Some(rest)) => rest.split('/').count(),
            Some(None) if matches!(provider.dir, "lib" | "lib64") => 0,
            // lib32, libx32: not of this width.
            _ => return false,
        };
        !lists.is_unusable_folder(provider.dir) && (depth == 0 || depth == 1 && versioned)
    }

    /// What orders candidates that no rule tells apart.
    pub(super) fn order_key(&self) -> (usize, &'t str, &'t str) {
        (self.database, self.provider.package.base, self.provider.dir)
    }
}

/// All candidates for a soname in several databases, the one asked first at the front, also under other
/// spellings of the name.
///
/// glibc's own names, drivers and what is never provided are not left out: whoever asks wants to say why they
/// are not served.
pub fn candidates<'t, B: AsRef<[u8]>>(
    soname: &str,
    databases: &[&'t Table<B>],
    lists: &Lists,
) -> Vec<Candidate<'t>> {
    let aliases = lists.aliases_of(soname).map(|(name, _)| (name, true));
    let names: Vec<(&str, bool)> = std::iter::once((soname, false)).chain(aliases).collect();
    let mut found = Vec::new();
    for (database, table) in databases.iter().enumerate() {
        for &(name, alias) in &names {
            found.extend(table.lookup(name).map(|provider| Candidate { provider, database, alias }));
        }
    }
    found
}
