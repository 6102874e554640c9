//! What the tests of this folder stand on: archives, signatures, and a server that misbehaves on request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest, Sha256};

use super::hash::Sha;
use super::pack::text;

/// A key that signs.
pub(super) struct Signer {
    name: &'static str,
    key: SigningKey,
}

impl Signer {
    pub(super) fn new(name: &'static str, seed: u8) -> Self {
        Self { name, key: SigningKey::from_bytes(&[seed; 32]) }
    }

    pub(super) fn public(&self) -> String {
        format!("{}:{}", self.name, STANDARD.encode(self.key.verifying_key().as_bytes()))
    }

    pub(super) fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.name, STANDARD.encode(self.key.sign(text.as_bytes()).to_bytes()))
    }
}

fn words(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words {
        text(&mut bytes, word).unwrap();
    }
    bytes
}

/// An archive of one node.
pub(super) fn nar(node: &[u8]) -> Vec<u8> {
    [&words(&[b"nix-archive-1"]), node].concat()
}

pub(super) fn file(contents: &[u8]) -> Vec<u8> {
    words(&[b"(", b"type", b"regular", b"contents", contents, b")"])
}

pub(super) fn executable(contents: &[u8]) -> Vec<u8> {
    words(&[b"(", b"type", b"regular", b"executable", b"", b"contents", contents, b")"])
}

pub(super) fn link(target: &[u8]) -> Vec<u8> {
    words(&[b"(", b"type", b"symlink", b"target", target, b")"])
}

pub(super) fn directory(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = words(&[b"(", b"type", b"directory"]);
    for (name, node) in entries {
        bytes.extend(words(&[b"entry", b"(", b"name", name.as_bytes(), b"node"]));
        bytes.extend(node);
        bytes.extend(words(&[b")"]));
    }
    bytes.extend(words(&[b")"]));
    bytes
}

pub(super) fn sha(bytes: &[u8]) -> Sha {
    Sha(Sha256::digest(bytes).into())
}

/// How the server answers for one file.
#[derive(Clone)]
pub(super) enum Answer {
    Content(Vec<u8>),
    Status(u16),
    /// Announces all of it, sends this much, and hangs up.
    Half(Vec<u8>, usize),
    /// Sends this much and then nothing.
    Stall(Vec<u8>, usize),
    /// Sends this much of it, and the server is gone until further notice.
    Last(Vec<u8>, usize),
}

/// Files by name, and how often each was asked for. Its threads end with the process.
#[derive(Clone)]
pub(super) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    requests: Vec<String>,
    most_at_once: usize,
    at_once: usize,
    delay: Duration,
    gone: bool,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Head and content are two packets; with Nagle's algorithm the second waits 40 ms for an answer.
                stream.set_nodelay(true).unwrap();
                let serving = serving.clone();
                std::thread::spawn(move || serving.converse(&stream));
            }
        });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn answer(&self, name: &str, answer: Answer) {
        self.state.lock().unwrap().answers.insert(name.to_owned(), answer);
    }

    /// Each answer takes this long.
    pub(super) fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Hangs up on everybody, or not any more.
    pub(super) fn gone(&self, gone: bool) {
        self.state.lock().unwrap().gone = gone;
    }

    pub(super) fn requests(&self, of: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|name| name.contains(of)).count()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most_at_once
    }

    fn converse(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        while let Some(request) = lines.next() {
            while lines.next().is_some_and(|line| !line.is_empty()) {}
            let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let (answer, delay) = {
                let mut state = self.state.lock().unwrap();
                if state.gone {
                    return;
                }
                state.requests.push(name.clone());
                state.at_once += 1;
                state.most_at_once = state.most_at_once.max(state.at_once);
                (state.answers.get(&name).cloned().unwrap_or(Answer::Status(404)), state.delay)
            };
            std::thread::sleep(delay);
            self.state.lock().unwrap().at_once -= 1;
            if matches!(answer, Answer::Last(..)) {
                self.gone(true);
            }
            if respond(stream, &answer).is_none() {
                return;
            }
        }
    }
}

/// `None`: the connection is not to be used again.
fn respond(mut stream: &TcpStream, answer: &Answer) -> Option<()> {
    let (status, content, sent) = match answer {
        Answer::Content(content) => (200, &content[..], content.len()),
        Answer::Status(status) => (*status, &b"<html>"[..], 6),
        Answer::Half(content, sent) | Answer::Stall(content, sent) | Answer::Last(content, sent) => {
            (200, &content[..], *sent)
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", content.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&content[..sent]).ok()?;
    if matches!(answer, Answer::Stall(..)) {
        std::thread::sleep(Duration::from_secs(30));
    }
    (sent == content.len()).then_some(())
}
