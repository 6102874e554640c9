//! The question: program, soname, candidate, who asks, and nothing else.

/// One library that is about to be provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The program's path, absolute and without links, as `/proc/PID/exe` has it. With any other, sections by path
    /// only ever forbid.
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
    /// Store path, such as `/nix/store/…-zlib-1.3.1`. Name and version are taken from it.
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

/// What is known beyond the question itself. What is not known counts against it: a rule that forbids then applies, one
/// that permits does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Circumstances<'a> {
    /// The program's build id; empty for a program that has none.
    pub build_id: Option<&'a [u8]>,
    /// The name of the index that the package was found in; empty for one that was found elsewhere.
    pub index: Option<&'a str>,
    /// Its store path is valid on this machine: nothing has to be downloaded.
    pub realised: bool,
}

/// A program that something is provided to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program<'a> {
    /// Its path, as in [`Request::program`].
    pub path: &'a [u8],
    /// Its build id, as in [`Circumstances::build_id`].
    pub build_id: Option<&'a [u8]>,
}
