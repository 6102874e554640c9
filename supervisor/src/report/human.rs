//! The table that `sonde trace` prints.

use std::fmt::Write;
use std::path::Path;

use super::event::{How, Kept, Load};

const HEADINGS: [&str; 6] = ["LIBRARY", "NEEDED BY", "PACKAGE", "HOW", "TIME", "STORE PATH"];

/// What `sonde trace` prints: the engine, and the table.
pub(crate) fn trace(kept: &Kept) -> String {
    let engine = kept.engine.as_deref().unwrap_or("none; the program runs unsupervised");
    format!("engine {engine}\n{}", table(&kept.loads))
}

/// The table, one line a library in the order of loading, and a summary. Where there were several processes, each has a
/// part of its own.
fn table(loads: &[Load]) -> String {
    let mut processes = Vec::new();
    for load in loads {
        if !processes.contains(&load.process) {
            processes.push(load.process);
        }
    }
    let rows: Vec<(u32, [String; 6])> = loads.iter().map(|load| (load.process, row(load))).collect();
    let mut widths = HEADINGS.map(str::len);
    for (_, row) in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADINGS.map(str::to_owned), widths);
    for process in &processes {
        if processes.len() > 1 {
            let _ = writeln!(text, "process {process}:");
        }
        for (_, row) in rows.iter().filter(|(owner, _)| owner == process) {
            text.push_str(&line(row, widths));
        }
    }
    text.push_str(&summary(loads));
    text
}

fn line(row: &[String; 6], widths: [usize; 6]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        // Times read best aligned to the right.
        let _ =
            if column == 4 { write!(line, "{padding}{cell}  ") } else { write!(line, "{cell}{padding}  ") };
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

fn row(load: &Load) -> [String; 6] {
    let needed_by = load.needed_by.as_deref().map_or_else(|| "(dlopen)".to_owned(), file_name);
    let path = load.path.as_deref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
    [
        load.soname.clone(),
        needed_by,
        load.package.clone().unwrap_or_else(|| "-".to_owned()),
        describe(&load.how),
        format!("{:.1} ms", load.took.as_secs_f64() * 1000.0),
        path,
    ]
}

fn describe(how: &How) -> String {
    match how {
        How::Runpath => "RUNPATH".into(),
        How::ServedCache => "served cache".into(),
        How::Realised => "realised".into(),
        How::Redirected => "redirected".into(),
        How::Absent => "absent".into(),
        How::Failed(reason) => format!("failed: {reason}"),
        How::Forbidden(rule) => format!("forbidden: {rule}"),
    }
}

fn summary(loads: &[Load]) -> String {
    let found = loads.iter().filter(|load| load.path.is_some()).count();
    let plural = if found == 1 { "library" } else { "libraries" };
    match loads.len() - found {
        0 => format!("{found} {plural} provided\n"),
        missing => format!("{found} {plural} provided, {missing} not\n"),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(soname: &str, how: How) -> Load {
        Load {
            process: 1,
            soname: soname.into(),
            needed_by: Some("/opt/app/bin/app".into()),
            package: Some("zlib.out".into()),
            path: Some(format!("/nix/store/x/lib/{soname}").into()),
            how,
            took: Duration::from_micros(1234),
        }
    }

    #[test]
    fn columns_are_aligned_and_the_summary_counts() {
        let absent = Load { path: None, package: None, needed_by: None, ..load("libq.so", How::Absent) };
        let table = table(&[load("libz.so.1", How::ServedCache), absent]);
        let expected = "\
LIBRARY    NEEDED BY  PACKAGE   HOW             TIME  STORE PATH
libz.so.1  app        zlib.out  served cache  1.2 ms  /nix/store/x/lib/libz.so.1
libq.so    (dlopen)   -         absent        1.2 ms  -
1 library provided, 1 not
";
        assert_eq!(table, expected);
    }

    #[test]
    fn processes_are_kept_apart() {
        let other = Load { process: 2, ..load("liba.so", How::Runpath) };
        let table = table(&[load("libb.so", How::Runpath), other, load("libc.so", How::Runpath)]);
        let starts: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(starts, ["LIBRARY", "process", "libb.so", "libc.so", "process", "liba.so", "3"]);
    }
}
