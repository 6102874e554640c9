//! Writes the seeds that are no text: `cargo run --example seeds`. Needs gcc and ld; the files are kept in the repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use sonde_interp::handoff::{Answer, Engine, Hello, Listener, MAX_MESSAGE, Refusal, Welcome, Wish};
use sonde_interp::plan::layout::FIXED;
use sonde_interp::plan::{BUILT_BY_NIX, Fixed, Span, Stamp, digest};
use sonde_resolve::choose::SymbolSet;
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::elf::symbols::SymbolFacts;
use sonde_resolve::import::import;
use sonde_resolve::index::table::About;
use sonde_resolve::ldcache::{self, Entry};
use sonde_resolve::lists::Lists;

const LIBRARY: &str = r#"
.section .note.dlopen, "a", @note
.long 4, 40, 0x407c0c0a
.asciz "FDO"
.asciz "[{\"soname\":[\"liba.so.1\",\"liba.so.0\"]}] "
.text
.globl deflate, f
deflate: ret
f: ret
.symver f, inflate@OLD_1
"#;
const VERSIONS: &str = "OLD_1 { };\nNEW_2 { global: deflate; local: *; } OLD_1;\n";
const PROGRAM: &str = ".globl _start\n_start: call deflate@PLT\n";

fn main() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(seeds.join(target)).unwrap();
        fs::write(seeds.join(target).join(name), bytes).unwrap();
    };
    for (name, bytes) in elf_files() {
        if let (Ok(facts), Ok(symbols)) = (ElfFacts::parse(&bytes), SymbolFacts::parse(&bytes)) {
            write("symbol_set", name, &SymbolSet::of(&facts, &symbols).to_bytes());
        }
        write("elf", name, &bytes);
    }
    for (name, bytes) in messages() {
        write("messages", name, &bytes);
    }
    let entry = |soname: &str, flags| Entry {
        soname: soname.into(),
        path: format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a/lib/{soname}"),
        flags,
        hwcap: 0,
    };
    let entries = [entry("libz.so.1", 0x0303), entry("libz.so.1.3", 0x0303), entry("libc.so.6", 3)];
    write("ld_so_cache", "three", &ldcache::write(&entries).unwrap());
    write("ld_so_cache", "none", &ldcache::write(&[]).unwrap());
    for (name, bytes) in
        [("empty", plan("", 7)), ("libraries", plan(LIBRARIES, 7)), ("late", plan("", u64::MAX))]
    {
        assert!(sonde::fuzzing::plan(&bytes), "plan {name}");
        write("plan", name, &bytes);
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in archives() {
        assert!(sonde::fuzzing::nar(&bytes, folder.path()), "archive {name}");
        write("nar", name, &bytes);
    }
    let entries = database();
    let mut database = b"NIXI\x01\0\0\0\0\0\0\0".to_vec();
    database.extend(zstd::encode_all(entries.as_slice(), 1).unwrap());
    let about = About { source: "seed".into(), imported_at: 1 };
    let import = import(database.as_slice(), about, Lists::built_in()).unwrap();
    write("nix_index", "two-packages", &entries);
    write("index_table", "two-packages", &import.bytes);
}

/// A library with versions and a note, and a program linked against it, for x86-64 and i386.
fn elf_files() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("versions"), VERSIONS).unwrap();
    let mut files = Vec::new();
    for (bits, emulation, library, program) in
        [("--64", "elf_x86_64", "library-64", "program-64"), ("--32", "elf_i386", "library-32", "program-32")]
    {
        for (name, text) in [("library", LIBRARY), ("program", PROGRAM)] {
            fs::write(at(&format!("{name}.s")), text).unwrap();
            run("as", folder.path(), &[bits, "-o", &format!("{name}.o"), &format!("{name}.s")]);
        }
        let link = ["-m", emulation, "-s", "-z", "noseparate-code", "--hash-style=both", "--build-id"];
        let link = |more: &[&str]| run("ld", folder.path(), &[&link, more].concat());
        link(&["-shared", "-soname", "libz.so.1", "--version-script=versions", "-o", "libz.so", "library.o"]);
        let loader = "--dynamic-linker=/lib64/ld-linux-x86-64.so.2";
        link(&["-pie", loader, "-rpath", "$ORIGIN/../lib", "-o", "program", "program.o", "libz.so"]);
        files.push((library, fs::read(at("libz.so")).unwrap()));
        files.push((program, fs::read(at("program")).unwrap()));
    }
    files
}

fn run(program: &str, folder: &Path, arguments: &[&str]) {
    let status = Command::new(program).current_dir(folder).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut buffer = [0; MAX_MESSAGE];
    let hello = Hello {
        pid: 42,
        direct: true,
        wish: Wish::Only(Engine::Ptrace),
        supervisor: b"/bin/sonde",
        program: b"/opt/app",
    };
    let welcome = Welcome {
        loader_base: 0x7e12_3456_7000,
        engine: Engine::Seccomp,
        no_new_privs: true,
        filter_flags: 8,
        supervisor_pid: 7,
        filter: &[6, 0, 0, 0, 0, 0, 0xff, 0x7f],
        sites: sonde_interp::site::Sites { open: 0x2a1b, look: 0 },
        cache: [b"/etc/ld.so.cache", b"/home/alice/.cache/sonde/served/0.cache"],
        door: b"/run/user/1000/sonde/socket",
    };
    let mut all = Vec::new();
    let length = hello.encode(&mut buffer).unwrap();
    all.push(("hello", buffer[..length].to_vec()));
    let length = Listener { errno: 16 }.encode(&mut buffer).unwrap();
    all.push(("listener", buffer[..length].to_vec()));
    for (name, answer) in [
        ("welcome", Answer::Welcome(welcome)),
        ("refusal", Answer::Refusal(Refusal { exit_code: 126, message: b"no" })),
        ("proceed", Answer::Proceed),
        ("private", Answer::Private),
    ] {
        let length = answer.encode(&mut buffer).unwrap();
        all.push((name, buffer[..length].to_vec()));
    }
    all
}

