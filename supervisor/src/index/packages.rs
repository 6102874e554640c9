//! Packages of the databases by their store path: what a policy calls a package that nobody asked for by name.

use std::collections::HashMap;

use super::{Choice, Index};
use crate::store::StorePath;

/// What is known of a store path.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PackageName<'i> {
    pub(crate) attribute: &'i str,
    pub(crate) output: &'i str,
    /// The database that has it first; empty where none does.
    pub(crate) database: &'i str,
}

/// By the part of the store path that begins with the hash: the database, attribute and output.
pub(super) type Packages = HashMap<String, (usize, String, String)>;

impl Index {
    /// The package that a store path belongs to; nothing for one that has no library in any database.
    ///
    /// The first question reads all databases, which only a policy about dependencies makes necessary.
    pub(crate) fn package_of(&self, object: &StorePath) -> Option<PackageName<'_>> {
        let packages = self.packages.get_or_init(|| {
            let mut all = Packages::new();
            for (database, table) in self.tables.iter().enumerate() {
                for provider in table.providers() {
                    let package = provider.package;
                    if !all.contains_key(package.base) {
                        let name = (database, package.attr.to_owned(), package.output.to_owned());
                        all.insert(package.base.to_owned(), name);
                    }
                }
            }
            all
        });
        let (database, attribute, output) = packages.get(object.base_name())?;
        Some(PackageName { attribute, output, database: self.name_of(*database) })
    }

    /// The name of the first database that knows the chosen file; empty where none does.
    pub(crate) fn database_with(&self, choice: &Choice) -> &str {
        let path = choice.file.to_str();
        let knows = |path: &str| self.tables.iter().position(|table| table.by_store_path(path).is_some());
        path.and_then(knows).map_or("", |database| self.name_of(database))
    }
}
