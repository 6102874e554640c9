//! A server that answers as a test says, faults included: what it writes need not be HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is written, and what happens then.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// Keep the connection open without another word.
    pub(super) hang: bool,
}

/// A server on loopback; lives as long as the tests.
pub(super) struct Server {
    pub(super) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `answer` is given the head of each request.
    pub(super) fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (heads, answer) = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heads, answer) = (heads.clone(), answer.clone());
                // A client that hangs up is its own business.
                std::thread::spawn(move || converse(stream, &heads, answer.as_ref()).ok());
            }
        });
        Server { port, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/index", self.port)
    }

    /// The heads of all requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn converse(
    stream: TcpStream,
    heads: &Mutex<Vec<String>>,
    answer: &(dyn Fn(&str) -> Answer + Send + Sync),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        heads.lock().unwrap().push(head.clone());
        if head.starts_with("CONNECT ") {
            // A proxy that always ends up here.
            writer.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            continue;
        }
        let answer = answer(&head);
        writer.write_all(&answer.bytes)?;
        if answer.hang {
            std::thread::sleep(Duration::from_secs(60));
        }
        return Ok(());
    }
}

/// A connection has one answer. Who is not told so may ask again while it is being closed, and meet a reset.
const CLOSE: &str = "Connection: close\r\n";

/// A whole answer.
pub(super) fn ok(headers: &str, body: &[u8]) -> Answer {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\n{CLOSE}{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Answer { bytes, hang: false }
}

/// A status with a header and without a body.
pub(super) fn bodiless(line: &str, header: &str) -> Answer {
    let bytes = format!("HTTP/1.1 {line}\r\n{CLOSE}{header}Content-Length: 0\r\n\r\n").into_bytes();
    Answer { bytes, hang: false }
}

/// A status without a body.
pub(super) fn status(line: &str) -> Answer {
    bodiless(line, "")
}

/// A nix-index database of one package with one file, as small as they come.
pub(super) fn tiny_database(path: &str) -> Vec<u8> {
    let hash = "0123456789abcdfghijklmnpqrsvwxyz";
    let package = format!(
        r#"{{"store_dir":"/nix/store","hash":"{hash}","name":"tiny-1","origin":{{"attr":"tiny","output":"out","toplevel":true}}}}"#
    );
    let stream = [b"50x\0\0", path.as_bytes(), b"\np\0\0", package.as_bytes(), b"\n"].concat();
    // One zstd frame with one raw block (RFC 8878): single segment, content size in one byte.
    let size = u8::try_from(stream.len()).unwrap();
    let block = (u32::from(size) << 3 | 1).to_le_bytes();
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size], &block[..3], &stream].concat();
    [&b"NIXI\x01\0\0\0\0\0\0\0"[..], &frame].concat()
}
