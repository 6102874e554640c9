//! Who has which shared object: import of nix-index databases, and our own index made from them.
//!
//! [`nix_index`] reads the published format once, as a stream; [`table`] is the file that is kept and mapped.
//! Where the files lie, how they are fetched and replaced, and the order of several databases is the
//! supervisor's business.

pub mod nix_index;
pub mod table;

/// Whether a file name is that of a shared object: `*.so`, or `*.so.` and a version, whose last part has a digit (so
/// that `libstdc++.so.6.0.30-gdb.py`, `libcrypto.so.3.hmac` and the like are none).
pub fn is_shared_object_name(name: &[u8]) -> bool {
    let mut rest = name;
    // The dot of `.so` must not begin the name: a hidden file called `.so` is none.
    while let Some(at) = rest.windows(3).skip(1).position(|window| window == b".so").map(|at| at + 1) {
        let version = rest.get(at + 3..).unwrap_or_default();
        match version.first() {
            None => return true,
            Some(b'.') => {
                let last = version.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
                return last.iter().any(u8::is_ascii_digit);
            }
            Some(_) => rest = rest.get(at + 2..).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_shared_object_name;

    #[test]
    fn a_shared_object_ends_in_so_or_goes_on_with_a_dot() {
        for name in
            ["libz.so", "libz.so.1", "a.so", "libfoo.sound.so.2", "swrast_dri.so", "ld-linux-x86-64.so.2"]
        {
            assert!(is_shared_object_name(name.as_bytes()), "{name}");
        }
        for name in [
            "libz.a",
            ".so",
            "x.sol",
            "foo.so.",
            "so",
            "gri0043.sok",
            "libstdc++.so.6.0.30-gdb.py",
            "libz.so.hmac",
            "",
        ] {
            assert!(!is_shared_object_name(name.as_bytes()), "{name}");
        }
    }
}
