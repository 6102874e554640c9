//! What the store does when all is well, who shares it, and what looks after it. `faults` has the rest.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::testing::{Answer, Server, Signer, directory, executable, file, link, nar, sha};
use super::*;

mod disk;
mod faults;
mod limits;

const OURS: fn() -> Signer = || Signer::new("ours-1", 1);

/// A patience that tests can afford.
const QUICK: Patience = Patience {
    connect: Duration::from_secs(5),
    stall: Duration::from_secs(1),
    attempts: 2,
    pause: Duration::from_millis(5),
};

fn path(name: &str) -> StorePath {
    // One digit of the hash is the name's length, another its first letter: caches look up by hash.
    let first = char::from(b"0123456789abcdfghijklmnpqrsvwxyz"[usize::from(name.as_bytes()[0] % 32)]);
    let length = char::from(b"0123456789abcdfghijklmnpqrsvwxyz"[name.len() % 32]);
    StorePath::new(&format!("/nix/store/{first}{length}23456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
}

/// A package in a cache, and how it is told.
struct Package {
    path: StorePath,
    nar: Vec<u8>,
    references: Vec<StorePath>,
    compression: &'static str,
}

impl Package {
    fn new(name: &str, references: &[&str]) -> Self {
        let library = executable(name.repeat(1000).as_bytes());
        let lib = directory(&[("lib.so", link(b"lib.so.1")), ("lib.so.1", library)]);
        Self {
            path: path(name),
            nar: nar(&directory(&[("lib", lib), ("text", file(b"hello"))])),
            references: references.iter().map(|name| path(name)).collect(),
            compression: "none",
        }
    }

    fn hash(&self) -> &str {
        &self.path.base_name()[..32]
    }

    fn file(&self) -> Vec<u8> {
        match self.compression {
            "zstd" => zstd::encode_all(&self.nar[..], 3).unwrap(),
            "xz" => xz(&self.nar),
            "bzip2" => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(&self.nar).unwrap();
                encoder.finish().unwrap()
            }
            _ => self.nar.clone(),
        }
    }

    fn narinfo(&self, signer: Option<&Signer>) -> String {
        let mut references: Vec<_> = self.references.iter().map(StorePath::as_str).collect();
        references.sort_unstable();
        let (hash, size, file) = (sha(&self.nar), self.nar.len(), self.file());
        let text = format!("1;{};{hash};{size};{}", self.path, references.join(","));
        let bases: Vec<_> = self.references.iter().map(StorePath::base_name).collect();
        let signature = signer.map(|signer| format!("Sig: {}\n", signer.sign(&text))).unwrap_or_default();
        format!(
            "StorePath: {}\nURL: nar/{}\nCompression: {}\nFileHash: {}\nFileSize: {}\nNarHash: {hash}\nNarSize: {size}\n\
             References: {}\n{signature}",
            self.path,
            self.hash(),
            self.compression,
            sha(&file),
            file.len(),
            bases.join(" "),
        )
    }

    fn publish(&self, server: &Server) {
        self.publish_as(server, &self.narinfo(Some(&OURS())));
    }

    fn publish_as(&self, server: &Server, narinfo: &str) {
        server.answer(&format!("{}.narinfo", self.hash()), Answer::Content(narinfo.into()));
        server.answer(&format!("nar/{}", self.hash()), Answer::Content(self.file()));
    }
}

/// What unpacks it is in Rust, and cannot pack.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let source = tempfile::NamedTempFile::new().unwrap();
    source.as_file().write_all(bytes).unwrap();
    Command::new("xz").arg("-c").arg(source.path()).output().unwrap().stdout
}

/// A store on an empty folder.
struct Fresh {
    base: tempfile::TempDir,
    store: EmbeddedStore,
}

impl Fresh {
    fn new(caches: &[String]) -> Self {
        let base = tempfile::tempdir().unwrap();
        let store = Self::open(base.path(), caches, QUICK);
        Self { base, store }
    }

    fn open(base: &Path, caches: &[String], patience: Patience) -> EmbeddedStore {
        let keys = vec![PublicKey::parse(&OURS().public()).unwrap()];
        EmbeddedStore::new(base.join("store"), caches, keys, patience, Limits::default())
    }

    fn roots(&self) -> PathBuf {
        self.base.path().join("roots/plan")
    }

    fn realise(&self, names: &[&str]) -> Result<(), String> {
        let paths: Vec<_> = names.iter().map(|name| path(name)).collect();
        let result = self.store.realise(&paths, &self.roots().join(paths[0].base_name()), &NoProgress);
        result.map_err(|error| error.to_string())
    }

