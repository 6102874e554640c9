//! From Debian's file layout to a store path's: which files of a .deb are taken, and where they go. Static
//! libraries are not.

use std::path::{Component, Path, PathBuf};

/// Folders of /usr/share that no library reads.
const UNREAD_SHARE: &[&str] = &[
    "doc",
    "man",
    "info",
    "lintian",
    "bug",
    "locale",
    "perl5",
    "gcc",
    "gdb",
    "bash-completion",
    "zsh",
    "doc-base",
];

/// Where a file of a Debian package goes in its store path; `None` if it stays behind. Both are relative.
/// `promote` is a private folder whose files go to `lib/` itself.
pub(crate) fn store_place(file: &Path, promote: Option<&str>) -> Option<PathBuf> {
    if file.extension().is_some_and(|extension| extension == "a") {
        return None;
    }
    let file = file.strip_prefix("usr").unwrap_or(file);
    let mut parts = file.components();
    let Component::Normal(top) = parts.next()? else { return None };
    let rest = parts.as_path();
    let placed = match top.to_str()? {
        "lib" => Path::new("lib").join(rest.strip_prefix("x86_64-linux-gnu").unwrap_or(rest)),
        "include" => Path::new("include").join(rest.strip_prefix("x86_64-linux-gnu").unwrap_or(rest)),
        "bin" | "sbin" => Path::new("bin").join(rest),
        "libexec" | "etc" => file.to_owned(),
        "share" if !UNREAD_SHARE.iter().any(|folder| rest.starts_with(folder)) => file.to_owned(),
        _ => return None,
    };
    match promote.and_then(|folder| placed.strip_prefix(folder).ok()) {
        Some(rest) => Some(Path::new("lib").join(rest)),
        None => Some(placed),
    }
}

/// Where a symbolic link in a Debian package leads, as a path relative to the package's root; `..` are resolved by
/// name, which is right for Debian's links.
pub(crate) fn link_target(link: &Path, target: &Path) -> PathBuf {
    let start =
        if target.is_absolute() { PathBuf::new() } else { link.parent().unwrap_or(Path::new("")).to_owned() };
    let mut resolved = start;
    for part in target.components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir => {
                resolved.pop();
            }
            _ => {}
        }
    }
    resolved
}

/// The text of a link at `from` that leads to `to`; both relative to the same folder.
pub(crate) fn relative_link(from: &Path, to: &Path) -> PathBuf {
    let folder: Vec<_> = from.parent().unwrap_or(Path::new("")).components().collect();
    let target: Vec<_> = to.components().collect();
    let common = folder.iter().zip(&target).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, folder.len() - common);
    up.chain(target[common..].iter().copied()).collect()
}

/// The upstream version in a Debian version: `2:6.2.1+dfsg1-1.1` is `6.2.1`.
pub(crate) fn upstream_version(debian: &str) -> String {
    let without_epoch = debian.split_once(':').map_or(debian, |(_, rest)| rest);
    let without_revision = without_epoch.rsplit_once('-').map_or(without_epoch, |(version, _)| version);
    let end = ["+dfsg", ".dfsg", "~dfsg", "+ds", "+really", "+repack", "~deb", "+deb"]
        .iter()
        .filter_map(|mark| without_revision.find(mark))
        .min()
        .unwrap_or(without_revision.len());
    // Nix allows these characters in names, and no others.
    without_revision[..end]
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "+._?=-".contains(c) { c } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str) -> Option<String> {
        store_place(Path::new(file), Some("lib/blas")).map(|path| path.display().to_string())
    }

    #[test]
    fn debian_places_become_store_places() {
        assert_eq!(place("usr/lib/x86_64-linux-gnu/libz.so.1").as_deref(), Some("lib/libz.so.1"));
        assert_eq!(place("lib/x86_64-linux-gnu/libc.so.6").as_deref(), Some("lib/libc.so.6"));
        assert_eq!(
            place("usr/lib/x86_64-linux-gnu/pulseaudio/libp.so").as_deref(),
            Some("lib/pulseaudio/libp.so")
        );
        assert_eq!(place("usr/lib/x86_64-linux-gnu/blas/libblas.so.3").as_deref(), Some("lib/libblas.so.3"));
        assert_eq!(place("usr/include/x86_64-linux-gnu/zconf.h").as_deref(), Some("include/zconf.h"));
        assert_eq!(place("sbin/ldconfig").as_deref(), Some("bin/ldconfig"));
        assert_eq!(place("lib64/ld-linux-x86-64.so.2"), None);
        assert_eq!(place("usr/share/doc/zlib1g/copyright"), None);
        assert_eq!(place("usr/share/alsa/alsa.conf").as_deref(), Some("share/alsa/alsa.conf"));
        assert_eq!(place("var/lib/x"), None);
    }

    #[test]
    fn links_are_followed_by_name_and_written_anew() {
        let link = Path::new("usr/lib/x86_64-linux-gnu/libz.so");
        assert_eq!(
            link_target(link, Path::new("libz.so.1")),
            Path::new("usr/lib/x86_64-linux-gnu/libz.so.1")
        );
        assert_eq!(
            link_target(link, Path::new("/lib/x86_64-linux-gnu/libz.so.1")),
            Path::new("lib/x86_64-linux-gnu/libz.so.1")
        );
        assert_eq!(link_target(link, Path::new("../../../lib/a")), Path::new("lib/a"));
        assert_eq!(
            relative_link(Path::new("lib/libz.so"), Path::new("lib/libz.so.1")),
            Path::new("libz.so.1")
        );
        assert_eq!(relative_link(Path::new("lib/a/x"), Path::new("lib/b/y")), Path::new("../b/y"));
        assert_eq!(relative_link(Path::new("bin/sh"), Path::new("lib/b")), Path::new("../lib/b"));
    }

    #[test]
    fn versions_lose_what_debian_added() {
        assert_eq!(upstream_version("1:1.2.13.dfsg-1"), "1.2.13");
        assert_eq!(upstream_version("2:6.2.1+dfsg1-1.1"), "6.2.1");
        assert_eq!(upstream_version("3.0.22-1~deb12u2"), "3.0.22");
        assert_eq!(upstream_version("12.2.0-14+deb12u1"), "12.2.0");
        assert_eq!(upstream_version("2.10~rc1-3"), "2.10-rc1");
    }
}
