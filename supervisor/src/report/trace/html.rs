//! A trace as one page that needs nothing else: no network, no other file. Its script only ever puts text in.

use std::path::Path;

use super::entry::{Entry, What};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page.
pub(crate) fn page(entries: &[Entry]) -> String {
    let program = entries.iter().find_map(|entry| match &entry.what {
        What::Begin(begin) => Some(begin.program.as_path()),
        _ => None,
    });
    let title = program.unwrap_or(Path::new("")).to_string_lossy();
    let title = html_escape::encode_text(&title);
    let (before, behind) = PAGE.split_once("@data@").unwrap_or((PAGE, ""));
    let before = before.replace("@style@", STYLE).replace("@title@", &title);
    before + &data(entries) + &behind.replace("@script@", SCRIPT)
}

/// JSON in which nothing can end the element that it stands in: a `<` may be written as an escape wherever it may be.
fn data(entries: &[Entry]) -> String {
    serde_json::to_string(entries).unwrap_or_else(|_| "[]".to_owned()).replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::trace::entry::Begin;
    use std::time::Duration;

    #[test]
    fn nothing_that_a_trace_says_becomes_a_part_of_the_page() {
        let evil = "/opt/</script><script>alert(1)</script>@data@";
        let begin = Begin {
            schema: 1,
            version: "0",
            program: evil.into(),
            arguments: vec![evil.to_owned(), "<!--".to_owned()],
            process: None,
            unix_time: 0.0,
        };
        let page = page(&[Entry { at: Duration::ZERO, what: What::Begin(begin) }]);
        assert_eq!(page.matches("<script").count(), 2, "the data and the page's own");
        assert!(!page.contains("<!--"));
        assert!(page.contains("&lt;/script&gt;"));
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        let entries: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(entries[0]["program"], evil);
    }

    #[test]
    fn the_page_asks_nobody_for_anything() {
        let page = page(&[]);
        for outside in ["http://", "https://", "src=", "url(", "@import", "fetch("] {
            let count = page.replace("http://www.w3.org/2000/svg", "").matches(outside).count();
            assert_eq!(count, 0, "{outside}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}
