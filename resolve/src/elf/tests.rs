//! Real files of this machine, read here and by goblin, and damaged copies of them.

use super::symbols::SymbolFacts;
use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// Dynamically linked files that every Linux with a toolchain has, whatever its layout.
fn real_files() -> Vec<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).filter(|path| path.contains(".so"));
    let mut files: Vec<_> =
        mapped.map(PathBuf::from).chain([own, "/bin/true".into(), "/bin/sh".into()]).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files.dedup();
    files
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn facts_of_real_files_agree_with_goblin() {
    for path in real_files() {
        let bytes = read(&path);
        let (facts, oracle) = (ElfFacts::parse(&bytes).unwrap(), goblin::elf::Elf::parse(&bytes).unwrap());
        assert_eq!(facts.needed, oracle.libraries, "{}", path.display());
        assert_eq!(facts.soname.as_deref(), oracle.soname);
        assert_eq!(facts.interp.as_deref(), oracle.interpreter);
        assert_eq!(facts.machine, oracle.header.e_machine);
        assert_eq!(facts.class == Class::Elf64, oracle.is_64);
        let needs: Vec<_> = oracle
            .verneed
            .iter()
            .flat_map(|section| section.iter())
            .map(|need| {
                let name = |at| oracle.dynstrtab.get_at(at).unwrap().to_owned();
                let versions: Vec<_> = need.iter().map(|version| name(version.vna_name)).collect();
                (name(need.vn_file), versions)
            })
            .collect();
        let ours: Vec<_> = facts
            .version_needs
            .iter()
            .map(|need| {
                (
                    need.soname.clone(),
                    need.versions.iter().map(|version| version.name.clone()).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(ours, needs, "{}", path.display());
    }
}

#[test]
fn symbols_of_real_files_agree_with_goblin() {
    for path in real_files() {
        let bytes = read(&path);
        let (facts, oracle) = (SymbolFacts::parse(&bytes).unwrap(), goblin::elf::Elf::parse(&bytes).unwrap());
        assert_eq!(SymbolFacts::parse_undefined(&bytes).unwrap(), facts.undefined);
        let name = |at| oracle.dynstrtab.get_at(at).unwrap().to_owned();
        let globals = || oracle.dynsyms.iter().filter(|symbol| symbol.st_bind() != 0 && symbol.st_name != 0);
        let undefined: Vec<_> =
            globals().filter(|symbol| symbol.st_shndx == 0).map(|symbol| name(symbol.st_name)).collect();
        let defined: Vec<_> =
            globals().filter(|symbol| symbol.st_shndx != 0).map(|symbol| name(symbol.st_name)).collect();
        assert_eq!(facts.undefined.iter().map(|symbol| symbol.name.clone()).collect::<Vec<_>>(), undefined);
        assert_eq!(facts.defined.iter().map(|symbol| symbol.name.clone()).collect::<Vec<_>>(), defined);
    }
}

#[test]
fn a_symbol_is_bound_to_a_version_of_a_soname() {
    let own = read(&std::env::current_exe().unwrap());
    let facts = SymbolFacts::parse(&own).unwrap();
    let bound = facts.undefined.iter().find(|symbol| symbol.soname.as_deref() == Some("libc.so.6")).unwrap();
    assert!(bound.version.as_deref().unwrap().starts_with("GLIBC_2."), "{bound:?}");
    let elf = ElfFacts::parse(&own).unwrap();
    assert!(elf.is_program());
    assert!(elf.dynamic && !elf.exec_stack);
    assert!(elf.version_needs.iter().any(|need| need.soname == "libc.so.6"));
}

#[test]
fn a_library_defines_versions_and_is_no_program() {
    let libc = real_files().into_iter().find(|path| path.ends_with("libc.so.6"));
    let Some(libc) = libc else { return };
    let bytes = read(&libc);
    let (facts, symbols) = (ElfFacts::parse(&bytes).unwrap(), SymbolFacts::parse(&bytes).unwrap());
    assert_eq!(facts.soname.as_deref(), Some("libc.so.6"));
    assert!(facts.version_defs.iter().any(|version| version == "GLIBC_2.17"));
    assert!(facts.build_id.is_some_and(|id| id.len() == 20));
    let realpath: Vec<_> = symbols.defined.iter().filter(|symbol| symbol.name == "realpath").collect();
    assert!(realpath.iter().any(|symbol| symbol.hidden) && realpath.iter().any(|symbol| !symbol.hidden));
}

#[test]
fn what_is_not_elf_says_what_it_looks_like() {
    let looks = |bytes: &[u8]| match ElfFacts::parse(bytes) {
        Err(ElfError::NotElf(looks)) => looks,
        other => panic!("{other:?}"),
    };
    assert_eq!(looks(b""), Looks::Empty);
    assert_eq!(looks(b"#!/bin/sh -e\necho"), Looks::Script("/bin/sh -e".into()));
    assert_eq!(looks(b"/* GNU ld script */\nGROUP ( libc.so.6 )\n"), Looks::Text);
    assert_eq!(looks(b"!<arch>\nfoo"), Looks::Archive);
    assert_eq!(looks(b"MZ\x90\0"), Looks::Windows);
    assert_eq!(looks(b"\0\x01\x02"), Looks::Data);
    assert!(matches!(ElfFacts::parse(b"\x7fE"), Err(ElfError::Truncated { .. })));
}

#[test]
fn a_file_cut_short_is_said_to_be_cut_short() {
    let bytes = read(&std::env::current_exe().unwrap());
    for length in [5, 16, 40, 64, 100, 4096, 65536] {
        let error = ElfFacts::parse(&bytes[..length]).unwrap_err();
        assert!(matches!(error, ElfError::Truncated { .. }), "{length}: {error}");
    }
}

/// A complete ELF64 file of one segment: header, PT_LOAD, PT_NOTE, and the note.
fn file_with_note(payload: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4, payload.len() as u32, 0x407c_0c0a] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"FDO\0");
    note.extend_from_slice(payload);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0u64, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&[0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&[4, 0, 0, 0, 4, 0, 0, 0]);
    for word in [120, 120, 120, note.len() as u64, note.len() as u64, 4] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&note);
    file
}

