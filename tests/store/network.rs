//! What stands between the embedded store and a cache: TLS with a certificate authority of one's own, and proxies.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Direct, libcurl};
use crate::harness::fixture;

/// Accepts on a free port of the loopback and gives each connection to a thread.
fn serve(converse: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let converse = Arc::new(converse);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let converse = converse.clone();
            // A client that hangs up is its own business.
            std::thread::spawn(move || converse(stream).ok());
        }
    });
    port
}

fn world_cache() -> String {
    fixture().server.url().trim_start_matches("http://").to_owned()
}

/// The head of a request, with its empty line.
fn head(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    Ok(head)
}

/// The world's cache behind TLS: one request a connection.
fn tls_cache(folder: &Path) -> u16 {
    let certificates = CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap();
    let certificates = certificates.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let (config, cache) = (Arc::new(config), world_cache());
    serve(move |stream| {
        let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
        let mut client = BufReader::new(StreamOwned::new(connection, stream));
        let request = head(&mut client)?;
        let mut upstream = TcpStream::connect(&cache)?;
        upstream.write_all(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer)?;
        let tls = client.get_mut();
        tls.write_all(&answer)?;
        tls.conn.send_close_notify();
        tls.flush()
    })
}

/// `ca.pem`, and `server.pem` with `server.key` that it has signed for 127.0.0.1.
fn authority(folder: &Path) -> PathBuf {
    fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for arguments in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj /CN=cache",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile server.ext",
    ] {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        let output = output.expect("openssl is needed; `make tools` installs it");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    folder.join("ca.pem")
}

#[test]
fn a_cache_with_tls_is_used_if_its_authority_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let host = format!("127.0.0.1:{}", tls_cache(folder.path()));
    let url = format!("https://{host}");
    let stranger = Direct::new(&url, "attempts = 1").store(|sonde| sonde.args(["fetch", &libcurl()]));
    assert_eq!(stranger.code(), Some(1), "{stranger}");
    assert!(stranger.stderr.contains("certificate"), "{stranger}");
    // This cache ends a connection after each answer, which a client that has just taken it up again meets as a broken one.
    let direct = Direct::new(&url, "");
    for variable in ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE"] {
        let sizes =
            direct.store(|sonde| sonde.args(["fetch", "--dry-run", &libcurl()]).env(variable, &authority));
        assert!(sizes.succeeded(), "{variable}: {sizes}");
    }
    let (address, asked) = proxy(host.clone());
    for (variable, used) in [("http_proxy", false), ("https_proxy", true)] {
        let sizes = direct.store(|sonde| {
            sonde
                .args(["fetch", "--dry-run", &libcurl()])
                .env("SSL_CERT_FILE", &authority)
                .env(variable, &address)
        });
        assert!(sizes.succeeded(), "{variable}: {sizes}");
        let asked = asked.lock().unwrap();
        assert_eq!(asked.contains(&host), used, "{variable}: {asked:?}");
    }
    let fetched = direct.store(|sonde| sonde.args(["fetch", &libcurl()]).env("SSL_CERT_FILE", &authority));
    assert!(fetched.succeeded(), "{fetched}");
    assert!(direct.store(|sonde| sonde.arg("verify")).succeeded());
}

/// A proxy, and what it was asked to connect to. Whatever name that is: this proxy knows one server.
fn proxy(server: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let port = serve(move |stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        let request = head(&mut reader)?;
        let mut words = request.split_whitespace();
        let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
        seen.lock().unwrap().push(target.to_owned());
        let upstream = TcpStream::connect(&server)?;
        let (mut to_client, mut from_server) = (stream.try_clone()?, upstream.try_clone()?);
        to_client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        std::io::copy(&mut reader, &mut &upstream)?;
        upstream.shutdown(Shutdown::Write)
    });
    (format!("http://127.0.0.1:{port}"), asked)
}

#[test]
fn a_proxy_of_the_environment_is_used_for_its_scheme_and_not_for_exceptions() {
    let (address, asked) = proxy(world_cache());
    let direct = Direct::new("http://cache.test", "attempts = 1\nconnect-timeout = 2");
    let connections = || std::mem::take(&mut *asked.lock().unwrap());
    let dry = |environment: &[(&str, &str)]| {
        direct.store(|sonde| sonde.args(["fetch", "--dry-run", &libcurl()]).envs(environment.iter().copied()))
    };
    for variable in ["http_proxy", "all_proxy"] {
        let sizes = dry(&[(variable, &address)]);
        assert!(sizes.succeeded(), "{variable}: {sizes}");
        assert!(connections().iter().all(|target| target == "cache.test:80"));
    }
    let fetched = direct.store(|sonde| sonde.args(["fetch", &libcurl()]).env("http_proxy", &address));
    assert!(fetched.succeeded(), "{fetched}");
    assert!(!connections().is_empty());
    // For another scheme, or not for this host: then there is no such server.
    let elsewhere = Direct::new("http://cache.test", "attempts = 1\nconnect-timeout = 2");
    for environment in [
        &[("https_proxy", address.as_str())][..],
        &[("http_proxy", &address), ("no_proxy", "example.org,cache.test")],
    ] {
        let refused = elsewhere
            .store(|sonde| sonde.args(["fetch", "--dry-run", &libcurl()]).envs(environment.iter().copied()));
        assert_eq!(refused.code(), Some(1), "{environment:?}: {refused}");
        assert!(refused.stderr.contains("is the network there, and is a proxy needed"), "{refused}");
        assert_eq!(connections(), Vec::<String>::new(), "{environment:?}");
    }
}
