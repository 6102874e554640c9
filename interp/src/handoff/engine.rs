//! The engines by their names, and what somebody may want of them.

use super::MessageError;

/// What makes traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A filter with a listener (seccomp_unotify(2)).
    Seccomp,
    /// The supervisor as a tracer (ptrace(2)).
    Ptrace,
    /// The loader itself, changed where it opens files; only what it cannot open is known.
    Inline,
}

/// Which engine somebody asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nobody has said anything.
    #[default]
    Unsaid,
    /// Whichever works.
    Auto,
    /// This one, or none.
    Only(Engine),
}

impl Wish {
    /// What `--engine` takes.
    pub const WORDS: [&'static str; 4] = ["auto", "seccomp", "ptrace", "inline"];

    /// Understands a word of the command line or the configuration.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        match word {
            b"auto" => Some(Self::Auto),
            b"seccomp" => Some(Self::Only(Engine::Seccomp)),
            b"ptrace" => Some(Self::Only(Engine::Ptrace)),
            b"inline" => Some(Self::Only(Engine::Inline)),
            _ => None,
        }
    }

    pub(super) fn to_number(self) -> u32 {
        match self {
            Self::Unsaid => 0,
            Self::Auto => 1,
            Self::Only(engine) => 2 + engine.to_number(),
        }
    }

    pub(super) fn from_number(number: u32) -> Result<Self, MessageError> {
        match number {
            0 => Ok(Self::Unsaid),
            1 => Ok(Self::Auto),
            number => Engine::from_number(number - 2).map(Self::Only),
        }
    }
}

impl Engine {
    pub(super) fn to_number(self) -> u32 {
        match self {
            Self::Seccomp => 0,
            Self::Ptrace => 1,
            Self::Inline => 2,
        }
    }

    pub(super) fn from_number(number: u32) -> Result<Self, MessageError> {
        match number {
            0 => Ok(Self::Seccomp),
            1 => Ok(Self::Ptrace),
            2 => Ok(Self::Inline),
            _ => Err(MessageError::Kind),
        }
    }
}
