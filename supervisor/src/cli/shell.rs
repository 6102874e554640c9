//! What a shell and a manual want to know of the command line: completions, and a page for each command. Both are made of
//! the definitions that the command line is parsed with.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, ValueEnum};
use clap_complete::{generate, shells};
use clap_complete_nushell::Nushell;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use super::{complain, exit_code, help};

const NAME: &str = "sonde";

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Nushell,
    Zsh,
}

/// `sonde completions`: prints them.
pub(crate) fn completions(shell: Shell) -> ExitCode {
    // Whoever closed our standard output does not want to know.
    let _ = io::stdout().write_all(&script(shell));
    ExitCode::SUCCESS
}

/// `sonde man`: writes the pages into a folder.
pub(crate) fn man(folder: &Path) -> ExitCode {
    match write_pages(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("{error:#}"));
            exit_code::code(exit_code::FAILURE)
        }
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut command = shown(&help::command());
    let mut text = Vec::new();
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, NAME, &mut text),
        Shell::Elvish => generate(shells::Elvish, &mut command, NAME, &mut text),
        Shell::Fish => generate(shells::Fish, &mut command, NAME, &mut text),
        Shell::Nushell => generate(Nushell, &mut command, NAME, &mut text),
        Shell::Zsh => generate(shells::Zsh, &mut command, NAME, &mut text),
    }
    text
}

/// The command without what is hidden, which the generators would offer.
fn shown(command: &Command) -> Command {
    let bare = Command::new(NAME).args(command.get_arguments());
    let bare = command.get_about().cloned().into_iter().fold(bare, Command::about);
    bare.version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommands(command.get_subcommands().filter(|below| !below.is_hide_set()))
}

fn write_pages(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, page) in pages()? {
        let path = folder.join(name);
        fs::write(&path, page).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Every page, by its file's name.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &[], &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, words: &[&str], pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let man = Man::new(command.clone())
        .source(format!("{NAME} {}", env!("CARGO_PKG_VERSION")))
        .manual("Sonde Manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    render_notes(command, words, &mut page)?;
    pages.push((man.get_filename(), page));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add_pages(below, &[words, &[below.get_name()]].concat(), pages)?;
    }
    Ok(())
}

/// What help has behind the options, where the generator would run examples together to a paragraph.
fn render_notes(command: &Command, words: &[&str], page: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::default();
    let notes = help::notes(words);
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for line in notes.lines() {
            if line.trim().is_empty() {
                roff.control("PP", [])
            } else {
                roff.text([roman(line)])
            };
        }
    }
    let examples = help::examples(words);
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (line, what) in examples {
            roff.control("TP", []);
            roff.text([bold(*line)]);
            roff.text([roman(*what)]);
        }
    }
    if !words.is_empty() {
        let above = command.get_display_name().and_then(|name| name.rsplit_once('-'));
        let above = above.map_or(NAME, |(above, _)| above);
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold(above), roman("(1)")]);
    }
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &Command, see: &mut dyn FnMut(&Command)) {
        see(command);
        command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| walk(below, see));
    }

    #[test]
    fn every_command_and_option_is_in_help_pages_and_completions() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let (_, bytes) = pages.iter().find(|(file, _)| *file == format!("{name}.1")).unwrap();
            String::from_utf8(bytes.clone()).unwrap().replace("\\-", "-")
        };
        let shells = Shell::value_variants();
        let scripts: Vec<String> =
            shells.iter().map(|shell| String::from_utf8(script(*shell)).unwrap()).collect();
        let mut command = help::command().disable_help_subcommand(true);
        command.build();
        let mut count = 0;
        walk(&command, &mut |command| {
            let name = command.get_display_name().unwrap_or(NAME);
            let (help, page) = (command.clone().render_long_help().to_string(), page(name));
            let below = command.get_subcommands().filter(|below| !below.is_hide_set());
            let options = command.get_arguments().filter(|option| !option.is_hide_set());
            let options = options.filter_map(|option| Some(format!("--{}", option.get_long()?)));
            for word in options.chain(below.map(|below| below.get_name().to_owned())) {
                count += 1;
                assert!(help.contains(&word) && page.contains(&word), "{name}: {word}: {help}{page}");
                for script in &scripts {
                    assert!(script.contains(word.trim_start_matches('-')), "{name}: {word}: {script}");
                }
            }
        });
        assert!(count > 60, "{count}");
    }

    #[test]
    fn what_is_hidden_is_not_offered() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(script(*shell)).unwrap();
            assert!(!text.contains("supervise"), "{shell:?}: {text}");
        }
        assert!(!pages().unwrap().iter().any(|(name, _)| name.contains("supervise")));
    }
}
