//! Text → rules. Everything that can be wrong is told at once, with its place.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::{Problems, number, shown};
use crate::decision::{Place, Says};
use crate::format::ROOT;
use crate::pattern::{Names, Patterns, compile, is_glob};
use crate::problem::{Problem, Severity, Source};
use crate::rule::{Conditions, Draft, Effect, File, Rule, Section};
use crate::settings::{
    Dlopen, Engine, Limits, MachineSettings, ProgramSettings, Stated, address, parse_size,
};
use crate::version;
use crate::warn::warnings;

/// The longest text that is read, in bytes: room for a rule about each package of nixpkgs.
pub const LONGEST: usize = 8 << 20;

/// A file, compiled, and what can never match in it.
pub(crate) type Parsed = (File, Vec<Problem>);

/// Reads one file.
pub(crate) fn parse(name: &str, text: &str) -> Result<Parsed, Vec<Problem>> {
    let source = Source::new(name, text);
    if text.len() > LONGEST {
        return Err(vec![Problem::with_file(name, format!("is longer than {LONGEST} bytes"))]);
    }
    let document = DeTable::parse(text).map_err(|error| {
        let (span, message) = (error.span().unwrap_or(0..0), error.message().trim().replace('\n', ", "));
        vec![source.problem(Severity::Error, span, message, None)]
    })?;
    let mut problems = Problems { source: &source, found: Vec::new() };
    problems.check(document.get_ref(), 0..0, &ROOT);
    if !problems.found.is_empty() {
        return Err(problems.found);
    }
    let mut reader = Reader { problems };
    let draft = reader.draft(document.get_ref());
    let mut problems = reader.problems;
    let Some(draft) = draft.filter(|_| problems.found.iter().all(|one| one.severity != Severity::Error))
    else {
        return Err(problems.found);
    };
    warnings(&draft, &mut problems);
    let file = draft.compile().map_err(|reason| vec![Problem::with_file(name, reason)])?;
    Ok((file, problems.found))
}

/// Builds what the checked tables say.
struct Reader<'s, 't> {
    problems: Problems<'s, 't>,
}

impl Reader<'_, '_> {
    fn draft(&mut self, root: &DeTable<'_>) -> Option<Draft> {
        let mut draft = Draft {
            rules: Vec::new(),
            sections: Vec::new(),
            default: self.says(root, "default")?,
            settings: self.program_settings(root),
            machine: self.machine_settings(root),
        };
        self.rules(root, None, &mut draft.rules);
        for (at, (table, span)) in tables(root, "program").enumerate() {
            let section = self.section(table, span);
            draft.sections.push(section);
            self.rules(table, Some(at), &mut draft.rules);
        }
        Some(draft)
    }

    fn rules(&mut self, table: &DeTable<'_>, section: Option<usize>, rules: &mut Vec<Rule>) {
        for (package, span) in tables(table, "package") {
            rules.push(self.package_rule(package, span, section));
        }
        for (soname, span) in tables(table, "soname") {
            rules.push(self.soname_rule(soname, span, section));
        }
    }

    fn package_rule(&mut self, table: &DeTable<'_>, span: Range<usize>, section: Option<usize>) -> Rule {
        let except = self.patterns(table, "except", Names::Words);
        let conditions = Conditions {
            attribute: self.patterns(table, "attribute", Names::Words),
            name: self.patterns(table, "name", Names::Words),
            store_path: self.patterns(table, "store-path", Names::Paths),
            index: self.patterns(table, "index", Names::Words),
            soname: self.patterns(table, "soname", Names::Words),
            version: self.range(table),
            // The patterns are known to compile by now.
            except: except
                .and_then(|except| Patterns::of(Names::Words, except.iter().map(String::as_str)).ok()),
        };
        let Conditions { attribute, name, store_path, index, soname, .. } = &conditions;
        if [attribute, name, store_path, index, soname].into_iter().all(Option::is_none) {
            let help = "say which by `attribute`, `name`, `store-path`, `index` or `soname`; `attribute = \"*\"` is all";
            self.problems.error(span.clone(), "the rule names no packages".to_owned(), Some(help.to_owned()));
        }
        let effect = if text(table, "rule") == Some("allow") { Effect::Allow } else { Effect::Deny };
        let said = format!("{} package", text(table, "rule").unwrap_or_default());
        self.rule(table, span, section, effect, conditions, &said)
    }

