//! Fetching a published database: asked for only if it has changed, imported while it arrives, put in place when it is
//! whole.
//!
//! `ureq` with rustls, because Nix's own downloader needs an evaluation and `curl` need not be there. The machine's own
//! certificates are used (rustls-native-certs), so that a company's proxy works as it does for everything else.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::import::{ImportFailure, Imported, Target, import, open_regular};
use super::origin::Origin;
use super::registry::DEFAULT_NAME;
use crate::store::{http_agent, http_get};

/// Where the nix-index-database project publishes its databases, once a week.
const PUBLISHED: &str = "https://github.com/nix-community/nix-index-database/releases/latest/download";

/// What became of an update.
#[derive(Debug)]
pub(crate) enum Updated {
    /// The database is still the one that there is.
    Unchanged,
    Replaced(Imported),
}

/// Why everything was left as it was.
#[derive(Debug, Error)]
pub(crate) enum UpdateFailure {
    #[error(
        "the database `{name}` was imported from a file: give the address of what is to replace it, as in `sonde index \
         update URL --name {name}`"
    )]
    NoAddress { name: String },
    #[error(
        "{0}: not an address that can be fetched from; give one that begins with https://, http:// or file://"
    )]
    Scheme(String),
    #[error(
        "{url}: there is nothing at this address (404); look at https://github.com/nix-community/nix-index-database/releases for what is published, or give another address"
    )]
    NotFound { url: String },
    #[error("{url}: the server answered {status}; try again later, or give another address")]
    Status { url: String, status: StatusCode },
    #[error("{url}: {reason}; is the network there, and is a proxy needed (https_proxy)?")]
    Unreachable { url: String, reason: String },
    #[error("{url}: {reason}; if the server's certificate is of your own making, name it in SSL_CERT_FILE")]
    Tls { url: String, reason: String },
    #[error("{url}: nothing has arrived for {} seconds; try again, or allow more with --timeout", patience.as_secs())]
    Stalled { url: String, patience: Duration },
    #[error("{url}: the connection ended after {received} of {expected} bytes; try again")]
    CutOff { url: String, received: u64, expected: u64 },
    #[error("{url}: the connection broke after {received} bytes ({reason}); try again")]
    Broken { url: String, received: u64, reason: String },
    #[error(transparent)]
    Import(#[from] ImportFailure),
}

/// Shows how far a transfer is: told its length, if that is known, and handed what is read from.
pub(crate) type Watch<'a> = &'a dyn Fn(Option<u64>, Box<dyn Read>) -> Box<dyn Read>;

/// The database that is fetched when none is named.
pub(crate) fn published() -> String {
    format!("{PUBLISHED}/index-{}-linux", env::consts::ARCH)
}

/// Fetches a database if it is another than the one that there is. Without an address: from where it came, or else
/// the published one.
pub(crate) fn update(
    target: &Target<'_>,
    url: Option<&str>,
    patience: Duration,
    watch: Watch<'_>,
) -> Result<(String, Updated), UpdateFailure> {
    target.registry.check(&target.place).map_err(ImportFailure::from)?;
    let origin = Origin::read(&target.registry, target.name);
    let url = match (url, &origin) {
        (Some(url), _) => url.to_owned(),
        (None, Some(origin)) => origin.url.clone(),
        (None, None) if target.name == DEFAULT_NAME => published(),
        (None, None) if target.registry.find(target.name).is_err() => published(),
        (None, None) => return Err(UpdateFailure::NoAddress { name: target.name.to_owned() }),
    };
    let known = origin.filter(|origin| origin.url == url);
    let updated = match url.split_once("://") {
        Some(("file", path)) => from_file(target, &url, &path_of(path), known.as_ref(), watch),
        Some(("http" | "https", _)) => from_server(target, &url, known.as_ref(), patience, watch),
        _ => Err(UpdateFailure::Scheme(url.clone())),
    };
    updated.map(|updated| (url, updated))
}

fn from_file(
    target: &Target<'_>,
    url: &str,
    path: &Path,
    known: Option<&Origin>,
    watch: Watch<'_>,
) -> Result<Updated, UpdateFailure> {
    let failure = |source| ImportFailure::File { path: path.to_owned(), source };
    let (file, length) = open_regular(path).map_err(failure)?;
    let stamp = Origin::file_stamp(path);
    if stamp.is_some() && known.is_some_and(|known| known.last_modified == stamp) {
        return Ok(Updated::Unchanged);
    }
    let origin = |index| Some(Origin { url: url.to_owned(), last_modified: stamp, etag: None, index });
    let reader = watch(Some(length), Box::new(file));
    Ok(Updated::Replaced(import(target, path.display().to_string(), reader, origin)?))
}

