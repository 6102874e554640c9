//! What `sonde index info` prints.

use std::fmt::Write;

use serde::Serialize;

use super::style::{Columns, age, bytes, number};
use crate::index::open_table;
use crate::index::origin::Origin;
use crate::index::registry::{Entry, Registry};

/// A database as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Database {
    /// 1 is asked first.
    pub(crate) order: usize,
    pub(crate) name: String,
    pub(crate) path: String,
    /// The administrator's.
    pub(crate) system: bool,
    /// Why it cannot be used.
    pub(crate) problem: Option<String>,
    #[serde(flatten)]
    pub(crate) contents: Option<Contents>,
}

/// What an index says of itself.
#[derive(Debug, Serialize)]
pub(crate) struct Contents {
    /// The file or address that it was imported from.
    pub(crate) source: String,
    /// What `sonde index update` fetches, if it was fetched.
    pub(crate) url: Option<String>,
    /// Seconds since 1970.
    pub(crate) imported_at: u64,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) systems: Vec<String>,
    /// Store paths in the database.
    pub(crate) packages: u64,
    /// Store paths with libraries.
    pub(crate) providers: u64,
    pub(crate) libraries: u64,
    /// Different names of libraries.
    pub(crate) sonames: u64,
}

impl Database {
    /// Opens and checks a database, all of it.
    pub(crate) fn look(order: usize, entry: Entry, registry: &Registry) -> Self {
        let mut database = Self {
            order,
            path: entry.path.display().to_string(),
            system: entry.system,
            problem: None,
            contents: None,
            name: entry.name,
        };
        let table = match open_table(&entry.path) {
            Ok(table) => table,
            Err(error) => {
                database.problem = Some(error.to_string());
                return database;
            }
        };
        database.problem = table.verify().err().map(|error| format!("{}: {error}", database.path));
        let metadata = table.metadata();
        database.contents = Some(Contents {
            source: metadata.source.clone(),
            url: Origin::read(registry, &database.name).map(|origin| origin.url),
            imported_at: metadata.imported_at,
            size: table.size(),
            systems: metadata.systems.clone(),
            packages: metadata.packages,
            providers: metadata.providers,
            libraries: metadata.libraries,
            sonames: metadata.sonames,
        });
        database
    }
}

/// All of them, for programs.
pub(crate) fn json(databases: &[Database]) -> String {
    serde_json::to_string_pretty(databases).unwrap_or_default() + "\n"
}

/// One line each.
pub(crate) fn table(databases: &[Database]) -> String {
    if databases.is_empty() {
        return String::new();
    }
    let headings = ["ORDER", "NAME", "AGE", "SIZE", "PACKAGES", "LIBRARIES", "SONAMES", "STATE", "SOURCE"];
    let mut columns = Columns::new(&headings, &["ORDER", "SIZE", "PACKAGES", "LIBRARIES", "SONAMES"]);
    for database in databases {
        let name =
            if database.system { format!("{} (system)", database.name) } else { database.name.clone() };
        let state = if database.problem.is_some() { "damaged" } else { "ok" };
        let row = match &database.contents {
            Some(contents) => [
                database.order.to_string(),
                name,
                age(contents.imported_at),
                bytes(contents.size),
                number(contents.packages),
                number(contents.libraries),
                number(contents.sonames),
                state.to_owned(),
                contents.source.clone(),
            ],
            None => {
                let none = || "-".to_owned();
                let order = database.order.to_string();
                [order, name, none(), none(), none(), none(), none(), state.to_owned(), none()]
            }
        };
        columns.add(row);
    }
    columns.to_string()
}

/// A line for each thing that is known.
pub(crate) fn details(databases: &[Database]) -> String {
    let mut text = String::new();
    for database in databases {
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "{what:<14}{value}");
        };
        line("name", &database.name);
        line("asked", &format!("as number {}", database.order));
        line("file", &database.path);
        line("belongs to", if database.system { "the system" } else { "you" });
        line("state", if database.problem.is_some() { "damaged" } else { "ok: all checksums agree" });
        let Some(contents) = &database.contents else { continue };
        let (packages, providers) = (number(contents.packages), number(contents.providers));
        let (libraries, sonames) = (number(contents.libraries), number(contents.sonames));
        let systems = contents.systems.join(", ");
        line("source", &contents.source);
        line("updated from", contents.url.as_deref().unwrap_or("nowhere: it was imported from a file"));
        line("imported", &age(contents.imported_at));
        line("systems", if systems.is_empty() { "not said" } else { &systems });
        line("size", &format!("{} ({} bytes)", bytes(contents.size), number(contents.size)));
        line("packages", &format!("{packages}, {providers} of them with libraries"));
        line("libraries", &format!("{libraries}, of {sonames} names"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_has_a_line_all_the_same() {
        let database = Database {
            order: 2,
            name: "old".into(),
            path: "/x/old.index".into(),
            system: true,
            problem: Some("damaged".into()),
            contents: None,
        };
        let text = table(&[database]);
        assert!(text.lines().nth(1).unwrap().contains("old (system)"), "{text}");
        assert!(text.contains("damaged"));
    }
}
