//! Choosing for a path instead of a soname: a program asks for a module where its distribution has it.
//!
//! Not a search: what has no folder before its name is a soname's business.

use super::{Candidate, Context, best, rules};
use crate::index::table::Table;
use crate::lists::GroupKind;

/// The soname of the loader; a package that has it is a glibc.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// The best provider of the first of these paths, longest first, that any package has: `lib/gio/modules/libx.so`, then
/// `gio/modules/libx.so`. A path that is a package's whole one beats one that is the end of it.
///
/// Nothing for names that no package may provide, nor out of a glibc: its modules must be those of the glibc in use.
pub fn serve_path<'t, B: AsRef<[u8]>>(
    paths: &[String],
    databases: &[&'t Table<B>],
    context: &Context<'_>,
) -> Option<Candidate<'t>> {
    let serves = |path: &String| {
        let (_, name) = path.rsplit_once('/')?;
        if !matches!(context.lists.kind_of(name), None | Some(GroupKind::GccRuntime)) {
            return None;
        }
        let fits = |candidate: &Candidate<'t>| {
            let provider = &candidate.provider;
            rules::fits_width(candidate, context.class)
                && !context.lists.is_unusable_folder(provider.dir)
                && !databases.iter().any(|table| is_glibc(table, candidate))
        };
        let all: Vec<Candidate<'t>> = databases
            .iter()
            .enumerate()
            .flat_map(|(database, table)| {
                let found = table.by_suffix(path);
                found.map(move |provider| Candidate { provider, database, alias: false })
            })
            .filter(fits)
            .collect();
        let whole = all.iter().filter(|candidate| candidate.provider.path() == *path).copied();
        best(whole, context).or_else(|| best(all.iter().copied(), context))
    };
    paths.iter().find_map(serves)
}

fn is_glibc<B: AsRef<[u8]>>(table: &Table<B>, candidate: &Candidate<'_>) -> bool {
    let package = &candidate.provider.package;
    let mut loaders = table.lookup(LOADER);
    loaders.any(|loader| loader.package.base == package.base && loader.package.store_dir == package.store_dir)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{package, table};
    use super::*;
    use crate::lists::Lists;

    fn served(paths: &[&str], packages: &[crate::index::nix_index::Package]) -> Option<String> {
        let table = table(packages);
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let candidate = serve_path(&paths, &[&table], &Context::bare(Lists::built_in()))?;
        Some(format!("{}:{}", candidate.provider.package.attr, candidate.provider.path()))
    }

    #[test]
    fn the_longest_path_that_anybody_has_decides() {
        let packages = [
            package("exact", &["lib/app/plugins/x.so"]),
            package("nested", &["lib/big/lib/app/plugins/x.so"]),
            package("other", &["lib/plugins/x.so"]),
        ];
        let paths = ["lib/app/plugins/x.so", "app/plugins/x.so", "plugins/x.so"];
        assert_eq!(served(&paths, &packages), Some("exact:lib/app/plugins/x.so".into()));
        assert_eq!(served(&paths, &packages[1..]), Some("nested:lib/big/lib/app/plugins/x.so".into()));
        assert_eq!(served(&paths, &packages[2..]), Some("other:lib/plugins/x.so".into()));
        assert_eq!(served(&paths[..2], &packages[2..]), None);
    }

    #[test]
    fn a_name_without_a_folder_is_not_served() {
        assert_eq!(served(&["libz.so.1"], &[package("zlib", &["lib/libz.so.1"])]), None);
    }

    #[test]
    fn what_no_package_may_provide_is_not_served_by_its_path_either() {
        let mesa = package("mesa", &["lib/dri/swrast_dri.so"]);
        assert_eq!(served(&["lib/dri/swrast_dri.so"], &[mesa]), None);
        let stub = package("cudart", &["lib/stubs/libq.so.1"]);
        assert_eq!(served(&["lib/stubs/libq.so.1"], &[stub]), None);
        let narrow = package("pkgsi686Linux.gio", &["lib/gio/modules/libx.so"]);
        assert_eq!(served(&["lib/gio/modules/libx.so"], &[narrow]), None);
        let glibc = package("glibc", &["lib/ld-linux-x86-64.so.2", "lib/gconv/UTF-7.so"]);
        assert_eq!(served(&["lib/gconv/UTF-7.so"], &[glibc]), None);
    }
}
