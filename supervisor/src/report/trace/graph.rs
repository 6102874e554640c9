//! Who needs what of a trace, as a graph in the languages of Graphviz and Mermaid.

use std::collections::HashMap;
use std::fmt::Write;

use super::entry::{Entry, Load, Outcome, Provider, What, Why};
use super::human::file_name;

/// Nodes, and who needs whom.
struct Graph<'e> {
    nodes: Vec<Node<'e>>,
    edges: Vec<(usize, usize, Why)>,
}

/// A program, or a library that it has loaded.
struct Node<'e> {
    /// The program, which may be the node itself.
    program: usize,
    words: [String; 2],
    needs: &'e [String],
    /// None for a program.
    load: Option<&'e Load>,
}

/// For `dot -Tsvg`.
pub(crate) fn dot(entries: &[Entry]) -> String {
    let graph = Graph::of(entries);
    let mut text =
        "digraph trace {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n".to_owned();
    for (at, node) in graph.nodes.iter().enumerate() {
        let [name, from] = node.words.each_ref().map(|words| quoted(words));
        let _ = writeln!(text, "  n{at} [label=\"{name}\\n{from}\", {}];", dot_style(node.load));
    }
    for (from, to, why) in &graph.edges {
        let style = if *why == Why::Needed { "" } else { " [style=dashed]" };
        let _ = writeln!(text, "  n{from} -> n{to}{style};");
    }
    text + "}\n"
}

/// For a document in Markdown.
pub(crate) fn mermaid(entries: &[Entry]) -> String {
    let graph = Graph::of(entries);
    let mut text = "flowchart LR\n".to_owned();
    for (at, node) in graph.nodes.iter().enumerate() {
        let [name, from] = node.words.each_ref().map(|words| entities(words));
        let class = class(node.load);
        let _ = writeln!(text, "  n{at}[\"{name}<br/>{from}\"]:::{class}");
    }
    for (from, to, why) in &graph.edges {
        let arrow = if *why == Why::Needed { "-->" } else { "-.->" };
        let _ = writeln!(text, "  n{from} {arrow} n{to}");
    }
    text + "  classDef program font-weight:bold\n  classDef package stroke:#1f5fbf\n  classDef bundled stroke:#8a5a00\n  \
            classDef host stroke:#6b3fa0\n  classDef failed stroke:#b3261e,stroke-dasharray:4\n"
}

impl<'e> Graph<'e> {
    fn of(entries: &'e [Entry]) -> Self {
        let mut nodes: Vec<Node<'e>> = Vec::new();
        // A process may execute one program after the other.
        let mut programs: HashMap<u32, usize> = HashMap::new();
        for entry in entries {
            let at = nodes.len();
            match &entry.what {
                What::Process(process) => {
                    programs.insert(process.process, at);
                    let words = [file_name(&process.program), format!("process {}", process.process)];
                    nodes.push(Node { program: at, words, needs: &process.needs, load: None });
                }
                What::Load(load) => {
                    let Some(program) = programs.get(&load.process) else { continue };
                    let words = [load.soname.clone(), origin(load)];
                    nodes.push(Node { program: *program, words, needs: &load.needs, load: Some(load) });
                }
                _ => {}
            }
        }
        let mut edges = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let Some(load) = node.load else { continue };
            let same = || nodes.iter().enumerate().filter(|(_, user)| user.program == node.program);
            let users = same().filter(|(_, user)| user.needs.contains(&load.soname)).map(|(user, _)| user);
            let mut users: Vec<usize> = users.collect();
            if users.is_empty() {
                // Whoever opened it at run time, or else the program.
                let is_opener = |user: &Node<'_>| user.load.is_some_and(|user| user.path == load.needed_by);
                let opener = same().find(|(_, user)| load.needed_by.is_some() && is_opener(user));
                users.push(opener.map_or(node.program, |(opener, _)| opener));
            }
            edges.extend(users.into_iter().map(|user| (user, at, load.why)));
        }
        Self { nodes, edges }
    }
}

fn origin(load: &Load) -> String {
    match (load.outcome, &load.package, load.provider) {
        (Outcome::Loaded, Some(package), _) => {
            [package.short(), package.version.clone().unwrap_or_default()].join(" ").trim_end().to_owned()
        }
        (Outcome::Loaded, None, Some(Provider::Host)) => "host".to_owned(),
        (Outcome::Loaded, None, _) => "bundled".to_owned(),
        (Outcome::Absent, ..) => "absent".to_owned(),
        (Outcome::Failed, ..) => "failed".to_owned(),
        (Outcome::Forbidden, ..) => "forbidden".to_owned(),
        (Outcome::Refused, ..) => "refused".to_owned(),
    }
}

/// What decides about a node's look.
fn class(load: Option<&Load>) -> &'static str {
    match load.map(|load| (load.outcome, load.provider)) {
        None => "program",
        Some((Outcome::Loaded, Some(Provider::Package))) => "package",
        Some((Outcome::Loaded, Some(Provider::Host))) => "host",
        Some((Outcome::Loaded, _)) => "bundled",
        Some(_) => "failed",
    }
}

fn dot_style(load: Option<&Load>) -> &'static str {
    match class(load) {
        "program" => "style=bold",
        "package" => "color=\"#1f5fbf\"",
        "host" => "color=\"#6b3fa0\"",
        "bundled" => "color=\"#8a5a00\"",
        _ => "color=\"#b3261e\", style=dashed",
    }
}

/// Inside of a string of Graphviz, whose `\n` and the like are not to be met in a name.
fn quoted(words: &str) -> String {
    words.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Inside of a label of Mermaid, which knows the entities of HTML with a `#` (its "entity codes").
fn entities(words: &str) -> String {
    let plain = |one: char| one.is_ascii_alphanumeric() || " ._-+/()@".contains(one);
    words.chars().fold(String::new(), |mut text, one| {
        if plain(one) {
            text.push(one);
        } else {
            let _ = write!(text, "#{};", u32::from(one));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        assert_eq!(quoted(r#"a"b\n"#), r#"a\"b\\n"#);
        assert_eq!(entities("libz.so.1"), "libz.so.1");
        assert_eq!(entities("a\"]<b"), "a#34;#93;#60;b");
    }
}
