//! Small tables for the tests of this module.

use crate::index::nix_index::{Library, LibraryKind, Package, Stats};
use crate::index::table::{About, Table, TableBuilder};

/// A top-level package whose attribute, name and hash come from `attr`. A path may have a link's target:
/// `lib/a.so -> b.so`.
pub(super) fn package(attr: &str, paths: &[&str]) -> Package {
    let letters: String = attr.chars().filter(char::is_ascii_alphanumeric).collect();
    Package {
        store_dir: "/nix/store".into(),
        hash: format!("{letters:0>32}"),
        name: format!("{attr}-1.0"),
        attr: attr.into(),
        output: "out".into(),
        toplevel: true,
        system: None,
        libraries: paths
            .iter()
            .map(|path| match path.split_once(" -> ") {
                Some((path, target)) => {
                    Library { path: path.into(), kind: LibraryKind::Symlink { target: target.into() } }
                }
                None => Library { path: (*path).into(), kind: LibraryKind::Regular { size: 50_000 } },
            })
            .collect(),
        links_into: Vec::new(),
    }
}

pub(super) fn table(packages: &[Package]) -> Table<Vec<u8>> {
    let mut builder = TableBuilder::new();
    packages.iter().cloned().for_each(|package| builder.add(package));
    let about = About { source: "test".into(), imported_at: 0 };
    builder.build(about, &Stats::default()).table().unwrap()
}
