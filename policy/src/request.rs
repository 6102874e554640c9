//! The question: program, soname, candidate, who asks, and nothing else.

/// One library that is about to be provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The program's path, as it was executed.
    pub program: &'a [u8],
    /// What the program asks for.
    pub soname: &'a [u8],
    /// Where it would come from.
    pub package: Package<'a>,
    /// Why it is asked for.
    pub source: Source,
}

/// The package that would provide the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package<'a> {
    /// Attribute in nixpkgs, such as `xorg.libX11`.
    pub attribute: &'a str,
    /// Output, such as `out` or `lib`.
    pub output: &'a str,
    /// Store path, such as `/nix/store/…-zlib-1.3.1`.
    pub store_path: &'a str,
}

/// What made the loader look for the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The program, or a library that came with it, is linked against it (`DT_NEEDED`).
    Needed,
    /// The program asked at run time, or a library from a package did.
    Runtime,
}
