//! Writes the seeds that are no text: `cargo run --example seeds`. Needs gcc and ld; the files are kept in the repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use sonde_interp::handoff::{Answer, Engine, Hello, Listener, MAX_MESSAGE, Refusal, Welcome, Wish};
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