    fn soname_rule(&mut self, table: &DeTable<'_>, span: Range<usize>, section: Option<usize>) -> Rule {
        let conditions =
            Conditions { soname: self.patterns(table, "name", Names::Words), ..Conditions::default() };
        let effect = match (text(table, "rule"), text(table, "pin")) {
            (Some("allow"), None) => Effect::Allow,
            (Some("host-only"), None) => Effect::HostOnly,
            (Some(_), None) => Effect::Deny,
            (None, Some(pin)) => Effect::Pin(pin.to_owned()),
            (rule, _) => {
                let message = if rule.is_some() {
                    "`rule` and `pin` exclude each other"
                } else {
                    "the rule says nothing"
                };
                let help = "say `rule = \"deny\"`, `rule = \"allow\"`, `rule = \"host-only\"` or `pin = \"ATTRIBUTE\"`";
                self.problems.error(span.clone(), message.to_owned(), Some(help.to_owned()));
                Effect::Deny
            }
        };
        if let (Effect::Pin(pin), Some(value)) = (&effect, table.get("pin"))
            && (pin.is_empty() || is_glob(pin))
        {
            let message = "`pin` is the attribute of one package, such as \"openssl_1_1\"".to_owned();
            self.problems.error(value.span(), message, None);
        }
        let said = format!("{} soname", text(table, "rule").unwrap_or("pin"));
        let mut rule = self.rule(table, span, section, effect, conditions, &said);
        rule.about_soname = true;
        rule
    }

    fn rule(
        &self,
        table: &DeTable<'_>,
        span: Range<usize>,
        section: Option<usize>,
        effect: Effect,
        conditions: Conditions,
        said: &str,
    ) -> Rule {
        let line = self.line_of(table, &span);
        let text = self.told(line, &format!("{said}{}", described(table)));
        Rule { text, line, section, effect, conditions, about_soname: false }
    }

    fn section(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Section {
        let path = self.patterns(table, "path", Names::Paths);
        let build_id = self.build_ids(table);
        if path.is_none() && build_id.is_none() {
            let help =
                "say which by `path` or `build-id`; what holds for all programs needs no section".to_owned();
            self.problems.error(span.clone(), "the section names no programs".to_owned(), Some(help));
        }
        let globs = path.iter().flatten().any(|pattern| is_glob(pattern));
        let place = match &build_id {
            Some(_) => Place::BuildId,
            None if globs => Place::Glob,
            None => Place::Path,
        };
        let line = self.line_of(table, &span);
        let default = self.says(table, "default");
        Section { line, path, build_id, place, default, settings: self.program_settings(table) }
    }

    fn build_ids(&mut self, table: &DeTable<'_>) -> Option<Vec<Vec<u8>>> {
        let value = table.get("build-id")?;
        let mut ids = Vec::new();
        for (text, span) in texts(value) {
            match hexadecimal(text) {
                Some(id) => ids.push(id),
                None => {
                    let message = format!("\"{}\" is no build id", shown(text));
                    let help = "one is an even number of hexadecimal digits, as `file PROGRAM` shows them"
                        .to_owned();
                    self.problems.error(span, message, Some(help));
                }
            }
        }
        Some(ids)
    }

    fn patterns(&mut self, table: &DeTable<'_>, key: &str, names: Names) -> Option<Vec<String>> {
        let value = table.get(key)?;
        let mut patterns = Vec::new();
        for (text, span) in texts(value) {
            if let Err(reason) = compile(text, names) {
                self.problems.error(span, format!("\"{}\" is no pattern: {reason}", shown(text)), None);
            } else {
                let warning = match names {
                    _ if text.is_empty() => Some("an empty pattern never matches"),
                    Names::Paths if text == "*" => {
                        Some("`*` is no path, since it does not stand for `/`; `**` does")
                    }
                    Names::Paths if !text.starts_with(['/', '*', '{', '[', '?']) => {
                        Some("a pattern of paths that does not begin with `/` or `*` never matches")
                    }
                    _ => None,
                };
                if let Some(warning) = warning {
                    self.problems.add(Severity::Warning, span, warning.to_owned(), None);
                }
                patterns.push(text.to_owned());
            }
        }
        if value.get_ref().as_array().is_some_and(|array| array.iter().next().is_none()) {
            let message = format!("`{key}` is an empty list, which never matches");
            self.problems.add(Severity::Warning, value.span(), message, None);
        }
        Some(patterns)
    }

    fn range(&mut self, table: &DeTable<'_>) -> Option<version::Range> {
        let value = table.get("version")?;
        let text = value.get_ref().as_str()?;
        let range = version::Range::parse(text);
        match &range {
            None => {
                let message = format!("\"{}\" is no range of versions", shown(text));
                let help = "one looks like \"=1.1.1w\", \"<3\" or \">=1.1, <3\"".to_owned();
                self.problems.error(value.span(), message, Some(help));
            }
            Some(range) if range.is_empty() => {
                let message = "no version is in this range: the rule never matches".to_owned();
                self.problems.add(Severity::Warning, value.span(), message, None);
            }
            Some(_) => {}
        }
        range
    }

    fn says(&self, table: &DeTable<'_>, key: &str) -> Option<Stated<Says>> {
        self.stated(table, key, |value| match value.as_str() {
            Some("allow") => Some(Says::Allow),
            _ => Some(Says::Deny),
        })
    }

    fn program_settings(&self, table: &DeTable<'_>) -> ProgramSettings {
        let dlopen = self.stated(table, "dlopen", |value| match value.as_str() {
            Some("provide") => Some(Dlopen::Provide),
            Some("realised-only") => Some(Dlopen::RealisedOnly),
            _ => Some(Dlopen::Deny),
        });
        let limits = table.get("limits").and_then(|value| value.get_ref().as_table()).map(|limits| {
            let size = |value: &DeValue<'_>| number(value).or_else(|| parse_size(value.as_str()?));
            Limits {
                download_per_start: self.stated(limits, "download-per-start", size),
                download_total: self.stated(limits, "download-total", size),
                candidates: self.stated(limits, "candidates", number),
                offline: self.stated(limits, "offline", |value| value.as_bool()),
            }
        });
        ProgramSettings { dlopen, limits: limits.unwrap_or_default() }
    }

    fn machine_settings(&self, root: &DeTable<'_>) -> MachineSettings {
        let words = |value: &DeValue<'_>| -> Option<Vec<String>> {
            Some(
                value.as_array()?.iter().filter_map(|one| Some(one.get_ref().as_str()?.to_owned())).collect(),
            )
        };
        let inner = |key: &str| root.get(key).and_then(|value| value.get_ref().as_table());
        MachineSettings {
            caches: inner("store").and_then(|store| {
                let caches = |value: &DeValue<'_>| {
                    Some(words(value)?.iter().map(|cache| address(cache).to_owned()).collect())
                };
                self.stated(store, "caches", caches)
            }),
            keys: inner("store").and_then(|store| self.stated(store, "keys", words)),
            engines: self.stated(root, "engines", |value| {
                Some(words(value)?.iter().filter_map(|name| Engine::named(name)).collect())
            }),
            build: inner("fallback")
                .and_then(|fallback| self.stated(fallback, "build", |value| value.as_bool())),
        }
    }

    fn stated<T>(
        &self,
        table: &DeTable<'_>,
        key: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Option<Stated<T>> {
        let value = table.get(key)?;
        let line = self.problems.source.line(value.span().start);
        let rule = self.told(line, &format!("{key} = {}", written(value.get_ref())));
        Some(Stated { value: read(value.get_ref())?, rule })
    }

    /// A table of a list begins with its heading; where that is not told, with its first key.
    fn line_of(&self, table: &DeTable<'_>, span: &Range<usize>) -> usize {
        let first = table.keys().map(|key| key.span().start).min();
        let start = if span.is_empty() { first.unwrap_or(span.start) } else { span.start };
        self.problems.source.line(start)
    }

    fn told(&self, line: usize, text: &str) -> Arc<str> {
        format!("{}:{line}: {text}", self.problems.source.name).into()
    }
}

