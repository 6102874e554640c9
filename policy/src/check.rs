//! Is a file of the format? Unknown keys, wrong types and words, missing keys: each told with its place, all of them at
//! once. What is built afterwards can rely on it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::format::{Key, Kind, Shape, VERSION};
use crate::problem::{Problem, Severity, Source, nearest};
use crate::settings::parse_size;

/// Nobody reads more than this.
const MOST_PROBLEMS: usize = 20;

/// Problems of one file, as they are found.
#[derive(Debug)]
pub(crate) struct Problems<'s, 't> {
    pub(crate) source: &'s Source<'t>,
    pub(crate) found: Vec<Problem>,
}

impl Problems<'_, '_> {
    pub(crate) fn error(&mut self, span: std::ops::Range<usize>, message: String, help: Option<String>) {
        self.add(Severity::Error, span, message, help);
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        span: std::ops::Range<usize>,
        message: String,
        help: Option<String>,
    ) {
        if self.found.len() < MOST_PROBLEMS {
            self.found.push(self.source.problem(severity, span, message, help));
        }
    }

    /// Compares a table with its shape.
    pub(crate) fn check(&mut self, table: &DeTable<'_>, span: std::ops::Range<usize>, shape: &Shape) {
        for (name, value) in table {
            match shape.key(name.get_ref()) {
                Some(key) => self.check_value(key, value),
                None => self.unknown_key(name, shape),
            }
        }
        for key in shape.keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
            let help = match key.kind {
                Kind::Version => format!("begin the file with `{} = {VERSION}`", key.name),
                Kind::Word(words) => format!("say {}", choices(key.name, words)),
                _ => format!("say `{} = \"…\"`", key.name),
            };
            self.error(span.clone(), format!("{} must have `{}`", shape.name, key.name), Some(help));
        }
    }

    fn unknown_key(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, shape: &Shape) {
        if self.found.len() >= MOST_PROBLEMS {
            return;
        }
        let known = shape.keys.iter().map(|key| key.name);
        let help = match nearest(name.get_ref(), known.clone()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                format!("there is {}", known.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
            }
        };
        let message = format!("unknown key `{}` in {}", shown(name.get_ref()), shape.name);
        self.error(name.span(), message, Some(help));
    }

    fn check_value(&mut self, found: &Key, value: &Spanned<DeValue<'_>>) {
        let (key, span) = (found.name, value.span());
        let mut expected = |what: &str| {
            let got = value.get_ref().type_str();
            let help = format!("it says {}", found.meaning);
            self.error(span.clone(), format!("`{key}` is {what}, not {}", a(got)), Some(help));
        };
        match (&found.kind, value.get_ref()) {
            (Kind::Version, DeValue::Integer(_)) => match number(value.get_ref()) {
                Some(VERSION) => {}
                _ => {
                    self.error(span, format!("this Sonde knows version {VERSION} of the format alone"), None)
                }
            },
            (Kind::Version, _) => expected("a number"),
            (Kind::Word(words), DeValue::String(_)) => self.check_word(key, value, words),
            (Kind::Words(words), DeValue::Array(some)) => {
                some.iter().for_each(|one| match one.get_ref() {
                    DeValue::String(_) => self.check_word(key, one, words),
                    other => {
                        let message = format!("`{key}` is a list of words, not of {}", a(other.type_str()));
                        self.error(one.span(), message, None);
                    }
                });
            }
            (Kind::Text | Kind::Patterns, DeValue::String(_)) | (Kind::Switch, DeValue::Boolean(_)) => {}
            (Kind::Texts | Kind::Patterns, DeValue::Array(some)) => {
                for one in some.iter().filter(|one| !one.get_ref().is_str()) {
                    let message =
                        format!("`{key}` is a list of texts, not of {}", a(one.get_ref().type_str()));
                    self.error(one.span(), message, None);
                }
            }
            (Kind::Size | Kind::Count, DeValue::Integer(_)) if number(value.get_ref()).is_some() => {}
            (Kind::Size, DeValue::String(text)) if parse_size(text).is_some() => {}
            (Kind::Size, _) => expected("a number of bytes, or a text such as \"500 MB\" or \"2 GiB\""),
            (Kind::Table(shape), DeValue::Table(table)) => self.check(table, span, shape),
            (Kind::Tables(shape), DeValue::Array(tables)) => {
                for one in tables.iter() {
                    match one.get_ref() {
                        DeValue::Table(table) => self.check(table, one.span(), shape),
                        other => {
                            let message =
                                format!("`{key}` is a list of tables, not of {}", a(other.type_str()));
                            self.error(one.span(), message, None);
                        }
                    }
                }
            }
            (Kind::Word(_) | Kind::Text, _) => expected("a text"),
            (Kind::Words(_) | Kind::Texts, _) => expected("a list of texts"),
            (Kind::Patterns, _) => expected("a text or a list of texts"),
            (Kind::Count, _) => expected("a number from 0 on"),
            (Kind::Switch, _) => expected("true or false"),
            (Kind::Table(_), _) => expected(&format!("a table, [{key}]")),
            (Kind::Tables(_), DeValue::Table(_)) => {
                let help = Some(format!("write [[{key}]], with two brackets, for each"));
                self.error(span, format!("`{key}` is a list of tables"), help);
            }
            (Kind::Tables(_), _) => expected(&format!("a list of tables, [[{key}]]")),
        }
    }

    fn check_word(&mut self, key: &str, value: &Spanned<DeValue<'_>>, words: &[&'static str]) {
        let word = value.get_ref().as_str().unwrap_or_default();
        if words.contains(&word) {
            return;
        }
        let help = match nearest(word, words.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("it is {}", choices(key, words)),
        };
        self.error(value.span(), format!("`{key}` cannot be \"{}\"", shown(word)), Some(help));
    }
}

/// A number that is not negative.
pub(crate) fn number(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A word from a file as a message can have it: not longer than a line, nothing that a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect::<String>().escape_debug().collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

fn choices(key: &str, words: &[&str]) -> String {
    words.iter().map(|word| format!("`{key} = \"{word}\"`")).collect::<Vec<_>>().join(" or ")
}

fn a(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
