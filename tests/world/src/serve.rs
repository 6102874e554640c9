//! Serves a binary cache over HTTP on this machine's loopback, as a channel's cache would be.
//!
//! One thread a connection: Nix keeps up to 25 open, and a pool smaller than that (tiny_http's) can leave a request
//! waiting behind a connection that is merely kept alive.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// More than any Nix sends.
const LONGEST_HEAD: u64 = 16 * 1024;

/// A running server; answers nobody any more when dropped.
pub struct CacheServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl CacheServer {
    /// Serves `folder`; port 0 takes a free one.
    pub fn start(folder: &Path, port: u16) -> Result<CacheServer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("listening on 127.0.0.1:{port}: try --port 0"))?;
        let address = listener.local_addr().context("asking for the server's address")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, stopped) = (folder.to_owned(), stop.clone());
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let (folder, stopped) = (folder.clone(), stopped.clone());
                // A client that hangs up in the middle is its own business.
                std::thread::spawn(move || converse(stream, &folder, &stopped).ok());
            }
        });
        Ok(CacheServer { address, stop, acceptor: Some(acceptor) })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until the process ends.
    pub fn wait(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Drop for CacheServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let (Ok(wake), Some(acceptor)) = (TcpStream::connect(self.address), self.acceptor.take()) {
            let _ = wake.shutdown(Shutdown::Both);
            let _ = acceptor.join();
        }
    }
}

/// Answers requests until the client has had enough, or the server is gone.
fn converse(stream: TcpStream, folder: &Path, stopped: &AtomicBool) -> io::Result<()> {
    // Without it Nagle's algorithm costs more than the transfer.
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(head) = read_head(&mut reader)?.filter(|_| !stopped.load(Ordering::Acquire)) {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if request.parse(&head).is_err() {
            return respond(&mut writer, "400 Bad Request", None, true);
        }
        let method = request.method.unwrap_or_default();
        let file = inside(folder, request.path.unwrap_or_default()).and_then(|path| File::open(path).ok());
        match (method, file) {
            ("GET" | "HEAD", Some(file)) => respond(&mut writer, "200 OK", Some(file), method == "GET")?,
            ("GET" | "HEAD", None) => respond(&mut writer, "404 Not Found", None, false)?,
            _ => return respond(&mut writer, "405 Method Not Allowed", None, false),
        }
        let closes = |header: &httparse::Header<'_>| {
            header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
        };
        if request.headers.iter().any(closes) {
            break;
        }
    }
    Ok(())
}

/// The lines up to the empty one; `None` at the connection's end.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        reader.by_ref().take(LONGEST_HEAD - before as u64).read_until(b'\n', &mut head)?;
        match &head[before..] {
            [] => return Ok(None),
            b"\r\n" | b"\n" if before > 0 => return Ok(Some(head)),
            _ => {}
        }
    }
}

fn respond(writer: &mut TcpStream, status: &str, file: Option<File>, body: bool) -> io::Result<()> {
    let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    writer.write_all(head.as_bytes())?;
    if let (true, Some(file)) = (body, file) {
        io::copy(&mut file.take(length), writer)?;
    }
    Ok(())
}

/// The file that a request means, if it is one of the folder's.
fn inside(folder: &Path, url: &str) -> Option<PathBuf> {
    let name = Path::new(url.split('?').next()?.trim_start_matches('/'));
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    let path = folder.join(name);
    (plain && path.is_file()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(server: &CacheServer, path: &str) -> String {
        let mut stream = TcpStream::connect(server.address).expect("connect");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("write");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    }

    #[test]
    fn files_are_served_and_nothing_outside_the_folder() {
        let folder = std::env::temp_dir().join(format!("sonde-world-serve-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        std::fs::write(folder.join("a.narinfo"), "hello").expect("file");
        let server = CacheServer::start(&folder, 0).expect("server");
        assert!(get(&server, "/a.narinfo").ends_with("hello"));
        assert!(get(&server, "/b.narinfo").starts_with("HTTP/1.1 404"));
        assert!(get(&server, "/../etc/passwd").starts_with("HTTP/1.1 404"));
        drop(server);
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
