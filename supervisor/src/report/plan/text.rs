//! Plans for people: one file as a tree, several as one list of all that they need; then what is to be downloaded, and what
//! is missing.

use std::collections::HashMap;
use std::fmt::Write;

use super::{Kind, Library, Origin, Package, Planned, Plans, ToFetch};
use crate::report::style::{Columns, Paint, bytes, number};

/// How many names are told at the end of a line.
const MOST_NAMES: usize = 3;

/// For people: one file as a tree, several as one list of all that they need.
pub(crate) fn text(plans: &Plans, paint: Paint) -> String {
    let mut text = match plans.files.as_slice() {
        [one] => tree(one, paint),
        files => together(files, paint),
    };
    for one in &plans.left_out {
        let _ = writeln!(text, "{}: {}", one.path, one.reason);
    }
    text + &fetch(&plans.fetch) + &wrong(plans, paint)
}

fn tree(file: &Planned, paint: Paint) -> String {
    let name = paint.bold(&file.file);
    if file.libraries.is_empty() {
        return format!("{name}: needs no libraries\n");
    }
    let mut columns = Columns::new(&["  LIBRARY", "FROM", "PACKAGE", "PATH"], &[]);
    let libraries = file.tree();
    for (depth, library) in &libraries {
        let indent = "  ".repeat(depth + 1);
        let optional = if library.optional { " (optional)" } else { "" };
        columns.add([
            format!("{indent}{}{optional}", library.soname),
            library.from().to_owned(),
            library.package.as_ref().map_or_else(|| "-".to_owned(), Package::name),
            place(library),
        ]);
    }
    format!("{name}\n{}", painted(&columns, libraries.into_iter().map(|(_, library)| library), paint))
}

/// What lies beside each other, or comes with the loader, is only counted.
fn together(files: &[Planned], paint: Paint) -> String {
    let mut rows: Vec<(&Library, Vec<&str>)> = Vec::new();
    let mut known: HashMap<(&str, Origin, Option<&str>), usize> = HashMap::new();
    for file in files {
        for library in &file.libraries {
            if matches!(library.origin, Origin::Bundled | Origin::Beside) {
                continue;
            }
            let row = *known
                .entry((&library.soname, library.origin, library.path.as_deref()))
                .or_insert_with(|| {
                    rows.push((library, Vec::new()));
                    rows.len() - 1
                });
            if let Some((_, by)) = rows.get_mut(row) {
                let needing = file.needing(library);
                if !by.contains(&needing) {
                    by.push(needing);
                }
            }
        }
    }
    let count = |kind, one: &str, several: &str| {
        let count = files.iter().filter(|file| file.kind == kind).count() as u64;
        (count > 0).then(|| format!("{} {}", number(count), if count == 1 { one } else { several }))
    };
    let counts = [
        count(Kind::Program, "program", "programs"),
        count(Kind::Static, "static program", "static programs"),
        count(
            Kind::Library,
            "library that no program brings along",
            "libraries that no program brings along",
        ),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    if counts.is_empty() {
        return "no program or library for this machine\n".to_owned();
    }
    let mut text = paint.bold(&counts.join(", ")) + "\n";
    if rows.is_empty() {
        text += "everything that they need comes with them\n";
        return text;
    }
    let mut columns = Columns::new(&["LIBRARY", "FROM", "PACKAGE", "NEEDED BY", "PATH"], &[]);
    for (library, by) in &rows {
        let names: Vec<&str> = by.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
        columns.add([
            library.soname.clone(),
            library.from().to_owned(),
            library.package.as_ref().map_or_else(|| "-".to_owned(), Package::name),
            some(&names, 1),
            place(library),
        ]);
    }
    text += &painted(&columns, rows.iter().map(|(library, _)| *library), paint);
    text
}

/// Why something is missing is told below the list.
fn place(library: &Library) -> String {
    match (&library.path, &library.reason) {
        (Some(path), _) if library.origin.is_satisfied() => path.clone(),
        (_, Some(reason)) if library.optional => reason.clone(),
        _ => "-".to_owned(),
    }
}

/// What is missing stands out, and what nobody asks about stands back.
fn painted<'l>(columns: &Columns, libraries: impl Iterator<Item = &'l Library>, paint: Paint) -> String {
    let lines = columns.lines();
    let Some((headings, rows)) = lines.split_first() else { return String::new() };
    let mut text = paint.dim(headings) + "\n";
    for (line, library) in rows.iter().zip(libraries) {
        let line = match library.origin {
            _ if library.is_missed() => paint.bad(line),
            Origin::Bundled | Origin::Glibc | Origin::Beside => paint.dim(line),
            _ => line.clone(),
        };
        text += &line;
        text.push('\n');
    }
    text
}