fn from_server(
    target: &Target<'_>,
    url: &str,
    known: Option<&Origin>,
    patience: Duration,
    watch: Watch<'_>,
) -> Result<Updated, UpdateFailure> {
    let mut request = http_get(&http_agent(patience, patience, 1), url);
    let (etag, last_modified) =
        known.map_or((None, None), |known| (known.etag.as_ref(), known.last_modified.as_ref()));
    if let Some(etag) = etag {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    if let Some(time) = last_modified {
        request = request.header(header::IF_MODIFIED_SINCE, time);
    }
    let response = request.call().map_err(|error| unreachable(url, patience, error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Updated::Unchanged),
        StatusCode::NOT_FOUND => return Err(UpdateFailure::NotFound { url: url.to_owned() }),
        status => return Err(UpdateFailure::Status { url: url.to_owned(), status }),
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
    let expected = length(&response);
    let transfer = Transfer::default();
    let body =
        Received { body: Box::new(response.into_body().into_reader()), expected, transfer: transfer.clone() };
    let origin = |index| Some(Origin { url: url.to_owned(), etag, last_modified, index });
    // What did not arrive in full is no fault of the database.
    import(target, url.to_owned(), watch(expected, Box::new(body)), origin)
        .map(Updated::Replaced)
        .map_err(|error| transfer.blame(url, expected, patience).unwrap_or(error.into()))
}

fn unreachable(url: &str, patience: Duration, error: ureq::Error) -> UpdateFailure {
    let url = url.to_owned();
    match error {
        ureq::Error::Timeout(_) => UpdateFailure::Stalled { url, patience },
        ureq::Error::Rustls(error) => UpdateFailure::Tls { url, reason: error.to_string() },
        ureq::Error::Io(error) => {
            let reason = error.to_string();
            let tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            if tls { UpdateFailure::Tls { url, reason } } else { UpdateFailure::Unreachable { url, reason } }
        }
        error => UpdateFailure::Unreachable { url, reason: error.to_string() },
    }
}

fn length(response: &Response<Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `file://` and a path, in which `%20` is a space.
fn path_of(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code =
            tail.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// How far a transfer came, and what ended it.
#[derive(Debug, Default)]
struct Progress {
    received: u64,
    fault: Option<(io::ErrorKind, String)>,
}

#[derive(Debug, Clone, Default)]
struct Transfer(Arc<Mutex<Progress>>);

impl Transfer {
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn received(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).received
    }

    /// Why an import failed, if it was the transfer's fault.
    fn blame(&self, url: &str, expected: Option<u64>, patience: Duration) -> Option<UpdateFailure> {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (url, received) = (url.to_owned(), progress.received);
        let (kind, reason) = progress.fault.clone()?;
        Some(match expected {
            _ if kind == io::ErrorKind::TimedOut => UpdateFailure::Stalled { url, patience },
            Some(expected) if received < expected => UpdateFailure::CutOff { url, received, expected },
            _ => UpdateFailure::Broken { url, received, reason },
        })
    }
}

/// A body as it arrives. An end that comes too early is an error: a database that is cut between two of its parts
/// reads well.
struct Received {
    body: Box<dyn Read>,
    expected: Option<u64>,
    transfer: Transfer,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let early = |transfer: &Transfer| self.expected.is_some_and(|all| transfer.received() < all);
        let read = match self.body.read(buffer) {
            Ok(0) if !buffer.is_empty() && early(&self.transfer) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        self.transfer.note(|progress| match &read {
            Ok(count) => progress.received += *count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => progress.fault = Some((kind_of(error), error.to_string())),
        });
        read
    }
}

/// ureq's time-outs are its own kind of error.
fn kind_of(error: &io::Error) -> io::ErrorKind {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => io::ErrorKind::TimedOut,
        _ => error.kind(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_database_is_that_of_this_machine() {
        assert!(published().starts_with("https://github.com/nix-community/nix-index-database/"));
        assert!(published().ends_with(&format!("/index-{}-linux", env::consts::ARCH)));
    }

    #[test]
    fn an_address_of_a_file_is_decoded() {
        assert_eq!(path_of("/a/b"), Path::new("/a/b"));
        assert_eq!(path_of("/a%20b/%C3%A9"), Path::new("/a b/é"));
        assert_eq!(path_of("/100%/%zz"), Path::new("/100%/%zz"));
    }

    #[test]
    fn an_end_that_comes_too_early_is_a_fault_of_the_transfer() {
        let transfer = Transfer::default();
        let body = Box::new(&b"abc"[..]);
        let mut received = Received { body, expected: Some(5), transfer: transfer.clone() };
        assert!(received.read_to_end(&mut Vec::new()).is_err());
        let fault = transfer.blame("u", Some(5), Duration::from_secs(1)).unwrap();
        assert_eq!(fault.to_string(), "u: the connection ended after 3 of 5 bytes; try again");
    }
}
