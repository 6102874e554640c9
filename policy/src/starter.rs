//! A policy to begin with: everything in it is said to be what it is, and it permits what there was before.

use std::fmt::Write;

/// The commented starter.
const STARTER: &str = include_str!("starter.toml");

/// One library that a program is given, and the package that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permitted {
    /// The package's attribute.
    pub attribute: String,
    /// The library's name.
    pub soname: String,
}

/// A policy that permits everything, with an example of each kind of rule as a comment.
#[must_use]
pub fn starter() -> &'static str {
    STARTER
}

/// The narrowest policy with which a program gets these libraries, and `hosts` from the host's driver folders: it, and
/// nobody else, gets these, and nothing else.
#[must_use]
pub fn starter_for(program: &str, permitted: &[Permitted], hosts: &[String]) -> String {
    let mut text = format!(
        "# The narrowest policy with which {program} runs: nothing else is provided, and nothing to other programs.\n\
         # Where others are to run as before, say `default = \"allow\"` here; the section keeps its own.\n\
         version = 1\ndefault = \"deny\"\n\n[[program]]\npath = {}\ndefault = \"deny\"\n",
        quoted(&escaped(program)),
        program = program.replace(char::is_control, "?"),
    );
    let mut sorted = permitted.to_vec();
    sorted.sort();
    sorted.dedup();
    for group in sorted.chunk_by(|one, other| one.attribute == other.attribute) {
        let sonames: Vec<String> = group.iter().map(|one| quoted(&escaped(&one.soname))).collect();
        let Some(first) = group.first() else { continue };
        let attribute = quoted(&escaped(&first.attribute));
        let _ = write!(
            text,
            "\n[[program.package]]\nrule = \"allow\"\nattribute = {attribute}\nsoname = [{}]\n",
            sonames.join(", ")
        );
    }
    for host in hosts {
        let name = quoted(&escaped(host));
        let _ = write!(text, "\n[[program.soname]]\nname = {name}\nrule = \"host-only\"\n");
    }
    text
}

/// A name as a pattern that matches nothing else.
fn escaped(name: &str) -> String {
    let special =
        |letter: char| if "*?[]{}\\".contains(letter) { format!("\\{letter}") } else { letter.into() };
    name.chars().map(special).collect()
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            _ => quoted.push(letter),
        }
    }
    quoted + "\""
}