const LIBRARIES: &str = r#"
{"soname":"libz.so.1","needed_by":"/opt/p","answer":{"package":PACKAGE},"reason":"the only one","coverage":99},
{"soname":"liba.so.1","needed_by":"/opt/p","answer":{"unfit":["A_1"]}},
{"soname":"libc.so.6","needed_by":"/opt/p","answer":"glibc"}"#;
const PACKAGE: &str = r#"{"object":"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1","file":"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1/lib/libz.so.1","attribute":"zlib","output":"out"}"#;

/// A plan with an entry in every table, and in its body these libraries and when it was made.
fn plan(libraries: &str, made: u64) -> Vec<u8> {
    let body = format!(
        r#"{{"version":2,"sonde":"0.1.0","program":"/opt/p","build_id":"abcd","made":{made},"loader":"/l","loader_version":[2,43],
"seeds":{{"folders":["/s"],"stamp":[["/s",1,2]],"files":{{"libs.so":"/s/libs.so"}}}},"libraries":[{libraries}],
"at_run_time":{{"libr.so":PACKAGE}},"absent":["libn.so"],"choices":{{"liba.so.1":null}},"searched":["/s"],"own":[]}}"#
    );
    let body = body.replace("PACKAGE", PACKAGE);
    let stamp = Stamp { device: 1, inode: 2, size: 3, modified: 1, ..Stamp::ABSENT };
    let mut rest = Vec::new();
    let mut add = |bytes: &[u8], length| {
        let offset = (FIXED + rest.len()) as u32;
        rest.extend(bytes);
        Span { offset, length }
    };
    let program = add(b"/opt/p\0", 6);
    let object = b"/nix/store/0123456789abcdfghijklmnpqrsvwxyz-zlib-1.3.1\0";
    let object = add(object, object.len() as u32 - 1);
    let watched = add(&[program.to_bytes().as_slice(), &stamp.to_bytes()].concat(), 1);
    let digests = add(&digest(b"libz.so.1").to_le_bytes(), 1);
    let fixed = Fixed {
        flags: BUILT_BY_NIX,
        sites: sonde_interp::site::Sites { open: 0x20b16, look: 0x2638c },
        expiry: 100,
        stamp,
        program,
        build_id: add(&[0xab, 0xcd], 2),
        loader: program,
        loader_cache: program,
        served_cache: program,
        bundled: watched,
        conditions: watched,
        objects: add(&object.to_bytes(), 1),
        settled: digests,
        provided: digests,
        folders: digests,
        entries: digests,
    };
    [fixed.to_bytes(&rest, body.as_bytes()).unwrap().as_slice(), &rest, body.as_bytes()].concat()
}

/// A file, a link, and a folder of everything that a folder can have.
fn archives() -> [(&'static str, Vec<u8>); 3] {
    let archive = |words: &str| {
        let mut bytes = Vec::new();
        for word in ["nix-archive-1"].into_iter().chain(words.split(' ')) {
            let word = if word == "EMPTY" { "" } else { word };
            bytes.extend((word.len() as u64).to_le_bytes());
            bytes.extend(word.as_bytes());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes
    };
    let file = "( type regular contents hello )";
    let link = "( type symlink target ../../outside )";
    let script = "( type regular executable EMPTY contents #!/bin/sh )";
    let inner = format!("( type directory entry ( name a node {script} ) entry ( name b node {link} ) )");
    let folder =
        format!("( type directory entry ( name bin node {inner} ) entry ( name data node {file} ) )");
    [("file", archive(file)), ("link", archive(link)), ("folder", archive(&folder))]
}

/// Entries of a nix-index database as they stand in its stream, none of which shares anything with the one before it.
fn database() -> Vec<u8> {
    let mut entries = Vec::new();
    for (name, files) in [
        ("zlib-1.3.1", &["1234x\0\0/lib/libz.so.1.3.1", "libz.so.1.3.1s\0\0/lib/libz.so.1", "d\0\0/lib"][..]),
        ("curl-8.9.0", &["77x\0\0/bin/curl", "5r\0\0/lib/libcurl.so.4"]),
    ] {
        for file in files {
            entries.extend(file.as_bytes());
            entries.push(b'\n');
        }
        let attribute = name.split('-').next().unwrap();
        let origin =
            format!(r#"{{"attr":"{attribute}","output":"out","toplevel":true,"system":"x86_64-linux"}}"#);
        let hash = name.chars().next().unwrap().to_string().repeat(32);
        let package =
            format!(r#"{{"store_dir":"/nix/store","hash":"{hash}","name":"{name}","origin":{origin}}}"#);
        entries.extend(format!("p\0\0{package}\n").as_bytes());
    }
    entries
}
