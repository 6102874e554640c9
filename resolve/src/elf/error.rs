//! Why a file could not be read as ELF, in words for the person who tried to run it.

use thiserror::Error;

/// What a file that is not ELF seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looks {
    /// No bytes at all.
    Empty,
    /// Starts with `#!`; the interpreter line without the mark.
    Script(String),
    /// Printable text, such as a linker script called `libc.so`.
    Text,
    /// A `.a` archive.
    Archive,
    /// A Windows program.
    Windows,
    /// Anything else.
    Data,
}

impl Looks {
    pub(super) fn of(bytes: &[u8]) -> Looks {
        let head = bytes.get(..bytes.len().min(256)).unwrap_or_default();
        if head.is_empty() {
            Looks::Empty
        } else if let Some(line) = head.strip_prefix(b"#!") {
            let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
            Looks::Script(String::from_utf8_lossy(line).trim().to_owned())
        } else if head.starts_with(b"!<arch>\n") {
            Looks::Archive
        } else if head.starts_with(b"MZ") {
            Looks::Windows
        } else if head
            .iter()
            .all(|&byte| byte == b'\n' || byte == b'\t' || byte == b'\r' || (32..127).contains(&byte))
        {
            Looks::Text
        } else {
            Looks::Data
        }
    }
}

impl std::fmt::Display for Looks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Looks::Empty => f.write_str("it is empty"),
            Looks::Script(line) => write!(f, "it is a script for `{line}`"),
            Looks::Text => f.write_str("it is text (a linker script?)"),
            Looks::Archive => f.write_str("it is a static library (.a)"),
            Looks::Windows => f.write_str("it is a Windows program"),
            Looks::Data => f.write_str("it does not start with \\x7fELF"),
        }
    }
}

/// Why a file could not be read. `offset` is in bytes from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ElfError {
    /// Not an ELF file.
    #[error("not an ELF file: {0}")]
    NotElf(Looks),
    /// The file ends before something that its headers promise.
    #[error("the ELF file is cut short: {what} at offset {offset:#x} lies beyond its end")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it should be.
        offset: u64,
    },
    /// An ELF file of a sort that does not exist yet, or that no Linux loader takes.
    #[error("unsupported ELF file: {what} is {value}")]
    Unsupported {
        /// Which header field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Its structures contradict each other.
    #[error("malformed ELF file: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}
