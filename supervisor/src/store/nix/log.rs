//! What Nix says while it works, read from its log in the form `internal-json`: how a download gets on, and its words for
//! people.
//!
//! Each line is `@nix ` and an object (`JSONLogger` in Nix's `src/libutil/logging.cc`; since Nix 2.4 for `nix-store` too).
//! Activities begin, have results and stop; their types are numbers (`logging.hh`). A download has the copy of its store
//! path above it, which is said since Nix 2.19 (`parent`, <https://github.com/NixOS/nix/pull/8959>); before, one is known
//! to be of the path that is being copied, if there is only one. What cannot be understood is not told: the form is Nix's
//! own business, and no download depends on it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::dry_run;
use crate::store::{Progress, StorePath};

const MARK: &[u8] = b"@nix ";
/// Words beyond this are dropped, and lines that are longer: nobody reads as much of an error.
const MOST: usize = 1 << 20;

/// `actCopyPath`, whose first field is the path.
const COPY: u64 = 100;
/// `actFileTransfer`, whose first field is the address.
const TRANSFER: u64 = 101;
/// `resProgress`, whose first fields are how much is done and how much that is of, as far as it is known.
const PROGRESS: u64 = 105;

#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
enum Entry {
    Start {
        id: u64,
        #[serde(rename = "type")]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
        parent: Option<u64>,
    },
    Stop {
        id: u64,
    },
    Result {
        id: u64,
        #[serde(rename = "type")]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Msg {
        msg: String,
    },
    #[serde(other)]
    Other,
}

/// A file on its way.
#[derive(Debug)]
struct Transfer {
    path: StorePath,
    received: u64,
    whole: u64,
}

/// Reads the log as it grows.
pub(super) struct Log<'p> {
    progress: &'p dyn Progress,
    words: String,
    /// A line that has not ended yet.
    rest: Vec<u8>,
    /// Paths that are being copied, and downloads of them, by their activities.
    copies: HashMap<u64, StorePath>,
    transfers: HashMap<u64, Transfer>,
    is_announced: bool,
}

impl<'p> Log<'p> {
    pub(super) fn new(progress: &'p dyn Progress) -> Self {
        let (copies, transfers) = (HashMap::new(), HashMap::new());
        Self { progress, words: String::new(), rest: Vec::new(), copies, transfers, is_announced: false }
    }

    /// Some more of it.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.rest);
            line.extend_from_slice(&bytes[..end]);
            self.line(&line);
            bytes = &bytes[end + 1..];
        }
        if self.rest.len() + bytes.len() <= MOST {
            self.rest.extend_from_slice(bytes);
        }
    }

    /// What is said for people, as it would stand on standard error.
    pub(super) fn into_words(mut self) -> String {
        let last = std::mem::take(&mut self.rest);
        if !last.is_empty() {
            self.line(&last);
        }
        self.words
    }

    fn line(&mut self, line: &[u8]) {
        match line.strip_prefix(MARK).map(serde_json::from_slice) {
            Some(Ok(entry)) => self.entry(entry),
            Some(Err(_)) => {}
            None => self.word(&String::from_utf8_lossy(line)),
        }
    }

    fn word(&mut self, words: &str) {
        if self.words.len() + words.len() < MOST {
            self.words += words;
            self.words.push('\n');
        }
    }

    fn entry(&mut self, entry: Entry) {
        match entry {
            Entry::Start { id, kind: COPY, fields, .. } => {
                let path = fields.first().and_then(Value::as_str).and_then(StorePath::new);
                self.copies.extend(path.map(|path| (id, path)));
            }
            Entry::Start { id, kind: TRANSFER, fields, parent } => {
                let address = fields.first().and_then(Value::as_str).unwrap_or_default();
                if let Some(path) = self.copied_by(parent, address).cloned() {
                    self.announce();
                    self.transfers.insert(id, Transfer { path, received: 0, whole: 0 });
                }
            }
            Entry::Result { id, kind: PROGRESS, fields } => {
                let number = |place: usize| fields.get(place).and_then(Value::as_u64).unwrap_or(0);
                if let Some(transfer) = self.transfers.get_mut(&id) {
                    transfer.advance(number(0), number(1), self.progress);
                }
            }
            Entry::Stop { id } => {
                self.copies.remove(&id);
                if let Some(transfer) = self.transfers.remove(&id) {
                    transfer.stop(self.progress);
                }
            }
            Entry::Msg { msg } => self.word(&msg),
            Entry::Start { .. } | Entry::Result { .. } | Entry::Other => {}
        }
    }

    /// The path of which this file is. What is not copied yet is only asked about.
    fn copied_by(&self, parent: Option<u64>, address: &str) -> Option<&StorePath> {
        if let Some(parent) = parent {
            return self.copies.get(&parent);
        }
        let mut all = self.copies.values();
        let only = all.next().filter(|_| all.next().is_none())?;
        (!address.ends_with(".narinfo")).then_some(only)
    }

    /// Before the first download Nix has said how much there is to do.
    fn announce(&mut self) {
        if !std::mem::replace(&mut self.is_announced, true)
            && let Some(sizes) = dry_run::sizes(&self.words).filter(|sizes| sizes.paths > 0)
        {
            self.progress.begin(sizes.paths, Some(sizes.download));
        }
    }
}