#[test]
fn dlopen_notes_are_found_by_type_without_sections() {
    let facts =
        ElfFacts::parse(&file_with_note(b"[{\"soname\":[\"libfoo.so.1\"],\"feature\":\"foo\"}]\0")).unwrap();
    assert_eq!(facts.dlopen_notes[0].sonames, ["libfoo.so.1"]);
    assert!(!facts.dynamic && facts.interp.is_none() && !facts.is_program());
    assert!(ElfFacts::parse(&file_with_note(b"not json")).unwrap().dlopen_notes.is_empty());
}

#[test]
fn a_big_endian_32_bit_header_is_read_in_its_own_order() {
    let mut file = b"\x7fELF\x01\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x14\0\0\0\x01".to_vec();
    file.resize(52, 0);
    let facts = ElfFacts::parse(&file).unwrap();
    assert_eq!((facts.class, facts.endian, facts.machine), (Class::Elf32, Endian::Big, 20));
    assert_eq!(facts.kind, Kind::Executable);
    assert!(facts.exec_stack, "no PT_GNU_STACK");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Damage where it hurts: in the headers, the dynamic section and what it points to, which lie early in a
    /// file.
    #[test]
    fn parsing_damaged_files_never_panics(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        near: bool,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut small = real_files();
        small.retain(|path| path.metadata().unwrap().len() < 300_000);
        prop_assume!(!small.is_empty());
        let mut bytes = read(&small[which.index(small.len())]);
        let reach = if near { bytes.len().min(1024) } else { bytes.len() };
        for (at, value) in changes {
            bytes[at.index(reach)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = ElfFacts::parse(&bytes);
        let _ = SymbolFacts::parse(&bytes);
    }
}
