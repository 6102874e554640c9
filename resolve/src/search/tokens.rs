//! Dynamic string tokens in search paths: `$ORIGIN`, `$LIB`, `$PLATFORM` (ld.so(8)).

/// What `$LIB` and `$PLATFORM` stand for on x86-64. Debian's glibc has a multiarch `$LIB`, everybody else's `lib64`;
/// nixpkgs' has `lib`. The foreign program was built against one of the first two.
const LIB: &str = "lib64";
const PLATFORM: &str = "x86_64";

/// Replaces the tokens in one element of a search path; `origin` is the folder of the object that holds it.
///
/// `${NAME}` and `$NAME` are the same; an unknown token stays as it is, as in glibc (`_dl_dst_substitute`,
/// elf/dl-load.c).
#[must_use]
pub fn expand(element: &str, origin: &str) -> String {
    let mut result = String::with_capacity(element.len() + origin.len());
    let mut rest = element;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        match token(rest, origin) {
            Some((value, length)) => {
                result.push_str(value);
                rest = &rest[length..];
            }
            None => {
                result.push('$');
                rest = &rest[1..];
            }
        }
    }
    result.push_str(rest);
    result
}

fn token<'a>(text: &str, origin: &'a str) -> Option<(&'a str, usize)> {
    [("ORIGIN", origin), ("LIB", LIB), ("PLATFORM", PLATFORM)].into_iter().find_map(|(name, value)| {
        let braced = text.strip_prefix("${").and_then(|rest| rest.strip_prefix(name));
        if braced.is_some_and(|rest| rest.starts_with('}')) {
            return Some((value, name.len() + 3));
        }
        let rest = text.strip_prefix('$')?.strip_prefix(name)?;
        let ends = !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        ends.then_some((value, name.len() + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn both_spellings_are_replaced_wherever_they_stand() {
        assert_eq!(expand("$ORIGIN/../lib", "/opt/app/bin"), "/opt/app/bin/../lib");
        assert_eq!(expand("/a/${ORIGIN}b/$LIB:", "/o"), "/a//ob/lib64:");
        assert_eq!(expand("$PLATFORM", "/o"), "x86_64");
    }

    #[test]
    fn what_is_no_token_stays() {
        for text in ["", "/plain", "$", "$$", "$ORIGINAL/x", "${ORIGIN/x", "$LIBRARY", "$UNKNOWN/ä"] {
            assert_eq!(expand(text, "/o"), text);
        }
    }
}
