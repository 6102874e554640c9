//! Lines as people see them.

use super::*;
use crate::report::trace::entry::Package;

fn load() -> Load {
    Load {
        process: 4711,
        program: "app".into(),
        soname: "libz.so.1".into(),
        outcome: Outcome::Loaded,
        why: Why::Needed,
        needed_by: Some("/opt/app/bin/app".into()),
        how: Some(How::ServedCache),
        of: None,
        provider: Some(Provider::Package),
        package: Some(Package {
            attribute: Some("zlib".into()),
            output: Some("out".into()),
            name: Some("zlib".into()),
            version: Some("1.3.1".into()),
            store_path: Some("/nix/store/x-zlib-1.3.1".into()),
        }),
        path: Some("/nix/store/x-zlib-1.3.1/lib/libz.so.1".into()),
        size: Some(120_000),
        realised: false,
        fetched_bytes: None,
        took: Duration::from_micros(1234),
        needs: Vec::new(),
        tried: Vec::new(),
        reason: None,
        choice: None,
    }
}

fn shown(load: Load, width: Option<usize>) -> String {
    let entry = Entry { at: Duration::from_millis(5), what: What::Load(Box::new(load)) };
    Human::new(Paint::none(), width).line_of(&entry)
}

#[test]
fn a_line_says_who_wants_a_library_how_it_was_found_and_which_it_is() {
    let words = shown(load(), None);
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(
        words.join(" "),
        "5.0 ms 4711 libz.so.1 app served cache zlib.out 1.3.1 - 1.2 ms /nix/store/x-zlib-1.3.1/lib/libz.so.1"
    );
}

#[test]
fn lines_fit_the_terminal_and_stand_below_their_headings() {
    for width in [80, 100, 120, 160, 240] {
        let long = Load {
            soname: "libavutil.so.57".into(),
            needed_by: Some("/opt/a-program-with-a-very-long-name-indeed-it-never-ends".into()),
            how: Some(How::Runpath),
            of: Some("/nix/store/x/lib/liba-library-with-a-very-long-name-too.so.1".into()),
            path: Some("/nix/store/x-zlib/lib/libz.so.1".into()),
            ..load()
        };
        let headings = Human::new(Paint::none(), Some(width)).headings();
        let line = shown(long, Some(width));
        assert!(line.trim_end().chars().count() <= width, "{width}: {line}");
        let column = |text: &str, word: &str| text.find(word).map(|at| text[..at].chars().count());
        assert_eq!(column(&headings, "HOW"), column(&line, "RUN"), "{headings}{line}");
    }
}

#[test]
fn a_long_reason_stands_below_and_widens_nothing() {
    let reason = "a cache says no ".repeat(30);
    let failed = Load { outcome: Outcome::Failed, path: None, reason: Some(reason.clone()), ..load() };
    let text = shown(failed, Some(80));
    assert!(text.lines().count() > 4 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let told: Vec<&str> = text.lines().skip(1).flat_map(str::split_whitespace).collect();
    assert_eq!(told, reason.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn the_summary_counts_what_there_is() {
    let totals = Totals {
        processes: 2,
        loaded: 3,
        provided: 2,
        bundled: 1,
        realised: 1,
        absent: 1,
        fetched_bytes: 1_200_000,
        ..Totals::default()
    };
    assert_eq!(
        summary(&totals),
        "3 libraries in 2 processes: 2 from packages, 1 bundled, 1 absent; 1 fetched now, 1.2 MB\n"
    );
    assert_eq!(
        summary(&Totals { loaded: 1, provided: 1, ..Totals::default() }),
        "1 library: 1 from packages\n"
    );
}