    fn collect(&self, dry: bool) -> maintain::Garbage {
        self.store.collect(&self.base.path().join("roots"), dry).unwrap()
    }

    /// Nothing that a user could mistake for an object, and nothing half done.
    fn assert_empty(&self) {
        assert!(self.store.list().is_empty());
        assert_eq!(self.store.layout.leftovers(), Vec::<PathBuf>::new());
        assert!(!self.roots().exists() || fs::read_dir(self.roots()).unwrap().next().is_none());
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Read-only folders are more than a temporary folder can remove by itself.
        let _ = remove::remove(&self.base.path().join("store"));
    }
}

#[test]
fn a_closure_is_fetched_whole_and_rooted_as_nix_would() {
    let server = Server::start();
    for (name, references) in
        [("app", &["app", "ssl", "zlib"][..]), ("ssl", &["zlib", "glibc"]), ("zlib", &["glibc"])]
    {
        Package::new(name, references).publish(&server);
    }
    Package::new("glibc", &["glibc"]).publish(&server);
    Package::new("other", &[]).publish(&server);
    let fresh = Fresh::new(&[server.url()]);
    assert!(!fresh.store.has(&path("app")));
    fresh.realise(&["app", "other"]).unwrap();
    for name in ["app", "ssl", "zlib", "glibc", "other"] {
        assert!(fresh.store.has(&path(name)), "{name}");
        assert_eq!(server.requests(path(name).base_name().split('-').next().unwrap()), 2, "{name}");
    }
    let root = fresh.roots().join(path("app").base_name());
    assert_eq!(fs::read_link(&root).unwrap(), Path::new(path("app").as_str()));
    let second = PathBuf::from(format!("{}-2", root.display()));
    assert_eq!(fs::read_link(second).unwrap(), Path::new(path("other").as_str()));
    // What is there is asked of nobody.
    server.gone(true);
    fresh.realise(&["other", "app"]).unwrap();
}

#[test]
fn every_compression_of_nix_is_unpacked() {
    for compression in ["none", "xz", "zstd", "bzip2"] {
        let server = Server::start();
        let package = Package { compression, ..Package::new("zlib", &[]) };
        package.publish(&server);
        let fresh = Fresh::new(&[server.url()]);
        fresh.realise(&["zlib"]).unwrap_or_else(|error| panic!("{compression}: {error}"));
        let library = fs::read(fresh.store.location(&package.path).join("lib/lib.so")).unwrap();
        assert_eq!(library, "zlib".repeat(1000).as_bytes(), "{compression}");
    }
}

#[test]
fn a_folder_can_be_a_cache_and_is_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let package = Package::new("zlib", &[]);
    fs::create_dir(folder.path().join("nar")).unwrap();
    let info = folder.path().join(format!("{}.narinfo", package.hash()));
    fs::write(&info, package.narinfo(Some(&OURS()))).unwrap();
    fs::write(folder.path().join("nar").join(package.hash()), package.file()).unwrap();
    let cache = [format!("file://{}", folder.path().display())];
    Fresh::new(&cache).realise(&["zlib"]).unwrap();
    let outside = package.narinfo(Some(&OURS())).replace("URL: nar/", "URL: ../nar/");
    fs::write(&info, outside).unwrap();
    Fresh::new(&cache).realise(&["zlib"]).unwrap_err();
    let gone = Fresh::new(&["file:///no/such/folder".into()]).realise(&["zlib"]).unwrap_err();
    assert!(gone.contains("file:///no/such/folder/"), "{gone}");
}

#[test]
fn two_hundred_who_ask_cost_one_download() {
    let server = Server::start();
    Package::new("zlib", &["glibc"]).publish(&server);
    Package::new("glibc", &[]).publish(&server);
    server.delay(Duration::from_millis(20));
    let fresh = Fresh::new(&[]);
    std::thread::scope(|scope| {
        for index in 0..200 {
            let (base, url) = (fresh.base.path(), [server.url()]);
            scope.spawn(move || {
                // A store of its own each, as each process has.
                // More than a listening socket keeps waiting: some connections need a second attempt of the kernel's.
                let patience =
                    Patience { stall: Duration::from_secs(30), connect: Duration::from_secs(30), ..QUICK };
                let store = Fresh::open(base, &url, patience);
                let root = base.join(format!("roots/{index}/zlib"));
                store.realise(&[path("zlib")], &root, &NoProgress).unwrap();
            });
        }
    });
    assert_eq!(server.requests("nar/"), 2);
}

