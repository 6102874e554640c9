//! What must hold whatever a cache does: a clear message, a sound store, and success once the fault is gone.

use super::*;

/// Shows that a fault is told, leaves nothing, and is over when it is over.
fn recovers(names: &str, spoil: impl FnOnce(&Server, &Package)) {
    let server = Server::start();
    let package = Package { compression: "zstd", ..Package::new("zlib", &[]) };
    package.publish(&server);
    spoil(&server, &package);
    let fresh = Fresh::new(&[server.url()]);
    let begun = Instant::now();
    let error = fresh.realise(&["zlib"]).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(error.starts_with(&format!("{}: ", package.path)), "{error}");
    assert!(error.contains(&server.url()) && error.contains(names), "{error}");
    fresh.assert_empty();
    server.gone(false);
    package.publish(&server);
    fresh.realise(&["zlib"]).unwrap();
    assert_eq!(fs::read(fresh.store.location(&package.path).join("text")).unwrap(), b"hello");
}

fn spoil_nar(answer: impl FnOnce(Vec<u8>) -> Answer) -> impl FnOnce(&Server, &Package) {
    |server, package| server.answer(&format!("nar/{}", package.hash()), answer(package.file()))
}

fn spoil_info(answer: impl FnOnce(Vec<u8>) -> Answer) -> impl FnOnce(&Server, &Package) {
    |server, package| {
        let text = package.narinfo(Some(&OURS())).into_bytes();
        server.answer(&format!("{}.narinfo", package.hash()), answer(text));
    }
}

#[test]
fn what_nobody_has_is_said_with_who_was_asked() {
    let (a, b) = (Server::start(), Server::start());
    let error = Fresh::new(&[a.url(), b.url()]).realise(&["zlib"]).unwrap_err();
    assert!(error.contains(&format!("no cache has it ({}, {})", a.url(), b.url())), "{error}");
    let error = Fresh::new(&[]).realise(&["zlib"]).unwrap_err();
    assert!(error.contains("no cache is configured"), "{error}");
}

#[test]
fn a_server_in_trouble_is_asked_again_and_named() {
    recovers("the server answered 500", spoil_info(|_| Answer::Status(500)));
    recovers("the server answered 503", spoil_nar(|_| Answer::Status(503)));
    // Removed between the one request and the other.
    recovers("no cache has it", spoil_nar(|_| Answer::Status(404)));
}

#[test]
fn half_a_body_is_no_body() {
    recovers("the connection ended after", spoil_nar(|file| Answer::Half(file, 40)));
    recovers("the connection ended after", spoil_info(|text| Answer::Half(text, 40)));
    // A proxy that is content with half of it.
    recovers("of ", spoil_nar(|file| Answer::Content(file[..file.len() / 2].to_vec())));
}

#[test]
fn silence_is_not_waited_for_for_long() {
    recovers("nothing has arrived for 1 seconds", spoil_nar(|file| Answer::Stall(file, 40)));
    recovers("nothing has arrived for 1 seconds", spoil_info(|text| Answer::Stall(text, 0)));
}

#[test]
fn a_cache_that_is_gone_is_named_and_used_again_when_it_is_back() {
    recovers("is the network there", |server, _| server.gone(true));
}

#[test]
fn a_cache_that_goes_away_in_the_middle_is_gone_on_with_when_it_is_back() {
    let server = Server::start();
    let packages = [Package::new("app", &["zlib"]), Package::new("zlib", &[]), Package::new("tool", &[])];
    packages.iter().for_each(|package| package.publish(&server));
    let fresh = Fresh::new(&[server.url()]);
    fresh.realise(&["zlib"]).unwrap();
    let app = &packages[0];
    server.answer(&format!("nar/{}", app.hash()), Answer::Last(app.file(), 500));
    let error = fresh.realise(&["app"]).unwrap_err();
    assert!(error.starts_with(&format!("{}: ", app.path)), "{error}");
    let error = fresh.realise(&["tool"]).unwrap_err();
    assert!(error.contains("is the network there"), "{error}");
    fresh.realise(&["zlib"]).unwrap();
    assert!(fresh.store.list().len() == 1 && fresh.store.layout.leftovers().is_empty());
    server.gone(false);
    app.publish(&server);
    fresh.realise(&["app", "tool"]).unwrap();
    assert_eq!(server.requests(&format!("nar/{}", packages[1].hash())), 1);
}

#[test]
fn garbage_is_refused() {
    recovers("this archive is damaged", spoil_nar(|file| Answer::Content(vec![0x5a; file.len()])));
    recovers("is no field", spoil_info(|_| Answer::Content(b"<html>login</html>".to_vec())));
    recovers("it is no text", spoil_info(|_| Answer::Content(vec![0xff; 100])));
    recovers("larger than the", spoil_nar(|file| Answer::Content([file, vec![0; 100]].concat())));
}

