//! Names, versions and ranges of versions, as Nix has them: `openssl-1.1.1w` is `openssl` of `1.1.1w`.
//!
//! Versions are compared as `builtins.compareVersions` does, so that `1.1.1w` is later than `1.1.1`, and `2pre1` earlier
//! than `2`.

use std::cmp::Ordering;

/// The length of a digest in a store path's name.
const DIGEST: usize = 32;

/// Name and version of a store path's package; the version is empty if it has none.
///
/// The name ends at the first dash that no letter follows (Nix manual, `builtins.parseDrvName`).
pub(crate) fn split(store_path: &str) -> (&str, &str) {
    let base = store_path.rsplit('/').next().unwrap_or_default();
    let named = match (base.get(..DIGEST), base.get(DIGEST..DIGEST + 1), base.get(DIGEST + 1..)) {
        (Some(_), Some("-"), Some(rest)) => rest,
        _ => base,
    };
    let dash = named
        .bytes()
        .zip(named.bytes().skip(1))
        .position(|(dash, next)| dash == b'-' && !next.is_ascii_alphabetic());
    match dash {
        Some(at) => (named.get(..at).unwrap_or_default(), named.get(at + 1..).unwrap_or_default()),
        None => (named, ""),
    }
}

/// Compares as Nix does.
fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (components(one), components(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (left, right) => match order(left.unwrap_or_default(), right.unwrap_or_default()) {
                Ordering::Equal => {}
                decided => return decided,
            },
        }
    }
}

/// Runs of digits and runs of other characters; dots and dashes stand between.
fn components(version: &str) -> impl Iterator<Item = &str> {
    let mut rest = version;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['.', '-']);
        let digits = rest.chars().next()?.is_ascii_digit();
        let end = rest
            .find(|letter: char| letter == '.' || letter == '-' || letter.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (component, behind) = rest.split_at(end);
        rest = behind;
        Some(component)
    })
}

/// `libexpr/names.cc`, `componentsLT`: numbers by value, `pre` before everything, nothing before letters before numbers.
fn order(one: &str, other: &str) -> Ordering {
    let class = |component: &str| match component.chars().next() {
        _ if component == "pre" => 0,
        None => 1,
        Some(first) if first.is_ascii_digit() => 3,
        Some(_) => 2,
    };
    let significant = |number: &str| {
        let digits = number.trim_start_matches('0');
        (digits.len(), digits.to_owned())
    };
    match (class(one), class(other)) {
        (3, 3) => significant(one).cmp(&significant(other)),
        (2, 2) => one.cmp(other),
        (left, right) => left.cmp(&right),
    }
}

/// A range of versions: comparisons that must all hold, such as `>=1.1, <3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range(Vec<(Comparison, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Longer signs first: `<=` begins with `<`.
const SIGNS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

impl Range {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(|part| {
            let part = part.trim();
            let (sign, comparison) = SIGNS.iter().find(|(sign, _)| part.starts_with(sign))?;
            let version = part.strip_prefix(sign)?.trim_start();
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "+-._?".contains(letter);
            (!version.is_empty() && version.chars().all(plain)).then(|| (*comparison, version.to_owned()))
        });
        parts.collect::<Option<Vec<_>>>().map(Self)
    }

    pub(crate) fn contains(&self, version: &str) -> bool {
        self.0.iter().all(|(comparison, bound)| {
            let order = compare(version, bound);
            match comparison {
                Comparison::Equal => order.is_eq(),
                Comparison::Less => order.is_lt(),
                Comparison::AtMost => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::AtLeast => order.is_ge(),
            }
        })
    }

    /// Can no version be in it?
    pub(crate) fn is_empty(&self) -> bool {
        let lower = self.0.iter().filter(|(comparison, _)| {
            matches!(comparison, Comparison::Greater | Comparison::AtLeast | Comparison::Equal)
        });
        lower.into_iter().any(|(low, at)| {
            self.0.iter().any(|(high, to)| match (low, high, compare(at, to)) {
                (_, Comparison::Less, order) => order.is_ge(),
                (Comparison::Greater, Comparison::AtMost | Comparison::Equal, order) => order.is_ge(),
                (_, Comparison::AtMost | Comparison::Equal, order) => order.is_gt(),
                _ => false,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_the_version_begins() {
        let digest = "0123456789abcdfghijklmnpqrsvwxyz";
        for (name, parts) in [
            ("openssl-1.1.1w", ("openssl", "1.1.1w")),
            ("gtk+-2.24.33", ("gtk+", "2.24.33")),
            ("python3.11-requests-2.31", ("python3.11-requests", "2.31")),
            ("nix-index", ("nix-index", "")),
            ("zlib-1.3.1-dev", ("zlib", "1.3.1-dev")),
            ("x-", ("x-", "")),
        ] {
            assert_eq!(split(&format!("/nix/store/{digest}-{name}")), parts);
            assert_eq!(split(name), parts);
        }
        assert_eq!(split(""), ("", ""));
    }

    #[test]
    fn versions_are_ordered_as_nix_orders_them() {
        // Those of Nix's own tests (tests/functional/lang/eval-okay-versions.nix), and some.
        let ascending =
            [("1.0", "2.3"), ("2.1", "2.3"), ("2.1", "2.1.1"), ("2.3pre1", "2.3"), ("2.3a", "2.3c")];
        let more = [("2.3pre3", "2.3pre12"), ("2.3pre1", "2.3c"), ("2.3pre1", "2.3q"), ("1.1.1", "1.1.1w")];
        let last = [("1.9", "1.10"), ("1.1.1v", "1.1.1w"), ("1.a", "1.1"), ("9", "99999999999999999999999")];
        for (less, greater) in ascending.into_iter().chain(more).chain(last) {
            assert_eq!(compare(less, greater), Ordering::Less, "{less} {greater}");
            assert_eq!(compare(greater, less), Ordering::Greater, "{less} {greater}");
        }
        for (one, same) in [("2.3", "2.3"), ("1.0", "1.00"), ("1-2", "1.2"), ("", "")] {
            assert_eq!(compare(one, same), Ordering::Equal, "{one} {same}");
        }
    }

    #[test]
    fn a_range_is_read_and_asked() {
        let range = Range::parse(">=1.1, <3").unwrap();
        assert!(
            range.contains("1.1.1w")
                && range.contains("2.9")
                && !range.contains("3")
                && !range.contains("1.0")
        );
        assert!(!Range::parse("<3").unwrap().is_empty() && !range.is_empty());
        for never in [">3, <2", "=1, =2", ">=3, <3", ">3, <=3"] {
            assert!(Range::parse(never).unwrap().is_empty(), "{never}");
        }
        for wrong in ["", "1.0", "<", "<1,", "~1", "<1 2", "<é"] {
            assert_eq!(Range::parse(wrong), None, "{wrong}");
        }
    }
}
