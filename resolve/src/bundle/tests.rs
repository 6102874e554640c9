//! Bundles made with the C compiler of this machine, in a folder.

use super::*;
use std::process::Command;

/// Everything that lies in a folder; what is outside of it does not exist.
struct Folder(PathBuf);

impl Files for Folder {
    fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.0) && path.exists()
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        std::fs::read(path).ok()
    }
}

impl Folder {
    fn compile(&self, name: &str, source: &str, options: &[&str]) {
        let path = self.0.join(format!("{name}.c"));
        std::fs::write(&path, source).unwrap();
        let mut cc = Command::new("cc");
        cc.current_dir(&self.0).arg("-o").arg(name).arg(&path).args(options);
        assert!(cc.status().unwrap().success(), "{cc:?}");
    }

    fn bundle(&self, program: &str, library_path: Option<&str>) -> Bundle {
        let path = self.0.join(program);
        Bundle::read(&path, &std::fs::read(&path).unwrap(), library_path, self).unwrap()
    }
}

/// A program that needs `libown.so.1`, which came with it, which needs `libelse.so.2`, which did not.
fn folder() -> (tempfile::TempDir, Folder) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder(temporary.path().canonicalize().unwrap());
    std::fs::create_dir(folder.0.join("lib")).unwrap();
    folder.compile("libelse.so.2", "int other(void){return 1;}", &["-shared", "-Wl,-soname,libelse.so.2"]);
    let own = "int other(void); int own(void){return other();}";
    folder.compile("lib/libown.so.1", own, &["-shared", "-fPIC", "-Wl,-soname,libown.so.1", "libelse.so.2"]);
    let options = ["lib/libown.so.1", "-Wl,-rpath,$ORIGIN/lib", "-Wl,--allow-shlib-undefined"];
    folder.compile("program", "int own(void); int main(void){return own();}", &options);
    (temporary, folder)
}

#[test]
fn what_a_bundled_library_needs_is_wanted_too() {
    let (_keep, folder) = folder();
    let bundle = folder.bundle("program", None);
    let wanted = |soname: &str| bundle.wants.iter().find(|want| want.soname() == soname).unwrap();
    assert_eq!(wanted("libown.so.1").found, Some(folder.0.join("lib/libown.so.1")));
    assert_eq!(wanted("libelse.so.2").found, None);
    assert_eq!(bundle.wanted_by(wanted("libelse.so.2")), folder.0.join("lib/libown.so.1"));
    assert!(bundle.searched.contains(&folder.0.join("lib")));
    assert!(bundle.wants.iter().all(Want::joins_plan));
}

#[test]
fn the_demand_is_that_of_whoever_asks() {
    let (_keep, folder) = folder();
    let mut demand = folder.bundle("program", None).demand("libelse.so.2");
    assert!(!demand.is_empty());
    let bytes = std::fs::read(folder.0.join("libelse.so.2")).unwrap();
    let set = SymbolSet::of(&ElfFacts::parse(&bytes).unwrap(), &SymbolFacts::parse(&bytes).unwrap());
    demand.without_symbols_of(&set);
    assert!(demand.is_empty(), "`other` is all that libown wants: {demand:?}");
}

#[test]
fn what_the_members_define_is_theirs() {
    let (_keep, folder) = folder();
    let definitions = folder.bundle("program", None).definitions(&folder);
    assert!(definitions.iter().any(|set| set.defines("own")));
    assert!(!definitions.iter().any(|set| set.defines("other")));
}

#[test]
fn a_library_for_another_machine_is_passed_over() {
    let (_keep, folder) = folder();
    let other = folder.0.join("other");
    std::fs::create_dir(&other).unwrap();
    let mut bytes = std::fs::read(folder.0.join("libelse.so.2")).unwrap();
    bytes[18] = 183; // e_machine: AArch64
    std::fs::write(other.join("libelse.so.2"), bytes).unwrap();
    let path = format!("{}:{}", other.display(), folder.0.display());
    let bundle = folder.bundle("program", Some(&path));
    let want = bundle.wants.iter().find(|want| want.soname() == "libelse.so.2").unwrap();
    assert_eq!(want.found, Some(folder.0.join("libelse.so.2")));
}

#[test]
fn a_note_joins_the_plan_unless_it_is_a_suggestion() {
    let (_keep, folder) = folder();
    let source = r#"
__attribute__((section(".note.dlopen"), used, aligned(4)))
static const struct { unsigned name, payload, type; char owner[4]; char text[192]; } note = {
    4, 192, 0x407c0c0a, "FDO",
    "[{\"soname\":[\"libsuggested.so.1\"],\"priority\":\"suggested\"},"
    "{\"soname\":[\"libnew.so.2\",\"libnew.so.1\"]},"
    "{\"soname\":[\"libneeded.so.1\"],\"priority\":\"required\"}]" };
int main(void){return 0;}"#;
    folder.compile("noted", source, &[]);
    let bundle = folder.bundle("noted", None);
    let notes: Vec<_> = bundle.wants.iter().filter(|want| want.why != Why::Needed).collect();
    assert_eq!(
        notes.iter().map(|want| want.soname()).collect::<Vec<_>>(),
        ["libneeded.so.1", "libnew.so.2", "libsuggested.so.1"]
    );
    assert_eq!(notes.iter().map(|want| want.joins_plan()).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(notes[1].sonames.len(), 2);
}

#[test]
fn what_is_no_program_is_an_error() {
    let (_keep, folder) = folder();
    assert!(Bundle::read(Path::new("/x"), b"#!/bin/sh\n", None, &folder).is_err());
}