/// The conditions of a rule and its reason, in one line.
fn described(table: &DeTable<'_>) -> String {
    let mut text = String::new();
    for key in ["attribute", "name", "version", "store-path", "index", "soname", "except", "pin"] {
        if let Some(value) = table.get(key) {
            text.push_str(&format!(" {key} = {}", written(value.get_ref())));
        }
    }
    match table.get("reason").and_then(|value| value.get_ref().as_str()) {
        Some(reason) => format!("{text} ({})", shown(reason)),
        None => text,
    }
}

/// A value as it would be written, cut short.
fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Integer(value) => value.to_string(),
        DeValue::Array(all) => {
            let first: Vec<String> = all.iter().take(3).map(|one| written(one.get_ref())).collect();
            let more = if all.len() > 3 { ", …" } else { "" };
            format!("[{}{more}]", first.join(", "))
        }
        other => other.type_str().to_owned(),
    }
}

/// The tables of a list.
fn tables<'t, 'i>(
    table: &'t DeTable<'i>,
    key: &str,
) -> impl Iterator<Item = (&'t DeTable<'i>, Range<usize>)> + use<'t, 'i> {
    let array = table.get(key).and_then(|value| value.get_ref().as_array());
    array
        .into_iter()
        .flat_map(|array| array.iter())
        .filter_map(|one| Some((one.get_ref().as_table()?, one.span())))
}

/// A text, or those of a list.
fn texts<'v>(value: &'v Spanned<DeValue<'_>>) -> Vec<(&'v str, Range<usize>)> {
    match value.get_ref() {
        DeValue::String(text) => vec![(text, value.span())],
        DeValue::Array(all) => {
            all.iter().filter_map(|one| Some((one.get_ref().as_str()?, one.span()))).collect()
        }
        _ => Vec::new(),
    }
}

fn text<'v>(table: &'v DeTable<'_>, key: &str) -> Option<&'v str> {
    table.get(key)?.get_ref().as_str()
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits = text.as_bytes().iter().map(digit).collect::<Option<Vec<u8>>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    (rest.is_empty() && !pairs.is_empty()).then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
