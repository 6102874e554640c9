//! The folders in which foreign programs expect libraries, and what a path below one of them is called in a package.

use std::path::{Component, Path};

use sonde_resolve::index::is_shared_object_name;

/// Filesystem hierarchy standard, and Debian's multiarch folders. Of two that hold a path the longer one counts.
const LIBRARY_FOLDERS: [&str; 8] = [
    "/lib",
    "/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// Is this a folder where libraries usually are?
pub(crate) fn is_usual(folder: &Path) -> bool {
    LIBRARY_FOLDERS.iter().any(|usual| folder == Path::new(usual))
}

/// What a shared object below one of these folders may be called in a package, longest first:
/// `/usr/lib/x86_64-linux-gnu/gio/modules/libx.so` is `lib/gio/modules/libx.so`, or the end of a path,
/// `gio/modules/libx.so` or `modules/libx.so`. Nothing for what lies in none of them, or in one itself, where a name
/// alone says what it is.
pub(crate) fn paths_in_packages(path: &Path) -> Vec<String> {
    let roots = LIBRARY_FOLDERS.iter().filter_map(|folder| path.strip_prefix(folder).ok());
    let Some(inside) = roots.min_by_key(|inside| inside.as_os_str().len()) else { return Vec::new() };
    let parts: Option<Vec<&str>> = inside
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            // Where `..` leads depends on links that are not here to be looked at.
            _ => None,
        })
        .collect();
    let Some(parts) = parts else { return Vec::new() };
    let [first, .., name] = parts.as_slice() else { return Vec::new() };
    // Another machine's libraries, which a 64-bit program may look for and must not find.
    if first.contains("-linux-gnu") || !is_shared_object_name(name.as_bytes()) {
        return Vec::new();
    }
    let whole = std::iter::once(format!("lib/{}", parts.join("/")));
    let ends = (0..parts.len() - 1).filter_map(|from| parts.get(from..)).map(|parts| parts.join("/"));
    whole.chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str) -> Vec<String> {
        paths_in_packages(Path::new(path))
    }

    #[test]
    fn a_module_is_known_by_the_end_of_its_path() {
        let module = ["lib/gio/modules/libx.so", "gio/modules/libx.so", "modules/libx.so"];
        for root in LIBRARY_FOLDERS {
            assert_eq!(paths(&format!("{root}/gio/modules/libx.so")), module, "{root}");
        }
        assert_eq!(paths("/usr/lib64/dri/swrast_dri.so"), ["lib/dri/swrast_dri.so", "dri/swrast_dri.so"]);
        assert_eq!(paths("/usr/lib//dri/./x.so.1"), ["lib/dri/x.so.1", "dri/x.so.1"]);
    }

    #[test]
    fn everything_else_has_no_such_path() {
        for path in [
            "/usr/lib/libz.so.1",
            "/usr/lib/x86_64-linux-gnu/libz.so.1",
            "/usr/lib",
            "/opt/app/plugins/x.so",
            "/usr/library/dri/x.so",
            "/usr/lib/python3/x.py",
            "/usr/lib/app/../dri/x.so",
            "/usr/lib/i386-linux-gnu/dri/x.so",
            "/usr/lib32/dri/x.so",
            "lib/dri/x.so",
        ] {
            assert_eq!(paths(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn only_the_folders_themselves_are_usual() {
        assert!(is_usual(Path::new("/usr/lib/x86_64-linux-gnu")));
        assert!(!is_usual(Path::new("/usr/lib/dri")));
        assert!(!is_usual(Path::new("/opt/lib")));
    }
}
