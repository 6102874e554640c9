//! The ELF dlopen metadata of UAPI.12 (`.note.dlopen`): which libraries a file may `dlopen`, and how badly it
//! wants them.
//!
//! Parses the JSON inside the note; finding the note is [`crate::elf`]'s business. Two forms exist: the array
//! of version 1.0, and the single object with a plain string that systemd 256 wrote.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How much the program misses the library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Nice to have.
    Suggested,
    /// A feature is lost without it; also what a note that says nothing means.
    #[default]
    Recommended,
    /// The program does not work without it.
    Required,
}

/// One library that may be loaded: the first of `sonames` that can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DlopenNote {
    /// Alternatives, preferred first; never empty.
    pub sonames: Vec<String>,
    /// A short machine-readable name of the feature.
    pub feature: Option<String>,
    /// What the feature is, for people.
    pub description: Option<String>,
    /// How much it is missed.
    pub priority: Priority,
}

/// The note's payload is not dlopen metadata.
#[derive(Debug, Error)]
#[error("not ELF dlopen metadata: {0}")]
pub struct NoteError(#[from] serde_json::Error);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::Many(many) => many,
            OneOrMany::One(one) => vec![one],
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    soname: OneOrMany<String>,
    feature: Option<String>,
    description: Option<String>,
    /// A string, so that a word of a later version is not an error.
    priority: Option<String>,
}

/// Parses the payload of one note. An entry without a soname is left out; an unknown priority counts as none
/// given.
///
/// # Errors
/// The payload is not JSON, or JSON of another shape.
pub fn parse(payload: &[u8]) -> Result<Vec<DlopenNote>, NoteError> {
    let text = payload.split(|&byte| byte == 0).next().unwrap_or_default();
    let raw: OneOrMany<Raw> = serde_json::from_slice(text)?;
    let notes = raw.into_vec().into_iter().map(|raw| DlopenNote {
        sonames: raw.soname.into_vec(),
        feature: raw.feature,
        description: raw.description,
        priority: match raw.priority.as_deref() {
            Some("required") => Priority::Required,
            Some("suggested") => Priority::Suggested,
            _ => Priority::Recommended,
        },
    });
    Ok(notes.filter(|note| !note.sonames.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_form_keeps_alternatives_in_order() {
        let notes = parse(
            br#"[{"soname":["libSDL3.so.1","libSDL3.so.0"],
                  "feature":"x","description":"d","priority":"required"},
                {"soname":["libm.so.6"]}]"#,
        )
        .unwrap();
        assert_eq!(notes.len(), 2);
        assert_eq!(notes[0].sonames, ["libSDL3.so.1", "libSDL3.so.0"]);
        assert_eq!(notes[0].priority, Priority::Required);
        assert_eq!(notes[1].priority, Priority::Recommended, "the default of the specification");
    }

    #[test]
    fn the_early_form_is_one_object_with_one_string() {
        let notes = parse(b"{\"soname\":\"libbpf.so.1\",\"priority\":\"suggested\"}\0").unwrap();
        assert_eq!(notes[0].sonames, ["libbpf.so.1"]);
        assert_eq!(notes[0].priority, Priority::Suggested);
    }

    #[test]
    fn what_is_not_metadata_is_an_error_and_an_unknown_word_is_not() {
        assert!(parse(b"not json").is_err());
        assert!(parse(b"[{\"feature\":\"no soname\"}]").is_err());
        assert_eq!(
            parse(b"[{\"soname\":[\"a\"],\"priority\":\"urgent\"}]").unwrap()[0].priority,
            Priority::Recommended
        );
        assert!(parse(b"[{\"soname\":[]}]").unwrap().is_empty());
    }
}