#[test]
fn other_content_than_was_signed_is_refused() {
    recovers("its hash is", |server, package| {
        let mut other = Package { compression: "zstd", ..Package::new("zlib", &[]) };
        let at = other.nar.windows(5).position(|bytes| bytes == b"hello").unwrap();
        other.nar[at] ^= 1;
        // The transfer is as announced; only the signed hash is another.
        let (file, other) = (package.file(), other.file());
        let info = package.narinfo(Some(&OURS()));
        let info = info.replace(&sha(&file).to_string(), &sha(&other).to_string());
        let info = info.replace(&format!("FileSize: {}", file.len()), &format!("FileSize: {}", other.len()));
        server.answer(&format!("{}.narinfo", package.hash()), Answer::Content(info.into()));
        server.answer(&format!("nar/{}", package.hash()), Answer::Content(other));
    });
}

#[test]
fn a_size_that_lies_is_refused_before_it_fills_the_disk() {
    let server = Server::start();
    let bomb = Package { compression: "zstd", ..Package::new("zlib", &[]) };
    let huge = nar(&file(&vec![0; 64 << 20]));
    let compressed = zstd::encode_all(&huge[..], 3).unwrap();
    let info = bomb.narinfo(Some(&OURS()));
    let info =
        info.replace(&format!("FileSize: {}", bomb.file().len()), &format!("FileSize: {}", compressed.len()));
    bomb.publish_as(&server, &info);
    server.answer(&format!("nar/{}", bomb.hash()), Answer::Content(compressed));
    let fresh = Fresh::new(&[server.url()]);
    let error = fresh.realise(&["zlib"]).unwrap_err();
    assert!(error.contains("unpacks to more than the"), "{error}");
    fresh.assert_empty();
}

#[test]
fn who_did_not_sign_is_not_believed_and_named() {
    let package = || Package { compression: "zstd", ..Package::new("zlib", &[]) };
    let info = |text: String| spoil_info(move |_| Answer::Content(text.into()));
    recovers("nobody signed it", info(package().narinfo(None)));
    let foreign = package().narinfo(Some(&Signer::new("foreign-1", 7)));
    recovers("signed by foreign-1, which is not trusted", info(foreign));
    let forged = package().narinfo(Some(&Signer::new("ours-1", 7)));
    recovers("the signature by ours-1 is not of this content", info(forged));
    let changed = package().narinfo(Some(&OURS())).replace("NarSize: ", "NarSize: 1");
    recovers("the signature by ours-1", info(changed));
    let other = Package::new("zlib2", &[]).narinfo(Some(&OURS()));
    recovers("it is about /nix/store/", info(other));
}

#[test]
fn an_archive_that_leads_out_is_refused_though_it_is_signed() {
    let hostile = [
        directory(&[("..", file(b"x"))]),
        directory(&[("a/../../b", file(b"x"))]),
        directory(&[("/etc", file(b"x"))]),
        directory(&[("a", file(b"x")), ("a", file(b"y"))]),
        directory(&[("a", link(b"/tmp")), ("a", directory(&[("x", file(b"x"))]))]),
    ];
    for node in hostile {
        let server = Server::start();
        let package = Package { nar: nar(&node), ..Package::new("evil", &[]) };
        package.publish(&server);
        let fresh = Fresh::new(&[server.url()]);
        let error = fresh.realise(&["evil"]).unwrap_err();
        assert!(error.contains("this archive is damaged"), "{error}");
        fresh.assert_empty();
    }
}

#[test]
fn the_next_cache_is_asked_when_one_fails() {
    let (bad, good) = (Server::start(), Server::start());
    let package = Package::new("zlib", &["glibc"]);
    for package in [&package, &Package::new("glibc", &[])] {
        package.publish(&bad);
        package.publish(&good);
        bad.answer(&format!("nar/{}", package.hash()), Answer::Content(vec![0x5a; package.nar.len()]));
    }
    let fresh = Fresh::new(&["http://127.0.0.1:1".into(), bad.url(), good.url()]);
    fresh.realise(&["zlib"]).unwrap();
    assert_eq!((bad.requests("nar/"), good.requests("nar/")), (2, 2));
}

#[test]
fn a_disk_that_cannot_be_written_to_is_named() {
    let fresh = Fresh::new(&[Server::start().url()]);
    fs::write(fresh.base.path().join("store"), "a file").unwrap();
    let error = fresh.realise(&["zlib"]).unwrap_err();
    assert!(error.starts_with("creating ") && error.contains("/store/nix/store: "), "{error}");
    fs::remove_file(fresh.base.path().join("store")).unwrap();
}
