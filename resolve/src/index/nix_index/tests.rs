//! Databases written by hand here, entry by entry; the real writer's are read in `tests/full_database.rs`.

use super::*;

/// An encoder of the format's description, kept as plain as possible.
#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    last: Vec<u8>,
    shared: usize,
}

impl Writer {
    fn entry(&mut self, metadata: &str, path: &str) -> &mut Self {
        let path = path.as_bytes();
        let shared =
            if metadata == "p" { 0 } else { self.last.iter().zip(path).take_while(|(a, b)| a == b).count() };
        let change = shared as i32 - self.shared as i32;
        self.out.extend_from_slice(metadata.as_bytes());
        self.out.push(0);
        match i8::try_from(change) {
            Ok(small) if small > -127 && small < 127 => self.out.push(small as u8),
            _ => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(change as i16).to_be_bytes());
            }
        }
        self.out.extend_from_slice(&path[shared..]);
        self.out.push(b'\n');
        (self.last, self.shared) = (path.to_vec(), shared);
        self
    }

    fn package(&mut self, name: &str) -> &mut Self {
        let hash = "0".repeat(32);
        self.entry(
            "p",
            &format!(
                r#"{{"store_dir":"/nix/store","hash":"{hash}","name":"{name}","origin":{{"attr":"a.b","output":"lib","toplevel":true,"system":null}}}}"#
            ),
        );
        (self.last, self.shared) = (Vec::new(), 0);
        self
    }

    fn file(&self) -> Vec<u8> {
        let mut file = b"NIXI\x01\0\0\0\0\0\0\0".to_vec();
        file.extend(zstd::encode_all(self.out.as_slice(), 3).unwrap());
        file
    }
}

fn read_all(file: &[u8]) -> Result<(Vec<Package>, Stats), ReadError> {
    let mut packages = Vec::new();
    let stats = read(file, |package| packages.push(package))?;
    Ok((packages, stats))
}

#[test]
fn libraries_under_lib_are_kept_and_everything_else_is_not() {
    let long = format!("/share/{}", "x".repeat(300));
    let mut writer = Writer::default();
    writer
        .entry("2d", "")
        .entry("120x", "/bin/tool")
        .entry("1d", "/lib")
        .entry("libz.so.1.3s", "/lib/libz.so.1")
        .entry("900r", "/lib/libz.so.1.3")
        .entry("7r", "/lib/zlib/private.so")
        .entry("8x", "/lib/libz.a")
        .entry("9x", "/libexec/own.so")
        .entry("9x", "/share/foo.so")
        .entry("5r", &long)
        .entry("5r", "/lib32/libz.so.1")
        .package("zlib-1.3");
    let (packages, stats) = read_all(&writer.file()).unwrap();
    let paths: Vec<_> = packages[0].libraries.iter().map(|library| library.path.as_str()).collect();
    assert_eq!(paths, ["lib/libz.so.1", "lib/libz.so.1.3", "lib/zlib/private.so", "lib32/libz.so.1"]);
    assert_eq!(packages[0].libraries[0].kind, LibraryKind::Symlink { target: "libz.so.1.3".into() });
    assert_eq!(packages[0].libraries[1].kind, LibraryKind::Regular { size: 900 });
    assert_eq!((stats.packages, stats.entries, stats.libraries, stats.executables), (1, 11, 4, 1));
    assert!(!stats.has_no_libraries());
}

#[test]
fn an_environment_is_known_by_the_store_paths_it_links_into() {
    let member = format!("{}-zlib-1.3", "1".repeat(32));
    let target = format!("/nix/store/{member}/lib/libz.so.1s");
    let mut writer = Writer::default();
    writer
        .entry("1d", "")
        .entry(&target, "/usr/lib64/libz.so.1")
        .entry(&target, "/usr/lib64/libz.so")
        .package("env");
    let (packages, _) = read_all(&writer.file()).unwrap();
    assert_eq!(packages[0].links_into, [member]);
    assert!(packages[0].libraries.is_empty(), "an FHS environment's /usr is not a place to load from");
}

#[test]
fn a_small_database_is_recognised() {
    let mut writer = Writer::default();
    writer.entry("120x", "/bin/tool").package("tool-1");
    let (packages, stats) = read_all(&writer.file()).unwrap();
    assert!(packages.is_empty());
    assert!(stats.has_no_libraries());
}

#[test]
fn several_frames_split_inside_an_entry_are_one_stream() {
    let mut writer = Writer::default();
    writer.entry("1d", "").entry("1x", "/lib/liba.so").package("a-1");
    let mut file = b"NIXI\x01\0\0\0\0\0\0\0".to_vec();
    let (head, tail) = writer.out.split_at(7);
    file.extend(zstd::encode_all(head, 3).unwrap());
    file.extend(zstd::encode_all(tail, 19).unwrap());
    assert_eq!(read_all(&file).unwrap().1.libraries, 1);
}

#[test]
fn what_is_not_a_database_is_refused_with_what_to_do() {
    assert!(matches!(read_all(b""), Err(ReadError::NotADatabase)));
    assert!(matches!(read_all(b"#!/bin/sh\necho hello"), Err(ReadError::NotADatabase)));
    let error = read_all(b"NIXI\x02\0\0\0\0\0\0\0").unwrap_err();
    assert!(matches!(error, ReadError::Version(2)));
    assert!(error.to_string().contains("update Sonde"));
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let mut writer = Writer::default();
    writer.entry("1d", "").entry("12x", "/lib/liba.so").entry("liba.sos", "/lib/liba.so.1").package("a-1");
    let good = writer.file();
    for cut in 0..good.len() {
        assert!(read_all(&good[..cut]).is_err(), "cut at {cut}");
    }
    // Every byte of the decompressed stream, to every value that means something in it.
    for at in 0..writer.out.len() {
        for value in [0, b'\n', 0x80, 0x7f, 0xff, b'p', b's'] {
            let mut damaged = Writer { out: writer.out.clone(), ..Writer::default() };
            damaged.out[at] = value;
            let _ = read_all(&damaged.file());
        }
    }
    let mut orphans = Writer::default();
    orphans.entry("12x", "/lib/liba.so");
    assert!(matches!(read_all(&orphans.file()), Err(ReadError::Corrupt { .. })));
}

#[test]
fn a_package_that_has_no_store_path_is_corrupt() {
    let with = |from: &str, to: &str| {
        let mut writer = Writer::default();
        writer.entry("12x", "/lib/liba.so").package("a-1");
        let text = String::from_utf8(writer.out.clone()).unwrap().replace(from, to);
        read_all(&Writer { out: text.into_bytes(), ..Writer::default() }.file())
    };
    assert!(with("a-1", "b-1").is_ok());
    let hash = "0".repeat(32);
    for (from, to) in [("a-1", "../a"), (&*hash, "0"), (&hash, &"/".repeat(32)), (&hash, &"#".repeat(32))] {
        assert!(matches!(with(from, to), Err(ReadError::Corrupt { .. })), "{to}");
    }
}
