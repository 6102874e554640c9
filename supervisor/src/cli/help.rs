//! What `--help` says beyond the definitions of `args`: groups of commands, examples, colours. The manual pages and
//! completions are made of the same ([`mod@super::shell`]).

use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style, Styles};
use clap::{Command, CommandFactory};

use super::args::Arguments;

const HEADING: Style = Style::new().bold();
const LITERAL: Style = AnsiColor::Cyan.on_default();

/// Every command that is shown, in groups.
const GROUPS: [(&str, &[&str]); 3] = [
    ("Programs", &["run", "trace", "plan", "prefetch", "plans", "doctor"]),
    ("What is provided", &["index", "find", "policy", "store"]),
    ("This command", &["completions"]),
];

/// A command line, and what it does.
type Example = (&'static str, &'static str);

/// Examples, by the words of the command that they are of.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "run",
        &[
            ("sonde run ./blender scene.blend", "run a program that was downloaded"),
            ("sonde run -- python3 train.py", "what pip has installed finds its libraries, too"),
            ("sonde run --offline ./program", "with what is there already"),
        ],
    ),
    (
        "trace",
        &[
            ("sonde trace ./program", "each library as it is loaded"),
            ("sonde trace --failed ./program", "only what is missing, or not taken"),
            ("sonde trace -o trace.txt ./program", "leave the terminal to the program"),
            ("sonde trace --html trace.html ./program", "a page with timeline, table and graph"),
            ("sonde trace --dot -o graph.dot ./program", "who needs what, for Graphviz"),
            ("sonde trace --pid 4711", "what a program that runs already loads from now on"),
            ("sonde trace --audit --policy new.toml ./program", "see what a policy would forbid"),
        ],
    ),
    (
        "plan",
        &[
            ("sonde plan ./program", "each library, and who needs it"),
            ("sonde plan ./some-app/", "every program and library of a folder"),
            ("sonde plan --format nix-ld ./program", "the packages, for programs.nix-ld.libraries"),
            ("sonde plan --json ./program | jq .missing", "what is missing"),
        ],
    ),
    (
        "prefetch",
        &[
            ("sonde prefetch ./program ./some-app/", "fetch what they need, and keep it"),
            ("sonde prefetch --dry-run ./program", "see how much that is"),
        ],
    ),
    ("plans list", &[("sonde plans list", "the programs that were run, the last used first")]),
    (
        "plans show",
        &[
            ("sonde plans show ./program", "what it is given, and why"),
            ("sonde plans show --json ./program | jq '.[].libraries'", "all that is kept"),
        ],
    ),
    ("plans forget", &[("sonde plans forget ./program", "look at it again at its next start")]),
    (
        "plans gc",
        &[
            ("sonde plans gc --dry-run", "see what nobody needs"),
            ("sonde plans gc --older-than 2weeks", "remove also what was not run for two weeks"),
            ("sonde plans gc --all", "before Sonde is uninstalled"),
        ],
    ),
    (
        "doctor",
        &[
            ("sonde doctor", "look at this machine"),
            ("sonde doctor ./program", "and at a program"),
            ("sonde doctor --json | jq .worst", "ok, warning or error"),
        ],
    ),
    (
        "index import",
        &[
            ("sonde index import ~/.cache/nix-index/files", "what nix-index has written"),
            ("sonde index import old/files --name nixos-23.05", "another one, for old libraries"),
        ],
    ),
    (
        "index update",
        &[
            ("sonde index update", "what nix-index-database publishes, if it is new"),
            ("sonde index update --system", "for all users"),
        ],
    ),
    (
        "index info",
        &[
            ("sonde index info", "all databases, first asked first"),
            ("sonde index info default --json", "all that is known of one"),
        ],
    ),
    ("index remove", &[("sonde index remove nixos-23.05", "ask it no more")]),
    (
        "find",
        &[
            ("sonde find libz.so.1", "who has a library"),
            ("sonde find --for ./program", "everything that a program misses"),
            ("sonde find --file 'lib/libav*.so.60'", "libraries by their path"),
        ],
    ),
    (
        "policy check",
        &[
            ("sonde policy check", "the files in force"),
            ("sonde policy check new.toml", "one that is not in force yet"),
        ],
    ),
    (
        "policy explain",
        &[
            ("sonde policy explain libssl.so.3", "which packages may provide it"),
            ("sonde policy explain --program ./program openssl", "one package, for one program"),
        ],
    ),
    (
        "policy init",
        &[
            ("sonde policy init > ~/.config/sonde/policy.toml", "one that permits everything"),
            ("sonde policy init --for ./program", "one that permits what a program needs"),
            ("sonde policy init --from-plan ./program", "and what it has asked for at run time"),
        ],
    ),
    (
        "store fetch",
        &[
            ("sonde store fetch /nix/store/HASH-zlib-1.3.1", "with all that it refers to"),
            ("sonde store fetch --dry-run /nix/store/HASH-zlib-1.3.1", "how much that would be"),
        ],
    ),
    ("store drop", &[("sonde store drop /nix/store/HASH-zlib-1.3.1", "the next gc removes it")]),
    ("store list", &[("sonde store list", "each path, with its size in bytes")]),
    (
        "store verify",
        &[
            ("sonde store verify", "compare everything with what was signed"),
            ("sonde store verify --repair", "and fetch again what is damaged"),
        ],
    ),
    ("store gc", &[("sonde store gc --dry-run", "see what nobody needs"), ("sonde store gc", "remove it")]),
    (
        "completions",
        &[
            ("sonde completions bash > ~/.local/share/bash-completion/completions/sonde", "bash"),
            ("sonde completions zsh > ~/.zfunc/_sonde", "zsh, with ~/.zfunc in its fpath"),
            ("sonde completions fish > ~/.config/fish/completions/sonde.fish", "fish"),
        ],
    ),
];

