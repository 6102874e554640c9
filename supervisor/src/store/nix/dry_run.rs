//! What Nix says that it would download, read from the words of a dry run.
//!
//! `--dry-run` prints one such line to standard error from Nix 2.3 to today's; what has changed is the count and the units
//! (`printMissing` in Nix's `src/libmain/shared.cc`):
//! ```text
//! these paths will be fetched (16.51 MiB download, 84.10 MiB unpacked):
//! this path will be fetched (178.1 KiB download, 1.2 MiB unpacked):
//! ```

use crate::store::{Sizes, StorePath};

/// Reads it; `None`: something is to be fetched, but how much of it cannot be understood.
pub(super) fn sizes(words: &str) -> Option<Sizes> {
    let words = super::command::strip_colours(words);
    let mut lines = words.lines();
    let Some(line) = lines.find(|line| line.contains(" will be fetched")) else {
        return Some(Sizes::default());
    };
    let (download, rest) = line.split_once('(')?.1.split_once(" download, ")?;
    let unpacked = rest.split_once(" unpacked")?.0;
    let paths = lines.take_while(|line| line.trim_start().starts_with("/nix/store/")).count();
    Some(Sizes { paths, download: bytes(download)?, unpacked: bytes(unpacked)? })
}

/// Every path in it, whether it is to be fetched or built.
pub(super) fn paths(words: &str) -> Vec<StorePath> {
    let words = super::command::strip_colours(words);
    words.lines().filter_map(|line| StorePath::new(line.trim())).collect()
}

/// Those that Nix can neither fetch nor build. It says so before or after what it can (`printMissing`):
/// ```text
/// don't know how to build these paths:
///   /nix/store/…
/// ```
pub(super) fn unknown(words: &str) -> Vec<StorePath> {
    let words = super::command::strip_colours(words);
    let lines = words.lines().skip_while(|line| !line.contains("don't know how to build"));
    lines.skip(1).map_while(|line| StorePath::new(line.trim())).collect()
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let exponent = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].iter().position(|known| *known == unit)?;
    let number: f64 = number.parse().ok().filter(|number| *number >= 0.0)?;
    let scale = (0..exponent).fold(1.0, |scale, _| scale * 1024.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as far as two digits go")]
    Some((number * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn every_form_since_2_3_is_understood() {
        for (head, download, unpacked) in [
            ("these paths will be fetched (16.50 MiB download, 84.00 MiB unpacked):", 33 * MIB / 2, 84 * MIB),
            ("this path will be fetched (0.50 MiB download, 2.00 MiB unpacked):", MIB / 2, 2 * MIB),
            ("these 2 paths will be fetched (512.0 KiB download, 1.0 GiB unpacked):", MIB / 2, 1024 * MIB),
            ("\x1b[1mthese 2 paths will be fetched (0.00 MiB download, 1.00 MiB unpacked):\x1b[0m", 0, MIB),
        ] {
            let words = format!("warning: x\n{head}\n  /nix/store/a-b\n  /nix/store/c-d\ndone\n");
            assert_eq!(sizes(&words), Some(Sizes { paths: 2, download, unpacked }), "{head}");
        }
    }

    #[test]
    fn nothing_to_fetch_is_nothing_and_another_form_is_not() {
        assert_eq!(sizes("don't know how to build these paths:\n  /nix/store/a-b\n"), Some(Sizes::default()));
        for words in [
            "these paths will be fetched:",
            "these paths will be fetched (1 MB download, 2 MB unpacked):",
            "these paths will be fetched (-1.0 MiB download, 2.0 MiB unpacked):",
        ] {
            assert_eq!(sizes(words), None, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_told_from_what_is_fetched() {
        let [one, other] =
            ["one", "other"].map(|name| format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}"));
        let fetched = format!("this path will be fetched (0.50 MiB download, 2.00 MiB unpacked):\n  {one}\n");
        let unknown_of = |words: &str| unknown(words).iter().map(ToString::to_string).collect::<Vec<_>>();
        for words in [
            format!("don't know how to build these paths:\n  {other}\n{fetched}"),
            format!(
                "{fetched}don't know how to build these paths (may be caused by read-only store access):\n  {other}\n"
            ),
        ] {
            assert_eq!(unknown_of(&words), [other.as_str()], "{words}");
        }
        assert_eq!(unknown_of(&fetched), [""; 0]);
    }

    #[test]
    fn everything_that_would_be_fetched_or_built_is_listed() {
        let [one, other] = ["one-1.0", "other-2.0.drv"]
            .map(|name| format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{name}"));
        let words = format!(
            "this derivation will be built:\n  {other}\n\x1b[1mthis path will be fetched (1 B):\x1b[0m\n  {one}\n"
        );
        let names: Vec<String> = paths(&words).iter().map(ToString::to_string).collect();
        assert_eq!(names, [other, one]);
    }
}