#[test]
fn a_level_of_references_costs_one_round_trip() {
    let server = Server::start();
    let names: Vec<String> = (0..20).map(|index| format!("{}lib", char::from(b'a' + index))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.iter().for_each(|name| Package::new(name, &[]).publish(&server));
    Package::new("app", &names).publish(&server);
    // Long enough for all to be asked, on a machine that has much else to do.
    server.delay(Duration::from_millis(400));
    let fresh = Fresh::new(&[server.url()]);
    fresh.realise(&["app"]).unwrap();
    assert!(server.most_at_once() > 10, "{}", server.most_at_once());
}

#[test]
fn what_a_killed_process_left_is_cleaned_up() {
    let server = Server::start();
    let package = Package::new("zlib", &[]);
    package.publish(&server);
    let fresh = Fresh::new(&[server.url()]);
    fresh.store.layout.create().unwrap();
    // Half unpacked; and, under another name, in place but not registered.
    let partial = fresh.store.layout.partial(&package.path);
    fs::create_dir_all(partial.join("lib")).unwrap();
    fs::write(partial.join("lib/lib.so.1"), "half").unwrap();
    fs::create_dir(fresh.store.location(&package.path)).unwrap();
    assert!(!fresh.store.has(&package.path));
    fresh.realise(&["zlib"]).unwrap();
    assert!(!partial.exists() && fresh.store.location(&package.path).join("text").exists());
    // Of one that nobody wants again, by garbage collection.
    let stale = fresh.store.layout.partial(&path("stale"));
    fs::create_dir(&stale).unwrap();
    assert_eq!(fresh.collect(true).leftovers, std::slice::from_ref(&stale));
    assert!(stale.exists());
    fresh.collect(false);
    assert!(!stale.exists());
}

#[test]
fn a_lock_goes_with_the_process_that_held_it() {
    let server = Server::start();
    Package::new("zlib", &[]).publish(&server);
    let fresh = Fresh::new(&[server.url()]);
    fresh.store.layout.create().unwrap();
    let lock = fresh.base.path().join("store/lock").join(path("zlib").base_name());
    let mut holder = Command::new("flock")
        .arg("--no-fork")
        .arg(&lock)
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 4];
    std::io::Read::read_exact(&mut holder.stdout.take().unwrap(), &mut word).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fresh.realise(&["zlib"]));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        holder.kill().unwrap();
        holder.wait().unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn what_roots_lead_to_is_kept_and_all_else_is_removed() {
    let server = Server::start();
    for (name, references) in [("app", &["zlib"][..]), ("zlib", &[]), ("tool", &["lone"]), ("lone", &[])] {
        Package::new(name, references).publish(&server);
    }
    let fresh = Fresh::new(&[server.url()]);
    fresh.realise(&["app"]).unwrap();
    fresh.realise(&["tool"]).unwrap();
    assert!(fresh.collect(false).objects.is_empty());
    fs::remove_file(fresh.roots().join(path("tool").base_name())).unwrap();
    let garbage = fresh.collect(true);
    assert_eq!(garbage.objects, [path("lone"), path("tool")]);
    assert!(garbage.bytes > 0 && fresh.store.has(&path("lone")));
    fresh.collect(false);
    assert!(!fresh.store.has(&path("lone")) && !fresh.store.location(&path("tool")).exists());
    assert!(fresh.store.has(&path("app")) && fresh.store.has(&path("zlib")));
    fresh.realise(&["tool"]).unwrap();
}

#[test]
fn damage_is_found_and_repaired() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    for name in ["app", "zlib", "gone"] {
        Package::new(name, &[]).publish(&server);
    }
    let fresh = Fresh::new(&[server.url()]);
    ["app", "zlib", "gone"].iter().for_each(|name| fresh.realise(&[name]).unwrap());
    let text = fresh.store.location(&path("zlib")).join("text");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&text, "HELLO").unwrap();
    remove::remove(&fresh.store.location(&path("gone"))).unwrap();
    let damaged = |conditions: Vec<(StorePath, Condition)>| {
        let bad = conditions.into_iter().filter(|(_, condition)| !matches!(condition, Condition::Sound));
        bad.map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(damaged(fresh.store.verify(false).unwrap()), [path("gone"), path("zlib")]);
    server.gone(true);
    let lost = fresh.store.verify(true).unwrap();
    assert!(lost.iter().any(|(_, condition)| matches!(condition, Condition::Lost(_))));
    server.gone(false);
    fresh.store.verify(true).unwrap();
    assert_eq!(damaged(fresh.store.verify(false).unwrap()), []);
    assert_eq!(fs::read_to_string(text).unwrap(), "hello");
}