/// What the command says when it is called by its name alone.
const WELCOME: &[Example] = &[
    ("sonde index update", "once, and from time to time: which package has which library"),
    ("sonde run ./program", "run a program that was downloaded"),
    ("sonde doctor ./program", "find what keeps it from running"),
];

/// The whole command line, as it is parsed and as it is shown.
pub(super) fn command() -> Command {
    let styles =
        Styles::plain().header(HEADING).usage(HEADING).literal(LITERAL).error(AnsiColor::Red.on_default());
    let command = with_examples(Arguments::command(), &[]);
    let template = template(&command);
    command.styles(styles).help_template(template)
}

/// Three things to try.
pub(super) fn welcome() -> String {
    let about = Arguments::command().get_about().map(ToString::to_string).unwrap_or_default();
    format!("{about}\n\n{}\n\n`sonde --help` lists all commands.\n", listed("Try:", WELCOME, false))
}

/// The examples of a command, as the words behind `sonde` name it.
pub(super) fn examples(words: &[&str]) -> &'static [Example] {
    let name = words.join(" ");
    EXAMPLES.iter().find(|(command, _)| *command == name).map_or(&[], |(_, examples)| examples)
}

/// What the definitions have behind the options of a command, examples left out.
pub(super) fn notes(words: &[&str]) -> String {
    let mut command = Arguments::command();
    let mut at = &mut command;
    for word in words {
        match at.find_subcommand_mut(word) {
            Some(below) => at = below,
            None => return String::new(),
        }
    }
    at.get_after_help().map(ToString::to_string).unwrap_or_default()
}

/// Adds the examples to what is behind the options of a command and of those below it.
fn with_examples(command: Command, words: &[&str]) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = names.into_iter().fold(command, |command, name| {
        let words: Vec<&str> = words.iter().copied().chain([name.as_str()]).collect();
        command.mut_subcommand(&name, |below| with_examples(below, &words))
    });
    let examples = examples(words);
    if examples.is_empty() {
        return command;
    }
    let notes = command.get_after_help().map(|notes| format!("{}\n\n", notes.ansi())).unwrap_or_default();
    command.after_help(notes + &listed("Examples:", examples, true))
}

/// A heading and two columns.
fn listed(heading: &str, examples: &[Example], coloured: bool) -> String {
    let heading = if coloured { format!("{HEADING}{heading}{HEADING:#}") } else { heading.to_owned() };
    let widest = examples.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    examples.iter().fold(heading, |text, (line, what)| format!("{text}\n  {line:widest$}  {what}"))
}

/// The help of the command itself, with its commands in groups.
fn template(command: &Command) -> String {
    let mut text = "{about}\n\n{usage-heading} {usage}\n".to_owned();
    let widest = command.get_subcommands().map(|below| below.get_name().len()).max().unwrap_or_default();
    for (title, names) in GROUPS {
        let _ = write!(text, "\n{HEADING}{title}:{HEADING:#}\n");
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {LITERAL}{name:widest$}{LITERAL:#}  {about}");
        }
    }
    let _ = write!(text, "\n{HEADING}Options:{HEADING:#}\n{{options}}{{after-help}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn leaves(command: &Command, words: &[String], found: &mut Vec<Vec<String>>) {
        let below: Vec<&Command> = command.get_subcommands().filter(|below| !below.is_hide_set()).collect();
        if below.is_empty() {
            found.push(words.to_vec());
        }
        for command in below {
            leaves(command, &[words, &[command.get_name().to_owned()]].concat(), found);
        }
    }

    #[test]
    fn every_command_is_in_a_group_and_has_examples() {
        let command = command();
        let shown: HashSet<&str> =
            command.get_subcommands().filter(|below| !below.is_hide_set()).map(Command::get_name).collect();
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(shown, grouped.iter().copied().collect());
        assert_eq!(shown.len(), grouped.len(), "one is in two groups");
        let mut all = Vec::new();
        leaves(&command, &[], &mut all);
        for words in &all {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert!(!examples(&words).is_empty(), "no examples of {words:?}");
        }
        assert_eq!(all.len(), EXAMPLES.len(), "examples of a command that there is not");
    }

    #[test]
    fn examples_are_command_lines_of_the_command_that_they_are_of() {
        let of_commands = EXAMPLES.iter().flat_map(|(name, all)| all.iter().map(move |one| (*name, one.0)));
        for (name, line) in of_commands.chain(WELCOME.iter().map(|(line, _)| ("", *line))) {
            assert!(line.starts_with(&format!("sonde {name}")), "{line}");
            let ours = line.split([';', '|', '>']).next().unwrap_or_default();
            let words = ours.split_whitespace().map(|word| word.trim_matches('\''));
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn help_is_narrow_enough_for_a_terminal() {
        let mut command = command();
        command.build();
        let mut all = vec![command];
        while let Some(mut command) = all.pop() {
            let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let shown = command.render_long_help().to_string();
            for line in notes.lines().chain(shown.lines()).filter(|line| !line.contains("sonde ")) {
                assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
            }
            all.extend(command.get_subcommands().cloned());
        }
    }
}