/// How much would be downloaded; nothing, if nothing would.
pub(crate) fn fetch(fetch: &ToFetch) -> String {
    let packages = match fetch.packages {
        0 => return String::new(),
        1 => "1 package is to be fetched".to_owned(),
        several => format!("{several} packages are to be fetched"),
    };
    match (fetch.paths, fetch.download, fetch.unpacked) {
        (Some(paths), Some(download), Some(unpacked)) => {
            let paths = if paths == 1 { "1 path".to_owned() } else { format!("{paths} paths") };
            let (download, unpacked) = (bytes(download), bytes(unpacked));
            format!("{packages}, {paths} in all: {download} to download, {unpacked} unpacked\n")
        }
        _ => format!("{packages}; the store does not say how much that is\n"),
    }
}

/// What keeps files from being loaded: what is missing over all, with its reason, and what a loader would not take;
/// nothing, if nothing does.
pub(crate) fn wrong(plans: &Plans, paint: Paint) -> String {
    let mut text = missing(plans, paint);
    let mut refused: Vec<&String> = Vec::new();
    for sentence in plans.files.iter().flat_map(|file| &file.refused) {
        if !refused.contains(&sentence) {
            refused.push(sentence);
        }
    }
    if !refused.is_empty() {
        text += "not all that is there can be loaded:\n";
        for sentence in refused {
            let _ = writeln!(text, "  {sentence}");
        }
    }
    text
}

fn missing(plans: &Plans, paint: Paint) -> String {
    let missed = plans.missed();
    let mut text = match missed.len() {
        0 => return String::new(),
        1 => "1 library is missing:\n".to_owned(),
        several => format!("{several} libraries are missing:\n"),
    };
    for one in &missed {
        let soname = paint.bad(one.soname);
        let _ = writeln!(text, "  {soname}, needed by {}: {}", some(&one.needed_by, MOST_NAMES), one.reason);
    }
    text
}

fn some(names: &[&str], most: usize) -> String {
    let told = names.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StorePath;

    fn library(soname: &str, needed_by: Option<usize>, origin: Origin) -> Library {
        Library {
            soname: soname.to_owned(),
            needed_by,
            origin,
            chosen: false,
            optional: false,
            path: Some(format!("/lib/{soname}")),
            package: None,
            reason: Some("nobody has it".to_owned()),
        }
    }

    fn planned(file: &str, libraries: Vec<Library>) -> Planned {
        Planned { file: file.to_owned(), kind: Kind::Program, libraries, refused: Vec::new() }
    }

    #[test]
    fn each_library_stands_below_the_one_that_names_it() {
        let libraries = vec![
            library("a", None, Origin::Store),
            library("b", None, Origin::Store),
            library("of-a", Some(0), Origin::Store),
            library("of-of-a", Some(2), Origin::Absent),
            library("also-of-a", Some(0), Origin::Bundled),
        ];
        let plans = Plans { files: vec![planned("/p", libraries)], ..Plans::default() };
        let expected = "\
/p
  LIBRARY      FROM     PACKAGE  PATH
  a            store    -        /lib/a
    of-a       store    -        /lib/of-a
      of-of-a  absent   -        -
    also-of-a  bundled  -        /lib/also-of-a
  b            store    -        /lib/b
1 library is missing:
  of-of-a, needed by /lib/of-a: nobody has it
";
        assert_eq!(text(&plans, Paint::none()), expected);
    }

    #[test]
    fn what_a_loader_would_not_take_is_told_once() {
        let mut file = planned("/p", vec![library("a", None, Origin::Store)]);
        file.refused = vec!["/p needs A_2, and /lib/a does not define it".to_owned()];
        let plans = Plans { files: vec![file.clone(), file], ..Plans::default() };
        let told = wrong(&plans, Paint::none());
        let expected =
            "not all that is there can be loaded:\n  /p needs A_2, and /lib/a does not define it\n";
        assert_eq!((told.as_str(), plans.is_refused()), (expected, true));
    }

    #[test]
    fn what_several_files_miss_is_told_once() {
        let miss = |file: &str| planned(file, vec![library("gone", None, Origin::Absent)]);
        let files = ["/a", "/b", "/c", "/d"].map(miss).to_vec();
        let mut plans = Plans { files, ..Plans::default() };
        let told = missing(&plans, Paint::none());
        assert_eq!(told, "1 library is missing:\n  gone, needed by /a, /b, /c and 1 more: nobody has it\n");
        assert!(!plans.is_forbidden());
        plans.files[3].libraries[0].origin = Origin::Forbidden;
        assert!(plans.is_forbidden());
        plans.files[3].libraries[0].optional = true;
        assert!(!plans.is_forbidden(), "it can be done without");
    }

    #[test]
    fn what_is_withheld_is_no_longer_to_be_fetched() {
        let object = StorePath::new("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x").unwrap();
        let package = Package {
            attribute: "x".into(),
            output: "out".into(),
            store_path: object.clone(),
            realised: false,
        };
        let mut of_package = library("x", None, Origin::Store);
        of_package.package = Some(package);
        let mut planned = planned("/p", vec![of_package.clone(), of_package]);
        assert_eq!(planned.to_be_fetched(), std::slice::from_ref(&object));
        planned.withhold(&object, Origin::Unavailable, "gone");
        assert!(planned.to_be_fetched().is_empty() && planned.libraries.iter().all(Library::is_missed));
    }
}
