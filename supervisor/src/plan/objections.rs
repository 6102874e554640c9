//! What a loader will not take, seen before it starts: versions that a program or a library that came with it needs, and
//! that what is found first does not define. The loader ends the program over each of them (`_dl_check_map_versions`,
//! elf/dl-version.c); libraries of packages are compared when they are chosen.

use std::path::Path;

use sonde_resolve::bundle::{Bundle, Member};
use sonde_resolve::elf::VersionNeed;

use crate::report::errors;

/// A sentence for each.
pub(crate) fn objections(bundle: &Bundle, loader: &Path, glibc: Option<(u32, u32)>) -> Vec<String> {
    bundle.members.iter().flat_map(|user| of_member(bundle, user, loader, glibc)).collect()
}

fn of_member(bundle: &Bundle, user: &Member, loader: &Path, glibc: Option<(u32, u32)>) -> Vec<String> {
    let needs = user.facts.version_needs.iter();
    let (mut said, mut newer) = (Vec::new(), Vec::new());
    for need in needs {
        match definer(bundle, need) {
            Some(definer) if definer.facts.version_defs.is_empty() => {} // the loader only warns
            Some(definer) => {
                let lacking = names(need, |name| !definer.facts.version_defs.iter().any(|one| one == name));
                if !lacking.is_empty() {
                    said.push(errors::lacks_versions(&user.path, &definer.path, &lacking));
                }
            }
            None => newer.extend(names(need, |name| glibc_version(name).is_some_and(|it| Some(it) > glibc))),
        }
    }
    newer.sort_unstable();
    newer.dedup();
    if let Some((major, minor)) = glibc.filter(|_| !newer.is_empty()) {
        said.push(errors::old_glibc(&user.path, &newer, loader, &format!("{major}.{minor}")));
    }
    said
}

/// The library of the bundle that a need is of.
fn definer<'b>(bundle: &'b Bundle, need: &VersionNeed) -> Option<&'b Member> {
    let want = bundle.wants.iter().find(|want| want.soname() == need.soname)?;
    let path = want.found.as_deref()?;
    bundle.members.iter().skip(1).find(|member| member.path == path)
}

fn names(need: &VersionNeed, is_meant: impl Fn(&str) -> bool) -> Vec<&str> {
    let needed = need.versions.iter().filter(|version| !version.weak);
    needed.map(|version| version.name.as_str()).filter(|name| is_meant(name)).collect()
}

/// `GLIBC_2.34` → 2, 34.
fn glibc_version(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_glibc_is_compared_by_its_numbers() {
        assert_eq!(glibc_version("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert!(glibc_version("GLIBC_2.9") < glibc_version("GLIBC_2.10"));
        for other in ["GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR", "GLIBCXX_3.4.30", "GCC_3.0"] {
            assert_eq!(glibc_version(other), None, "{other}");
        }
    }
}