impl Transfer {
    fn advance(&mut self, done: u64, whole: u64, progress: &dyn Progress) {
        if whole > 0 && self.whole == 0 {
            self.whole = whole;
            progress.started(&self.path, Some(whole));
        }
        // An attempt that is made again begins anew.
        if let Some(more) = done.checked_sub(self.received).filter(|more| *more > 0) {
            progress.received(&self.path, more);
        }
        self.received = self.received.max(done);
    }

    /// An address that does not say how much it has is through when it ends; Nix says if it was cut off.
    fn stop(self, progress: &dyn Progress) {
        if self.received > 0 && self.received >= self.whole {
            progress.finished(&self.path, self.received);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const PATHS: [&str; 2] = [
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1",
        "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-curl-8.0",
    ];

    /// Writes down what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Told {
        fn add(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Progress for Told {
        fn begin(&self, paths: usize, bytes: Option<u64>) {
            self.add(format!("begin {paths} {bytes:?}"));
        }
        fn started(&self, path: &StorePath, bytes: Option<u64>) {
            self.add(format!("started {} {bytes:?}", path.name()));
        }
        fn received(&self, path: &StorePath, bytes: u64) {
            self.add(format!("received {} {bytes}", path.name()));
        }
        fn finished(&self, path: &StorePath, bytes: u64) {
            self.add(format!("finished {} {bytes}", path.name()));
        }
        fn end(&self) {}
    }

    fn copy(id: u64, path: &str) -> String {
        format!(
            "@nix {{\"action\":\"start\",\"fields\":[\"{path}\",\"https://c\",\"local\"],\"id\":{id},\"level\":3,\"text\":\"\",\"type\":100}}\n"
        )
    }

    fn transfer(id: u64, address: &str, parent: Option<u64>) -> String {
        let parent = parent.map_or_else(String::new, |parent| format!("\"parent\":{parent},"));
        format!(
            "@nix {{\"action\":\"start\",\"fields\":[\"{address}\"],\"id\":{id},\"level\":4,{parent}\"text\":\"\",\"type\":101}}\n"
        )
    }

    fn progress(id: u64, done: u64, whole: u64) -> String {
        format!("@nix {{\"action\":\"result\",\"fields\":[{done},{whole},0,0],\"id\":{id},\"type\":105}}\n")
    }

    fn stop(id: u64) -> String {
        format!("@nix {{\"action\":\"stop\",\"id\":{id}}}\n")
    }

    /// Heard in pieces of so many bytes.
    fn heard(text: &str, piece: usize) -> (Vec<String>, String) {
        let told = Told::default();
        let mut log = Log::new(&told);
        text.as_bytes().chunks(piece).for_each(|bytes| log.hear(bytes));
        let words = log.into_words();
        (told.0.into_inner().unwrap(), words)
    }

    #[test]
    fn downloads_are_told_of_the_path_that_is_copied() {
        let text = [
            "@nix {\"action\":\"msg\",\"level\":3,\"msg\":\"this path will be fetched (1.00 KiB download, 2.00 KiB unpacked):\"}\n".into(),
            format!("@nix {{\"action\":\"msg\",\"level\":3,\"msg\":\"  {}\"}}\n", PATHS[0]),
            transfer(6, "https://c/0123.narinfo", None),
            progress(6, 900, 900),
            stop(6),
            copy(7, PATHS[0]),
            transfer(8, "https://c/nar/x.nar.xz", None),
            progress(8, 0, 0),
            progress(8, 10, 1000),
            progress(8, 10, 1000),
            progress(8, 1000, 1000),
            progress(7, 2000, 2000),
            stop(8),
            stop(7),
        ]
        .concat();
        for piece in [1, 7, 4096] {
            let (told, words) = heard(&text, piece);
            let expected = [
                "begin 1 Some(1024)",
                "started zlib-1.3.1 Some(1000)",
                "received zlib-1.3.1 10",
                "received zlib-1.3.1 990",
                "finished zlib-1.3.1 1000",
            ];
            assert_eq!(told, expected);
            assert!(words.starts_with("this path will be fetched ("), "{words}");
        }
    }

    #[test]
    fn several_at_once_are_kept_apart_by_their_parents_or_not_told() {
        let parallel = |parents: [Option<u64>; 2]| {
            let text = [
                copy(1, PATHS[0]),
                copy(2, PATHS[1]),
                transfer(3, "https://c/a", parents[0]),
                transfer(4, "https://c/b", parents[1]),
                progress(4, 5, 5),
                progress(3, 9, 9),
                stop(3),
                stop(4),
            ]
            .concat();
            let finished = |told: &String| told.starts_with("finished");
            heard(&text, 100).0.into_iter().filter(finished).collect::<Vec<_>>()
        };
        assert_eq!(parallel([Some(1), Some(2)]), ["finished zlib-1.3.1 9", "finished curl-8.0 5"]);
        assert_eq!(parallel([Some(0), Some(9)]), [""; 0]);
        assert_eq!(parallel([None, None]), [""; 0]);
    }

    #[test]
    fn what_was_cut_off_is_not_finished() {
        let text = [
            copy(1, PATHS[0]),
            transfer(2, "https://c/nar/x", Some(1)),
            progress(2, 40, 100),
            stop(2),
            transfer(3, "https://c/nar/x", Some(1)),
            progress(3, 100, 100),
            stop(3),
        ]
        .concat();
        let told = heard(&text, 64).0;
        assert_eq!(told.iter().filter(|told| told.starts_with("finished")).count(), 1, "{told:?}");
    }

    #[test]
    fn errors_are_words_and_what_is_not_understood_is_passed_over() {
        let text = "@nix {\"action\":\"msg\",\"level\":0,\"msg\":\"\\u001b[31;1merror:\\u001b[0m no\"}\n\
                    @nix {\"action\":\"sing\",\"id\":1}\n@nix {\"action\":\"stop\"}\n@nix {torn\n@nix [1]\n\
                    error: unrecognised flag '--log-format'";
        let (told, words) = heard(text, 5);
        assert_eq!(told, [""; 0]);
        assert_eq!(words, "\u{1b}[31;1merror:\u{1b}[0m no\nerror: unrecognised flag '--log-format'\n");
    }

    #[test]
    fn neither_a_line_nor_all_words_grow_without_end() {
        let told = Told::default();
        let mut log = Log::new(&told);
        for _ in 0..64 {
            log.hear(&[b'x'; MOST / 16]);
        }
        assert!(log.rest.len() <= MOST);
        log.hear(b"\n");
        for _ in 0..64 {
            log.hear(format!("{}\n", "y".repeat(MOST / 16)).as_bytes());
        }
        assert!(log.into_words().len() <= MOST);
    }
}
