//! What the configuration allows to be fetched, and what is told meanwhile.

use std::sync::Mutex;

use super::*;

/// Writes down what it is told.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Listener {
    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Progress for Listener {
    fn begin(&self, paths: usize, bytes: Option<u64>) {
        self.note(format!("begin {paths} {bytes:?}"));
    }

    fn started(&self, path: &StorePath, bytes: Option<u64>) {
        self.note(format!("started {path} {bytes:?}"));
    }

    fn received(&self, _: &StorePath, bytes: u64) {
        self.note(bytes.to_string());
    }

    fn finished(&self, path: &StorePath, bytes: u64) {
        self.note(format!("finished {path} {bytes}"));
    }

    fn end(&self) {
        self.note("end".into());
    }
}

fn limited(server: &Server, limits: Limits) -> Fresh {
    let mut fresh = Fresh::new(&[server.url()]);
    fresh.store.limits = limits;
    fresh
}

#[test]
fn sizes_are_of_what_is_missing() {
    let server = Server::start();
    let app = Package { compression: "zstd", ..Package::new("app", &["zlib"]) };
    let zlib = Package::new("zlib", &[]);
    [&app, &zlib].iter().for_each(|package| package.publish(&server));
    let fresh = Fresh::new(&[server.url()]);
    let (archives, unpacked) = (app.file().len() + zlib.nar.len(), app.nar.len() + zlib.nar.len());
    let expected = Sizes { paths: 2, download: archives as u64, unpacked: unpacked as u64 };
    assert_eq!(fresh.store.sizes(&[path("app"), path("zlib")]).unwrap(), expected);
    assert_eq!(server.requests("nar/"), 0);
    fresh.realise(&["zlib"]).unwrap();
    let expected = Sizes { paths: 1, download: app.file().len() as u64, unpacked: app.nar.len() as u64 };
    assert_eq!(fresh.store.sizes(&[path("app")]).unwrap(), expected);
    fresh.realise(&["app"]).unwrap();
    assert_eq!(fresh.store.sizes(&[path("app")]).unwrap(), Sizes::default());
}

#[test]
fn offline_nobody_is_asked_and_what_is_there_is_had() {
    let server = Server::start();
    ["app", "zlib"].iter().for_each(|name| Package::new(name, &[]).publish(&server));
    let mut fresh = Fresh::new(&[server.url()]);
    fresh.realise(&["zlib"]).unwrap();
    let before = server.requests("");
    fresh.store.limits.offline = true;
    fresh.realise(&["zlib"]).unwrap();
    for result in [fresh.realise(&["zlib", "app"]), fresh.realise(&["app"])] {
        let error = result.unwrap_err();
        assert!(error.starts_with(&format!("offline: {} is not in the store", path("app"))), "{error}");
    }
    assert!(matches!(
        fresh.store.sizes(&[path("app")]),
        Err(StoreError::Limit(crate::store::LimitError::Offline(_)))
    ));
    assert_eq!(server.requests(""), before);
    fresh.store.limits.offline = false;
    fresh.realise(&["app"]).unwrap();
}

#[test]
fn what_is_more_than_may_be_downloaded_is_not_begun() {
    let server = Server::start();
    let packages = [Package::new("app", &["zlib"]), Package::new("zlib", &[])];
    packages.iter().for_each(|package| package.publish(&server));
    let all: usize = packages.iter().map(|package| package.nar.len()).sum();
    let mut fresh = limited(&server, Limits { max_download: Some(all as u64 - 1), ..Limits::default() });
    let error = fresh.realise(&["app"]).unwrap_err();
    assert!(error.starts_with("would download ") && error.contains("max-download-size is "), "{error}");
    assert_eq!(server.requests("nar/"), 0);
    fresh.assert_empty();
    // Neither is what a cache does not announce: then what is unpacked counts.
    let info = packages[1].narinfo(Some(&OURS()));
    let silent: String =
        info.lines().filter(|line| !line.starts_with("File")).map(|l| format!("{l}\n")).collect();
    packages[1].publish_as(&server, &silent);
    fresh.realise(&["app"]).unwrap_err();
    fresh.store.limits.max_download = Some(all as u64);
    fresh.realise(&["app"]).unwrap();
}

#[test]
fn every_byte_is_told_and_every_request_ends() {
    let server = Server::start();
    let package = Package::new("zlib", &[]);
    package.publish(&server);
    let (fresh, listener) = (Fresh::new(&[server.url()]), Listener::default());
    fresh.store.realise(std::slice::from_ref(&package.path), &fresh.roots(), &listener).unwrap();
    let told = std::mem::take(&mut *listener.0.lock().unwrap());
    let (path, size) = (&package.path, package.nar.len());
    let (numbers, words): (Vec<_>, Vec<_>) = told.iter().partition(|line| line.parse::<u64>().is_ok());
    assert_eq!(numbers.iter().map(|line| line.parse::<usize>().unwrap()).sum::<usize>(), size);
    let expected = [
        "begin 1 None".to_owned(),
        format!("begin 1 Some({size})"),
        format!("started {path} Some({size})"),
        format!("finished {path} {size}"),
        "end".to_owned(),
    ];
    assert_eq!(words, expected.iter().collect::<Vec<_>>());
    server.gone(true);
    fresh.store.realise(&[super::path("app")], &fresh.roots(), &listener).unwrap_err();
    assert_eq!(*listener.0.lock().unwrap(), ["begin 1 None", "end"]);
}
