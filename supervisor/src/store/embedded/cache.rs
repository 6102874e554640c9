//! One binary cache, at `https://`, `http://` or `file://`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use ureq::http::header;
use ureq::{Error, Timeout};

use super::error::Fault;
use super::http::Client;
use super::narinfo::{LARGEST, Narinfo};
use crate::store::StorePath;

/// What a transfer may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until a connection stands.
    pub(crate) connect: Duration,
    /// Between one byte and the next.
    pub(crate) stall: Duration,
    /// Attempts at a request that can go well in a moment.
    pub(crate) attempts: u32,
    /// Before the second attempt; four times as long before each further one.
    pub(crate) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            attempts: 3,
            pause: Duration::from_millis(250),
        }
    }
}

/// A cache by its address.
pub(super) struct Cache {
    address: String,
    place: Place,
    patience: Patience,
}

enum Place {
    Folder(PathBuf),
    Server(Client),
}

/// The content of a file of a cache.
pub(super) struct Body {
    pub(super) reader: Box<dyn Read>,
    pub(super) length: Option<u64>,
}

impl Cache {
    /// `None` for an address that is none.
    pub(super) fn new(address: &str, client: &Client, patience: Patience) -> Option<Self> {
        let address = address.trim_end_matches('/');
        let (scheme, rest) = address.split_once("://")?;
        let place = match scheme {
            "http" | "https" if !rest.is_empty() => Place::Server(client.clone()),
            "file" if rest.starts_with('/') => Place::Folder(rest.into()),
            _ => return None,
        };
        Some(Self { address: address.to_owned(), place, patience })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What the cache says of a path. Nobody has looked at who signed it yet.
    pub(super) fn narinfo(&self, path: &StorePath) -> Result<Narinfo, Fault> {
        let hash = path.base_name().split('-').next().unwrap_or_default();
        let (url, body) = self.open(&format!("{hash}.narinfo"))?;
        let mut bytes = Vec::new();
        let read = body.reader.take(LARGEST).read_to_end(&mut bytes);
        read.map_err(|error| self.broken(&url, &error, bytes.len() as u64, body.length))?;
        let reason = |reason| Fault::Narinfo { url: url.clone(), reason };
        let text = String::from_utf8(bytes).map_err(|_| reason("it is no text".into()))?;
        let info = Narinfo::parse(&text).map_err(reason)?;
        if info.path == *path { Ok(info) } else { Err(reason(format!("it is about {}", info.path))) }
    }

    /// Opens a file of the cache; returns its whole address too.
    pub(super) fn open(&self, name: &str) -> Result<(String, Body), Fault> {
        let missing = || Fault::Missing { cache: self.address.clone() };
        match &self.place {
            Place::Folder(folder) => {
                let name = Path::new(name);
                if !name.components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(missing());
                }
                let path = folder.join(name);
                let url = format!("file://{}", path.display());
                let unreadable = |error: io::Error| match error.kind() {
                    // A folder that is not mounted is an outage, and no empty cache.
                    io::ErrorKind::NotFound if folder.is_dir() => missing(),
                    _ => Fault::Unreachable { url: url.clone(), reason: error.to_string() },
                };
                let file = File::open(&path).map_err(unreadable)?;
                let length = file.metadata().map_err(unreadable)?.len();
                Ok((url, Body { reader: Box::new(file), length: Some(length) }))
            }
            Place::Server(client) => {
                let absolute = name.starts_with("https://") || name.starts_with("http://");
                let url = if absolute { name.to_owned() } else { format!("{}/{name}", self.address) };
                let response = client.get(&url).call().map_err(|error| self.failed(&url, &error))?;
                match response.status().as_u16() {
                    200 => {}
                    // Buckets that cannot be listed answer 403 for what they do not have.
                    403 | 404 | 410 => return Err(missing()),
                    status => return Err(Fault::Status { url, status }),
                }
                let length = response.headers().get(header::CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                Ok((url, Body { reader: Box::new(response.into_body().into_reader()), length }))
            }
        }
    }

    /// Puts into words why a body ended.
    pub(super) fn broken(&self, url: &str, error: &io::Error, received: u64, expected: Option<u64>) -> Fault {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let url_of = || url.to_owned();
        match (inner, expected) {
            (Some(Error::Timeout(_)), _) => self.stalled(url),
            (_, Some(expected)) if received < expected => Fault::CutOff { url: url_of(), received, expected },
            _ => Fault::Unreachable { url: url_of(), reason: error.to_string() },
        }
    }

    fn failed(&self, url: &str, error: &Error) -> Fault {
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => Fault::Unreachable {
                url: url.to_owned(),
                reason: format!("no connection within {} seconds", self.patience.connect.as_secs()),
            },
            Error::Timeout(_) => self.stalled(url),
            error => Fault::Unreachable { url: url.to_owned(), reason: error.to_string() },
        }
    }

    fn stalled(&self, url: &str) -> Fault {
        Fault::Stalled { url: url.to_owned(), seconds: self.patience.stall.as_secs() }
    }

    /// Tries again what can go well in a moment.
    pub(super) fn persist<T>(&self, mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
        let mut pause = self.patience.pause;
        for _ in 1..self.patience.attempts {
            match attempt() {
                Err(fault) if fault.is_transient() => tracing::debug!(%fault, "once more"),
                result => return result,
            }
            std::thread::sleep(pause);
            pause *= 4;
        }
        attempt()
    }
}
