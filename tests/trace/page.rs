//! `--html`, `--dot` and `--mermaid`: what is made of a whole trace.

use super::browser::Browser;
use crate::harness::{SONDE, Who, fixture, run};

const CURL: &str = "/opt/programs/curl/usr/bin/curl";

/// What a trace of a command line writes to a file that an option names.
fn written(option: &str, command: &[&str]) -> String {
    let root = fixture().root(Who::Alice);
    let script = format!("{SONDE} trace {option} /tmp/written \"$@\" >/tmp/out 2>&1 && cat /tmp/written");
    let mut shell = root.command("/bin/sh");
    let outcome = run(shell.args(["-c", &script, "sh"]).args(command));
    assert!(outcome.succeeded(), "{outcome}");
    outcome.stdout
}

#[test]
fn a_page_is_filtered_sorted_and_says_why_in_a_browser() {
    let page = written("--html", &[CURL, "--version"]);
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, &page).unwrap();
    browser.open(&path);

    let rows = "document.querySelectorAll('#libraries tbody tr').length";
    let all = browser.value(rows).as_u64().unwrap();
    assert!(all > 20, "{all} rows");
    assert_eq!(browser.value("document.querySelectorAll('.strip i').length"), all);
    assert_eq!(browser.value("document.querySelectorAll('#graph button').length"), all);
    assert!(browser.value("document.querySelectorAll('#graph path').length").as_u64().unwrap() > 20);

    // Filter.
    browser.value("words.value = 'nghttp2'; words.dispatchEvent(new Event('input', { bubbles: true }))");
    assert_eq!(browser.value(rows), 1);
    let count = format!("1 of {all} libraries");
    assert_eq!(browser.value("document.getElementById('count').textContent"), count);
    browser.value("words.value = ''; words.dispatchEvent(new Event('input', { bubbles: true }))");

    // Sort by size, both ways.
    let head =
        "[...document.querySelectorAll('#libraries th button')].find(one => one.textContent === 'Size')";
    let names = "[...document.querySelectorAll('#libraries tbody tr')].map(row => row.dataset.id)";
    browser.value(&format!("{head}.click()"));
    assert_eq!(browser.value(&format!("{head}.parentElement.getAttribute('aria-sort')")), "ascending");
    let mut up = browser.value(names).as_array().unwrap().clone();
    browser.value(&format!("{head}.click()"));
    let down = browser.value(names).as_array().unwrap().clone();
    up.reverse();
    assert_eq!((up.first(), up.len()), (down.first(), down.len()));
    assert_eq!(browser.value("JSON.parse(data.textContent).filter(one => one.event === 'load').sort((a, b) => b.size - a.size)[0].soname"),
        browser.value("document.querySelector('#libraries tbody button').textContent"));

    // Choose one, and go on by keyboard.
    browser.value("[...document.querySelectorAll('#libraries tbody button')].find(one => one.textContent === 'libz.so.1').click()");
    let story = browser.value("document.getElementById('story').textContent");
    let story = story.as_str().unwrap();
    assert!(story.contains("curl is linked against libz.so.1"), "{story}");
    assert!(
        story.contains("Considered") && story.contains("zlib.out") && story.contains("– taken"),
        "{story}"
    );
    assert_eq!(browser.value("document.activeElement.id"), "why");
    assert!(browser.value("location.hash").as_str().unwrap().starts_with("#load-"));
    assert_eq!(
        browser.value("document.querySelectorAll('tr.chosen, .strip i.chosen, #graph button.chosen').length"),
        3
    );
    browser.value("document.querySelector('.strip').focus()");
    let before = browser.value("location.hash");
    for kind in ["keyDown", "keyUp"] {
        browser.ask("Input.dispatchKeyEvent", serde_json::json!({ "type": kind, "key": "ArrowRight" }));
    }
    assert_ne!(browser.value("location.hash"), before);
    assert_eq!(browser.value("document.activeElement.className"), "strip");

    // Dark and light.
    let back = "getComputedStyle(document.body).backgroundColor";
    let mut backs = Vec::new();
    for scheme in ["light", "dark"] {
        let features =
            serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.ask("Emulation.setEmulatedMedia", features);
        backs.push(browser.value(back));
    }
    assert_ne!(backs[0], backs[1]);

    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    assert_eq!(browser.requests, [format!("file://{}", path.display())]);
}

#[test]
fn a_graph_has_every_library_and_who_needs_it() {
    let dot = written("--dot -o", &[CURL, "--version"]);
    let id = |name: &str| {
        let line = dot.lines().find(|line| line.contains(&format!("[label=\"{name}\\n")));
        line.unwrap_or_else(|| panic!("no {name}: {dot}")).trim().split(' ').next().unwrap().to_owned()
    };
    let edge = |from: &str, to: &str| dot.contains(&format!("  {} -> {};\n", id(from), id(to)));
    assert!(edge("curl", "libcurl.so.4") && edge("curl", "libz.so.1"), "{dot}");
    assert!(edge("libcurl.so.4", "libnghttp2.so.14") && edge("libcurl.so.4", "libz.so.1"), "{dot}");
    assert!(!edge("libz.so.1", "libcurl.so.4"), "{dot}");

    let mermaid = written("--mermaid -o", &[CURL, "--version"]);
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    assert!(mermaid.contains("[\"libnghttp2.so.14<br/>nghttp2.lib 1.52.0\"]:::package"), "{mermaid}");
    assert_eq!(mermaid.matches(" --> ").count(), dot.matches(" -> ").count(), "the same edges");
}
