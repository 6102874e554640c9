//! The page that is printed: Markdown, aligned, so that it can be read on a terminal and put into the documentation as
//! it is. It is kept in `target/bench`, beside the plots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What was printed so far.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// A paragraph, with a blank line behind it.
    pub(crate) fn say(&mut self, text: &str) {
        self.print(&format!("{text}\n\n"));
    }

    pub(crate) fn heading(&mut self, text: &str) {
        self.say(&format!("### {text}"));
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.print(&format!("{}\n", table.text()));
    }

    fn print(&mut self, text: &str) {
        print!("{text}");
        self.text += text;
    }

    /// Writes it down for good.
    pub(crate) fn keep(&self) -> Result<PathBuf> {
        let file = folder()?.join("results.md");
        fs::write(&file, &self.text).with_context(|| format!("writing {}", file.display()))?;
        Ok(file)
    }
}

/// Where results go.
pub(crate) fn folder() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_sonde")).ancestors().nth(2).context("a target folder")?;
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Aligned columns: the first ones to the left, the figures to the right.
#[derive(Debug)]
pub(crate) struct Table {
    words: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `words` columns hold words.
    pub(crate) fn new<T: Into<String>>(words: usize, heading: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self { words, rows: Vec::new() };
        table.row(heading);
        table
    }

    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default().max(4)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            for (column, &width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                text += &if column < self.words {
                    format!("| {cell:<width$} ")
                } else {
                    format!("| {cell:>width$} ")
                };
            }
            text += "|\n";
            if at == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let end = if column < self.words { '-' } else { ':' };
                    text += &format!("| {}{end} ", "-".repeat(width - 1));
                }
                text += "|\n";
            }
        }
        text
    }
}

/// What a goal became.
pub(crate) fn mark(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
