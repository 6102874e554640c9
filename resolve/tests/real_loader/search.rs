//! Where the loader searches, in which order, and what it finds there, over made-up programs and libraries with any
//! mixture of `RPATH`, `RUNPATH`, `$ORIGIN` and `LD_LIBRARY_PATH`.

use crate::elf_writer::{AARCH64, Elf, X86_64};
use crate::told::tell;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use sonde_resolve::bundle::{Bundle, Files};
use sonde_resolve::search::{Requester, folders};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};

/// No system has them, so that everything that is found is ours.
const NAMES: [&str; 5] =
    ["libsonde-a.so", "libsonde-b.so.1", "libsonde-c.so.2", "libsonde-d.so", "libsonde-e.so.5"];
/// Below the folder of a case, `@`.
const FOLDERS: [&str; 5] = ["bin", "lib", "lib/sub", "opt", "opt/lib"];
/// What is relative leads to where nothing is: a plan does not know the working directory.
const ELEMENTS: [&str; 20] = [
    "@/lib",
    "@/lib/sub",
    "@/opt",
    "@/opt/lib",
    "@/bin",
    "$ORIGIN",
    "${ORIGIN}",
    "$ORIGIN/../lib",
    "${ORIGIN}/../opt/lib",
    "$ORIGIN/sub",
    "@/lib/",
    "@//opt///",
    "@/opt/./lib",
    "@/absent",
    "$ORIGINAL/x",
    "@/$UNKNOWN",
    "@/bin$ORIGIN",
    "",
    ".",
    "relative",
];

#[derive(Clone, Debug)]
struct Object {
    needed: Vec<usize>,
    rpath: Option<Vec<&'static str>>,
    runpath: Option<Vec<&'static str>>,
    foreign: bool,
}

#[derive(Clone, Debug)]
struct Case {
    program: Object,
    /// By name and folder.
    libraries: BTreeMap<(usize, usize), Object>,
    library_path: Option<(Vec<&'static str>, &'static str)>,
}

fn list() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop_oneof![1 => Just(None), 2 => vec(select(&ELEMENTS[..]), 0..5).prop_map(Some)]
}

fn object(foreign: bool) -> impl Strategy<Value = Object> {
    (vec(0..NAMES.len(), 0..4), list(), list(), if foreign { 0..6 } else { 1..2 })
        .prop_map(|(needed, rpath, runpath, kind)| Object { needed, rpath, runpath, foreign: kind == 0 })
}

fn case() -> impl Strategy<Value = Case> {
    let libraries = btree_map((0..NAMES.len(), 0..FOLDERS.len()), object(true), 0..16);
    let library_path =
        prop_oneof![Just(None), (vec(select(&ELEMENTS[..]), 0..4), select(&[":", ";"][..])).prop_map(Some)];
    (object(false), libraries, library_path).prop_map(|(mut program, libraries, library_path)| {
        program.needed.push(0);
        Case { program, libraries, library_path }
    })
}

/// A case on the disk.
struct Disk {
    folder: PathBuf,
    program: PathBuf,
    library_path: Option<String>,
}

impl Files for Disk {
    fn contains(&self, path: &Path) -> bool {
        path.exists()
    }

    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        fs::read(path).ok()
    }
}

impl Disk {
    fn new(case: &Case, folder: &Path, loader: &str) -> Disk {
        let text = |list: &[&str], separator| list.join(separator).replace('@', folder.to_str().unwrap());
        let write = |path: &Path, object: &Object, interp| {
            let elf = Elf {
                machine: if object.foreign { AARCH64 } else { X86_64 },
                interp,
                needed: object.needed.iter().map(|name| NAMES[*name]).collect(),
                rpath: object.rpath.as_ref().map(|list| text(list, ":")),
                runpath: object.runpath.as_ref().map(|list| text(list, ":")),
                no_default_lib: false,
            };
            fs::write(path, elf.to_bytes()).unwrap();
        };
        for name in FOLDERS.into_iter().chain(["cwd"]) {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        for ((name, place), object) in &case.libraries {
            write(&folder.join(FOLDERS[*place]).join(NAMES[*name]), object, None);
        }
        let program = folder.join("bin/program");
        write(&program, &case.program, Some(loader));
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let library_path = case.library_path.as_ref().map(|(list, separator)| text(list, separator));
        Disk { folder: folder.to_owned(), program, library_path }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.join("cwd")).env_remove("LD_LIBRARY_PATH");
        command.envs(self.library_path.as_ref().map(|path| ("LD_LIBRARY_PATH", path)));
        command
    }

    /// The files that we say the loader tries, each once.
    fn tries(&self, bundle: &Bundle, by: usize, name: &str) -> Vec<PathBuf> {
        let loaded_by: HashMap<&Path, usize> =
            bundle.wants.iter().filter_map(|want| Some((want.found.as_deref()?, want.by))).collect();
        let chain: Vec<usize> =
            iter::successors(Some(by), |at| loaded_by.get(&*bundle.members[*at].path).copied()).collect();
        let origin = |at: &usize| bundle.members[*at].path.parent().unwrap().to_str().unwrap();
        let chain: Vec<Requester<'_>> = chain
            .iter()
            .map(|at| Requester { facts: &bundle.members[*at].facts, origin: origin(at) })
            .collect();
        let folders = folders(&chain, self.library_path.as_deref());
        // The working directory has no name in what the loader tells.
        let path = |folder: &str| Path::new(folder).strip_prefix(".").unwrap_or(Path::new(folder)).join(name);
        folders.iter().map(|folder| path(&folder.path)).collect()
    }

    /// Each once, where there is a folder: the loader forgets folders that are not there, and does not search one twice
    /// in a row.
    fn distinct(&self, tries: &[PathBuf], until: Option<&Path>) -> Vec<PathBuf> {
        let mut distinct: Vec<PathBuf> = Vec::new();
        for path in tries {
            if self.folder.join("cwd").join(path).parent().unwrap().is_dir() && !distinct.contains(path) {
                distinct.push(path.clone());
            }
            if until.is_some_and(|until| path == until) {
                break;
            }
        }
        distinct
    }
}

fn is_subsequence(part: &[PathBuf], whole: &[PathBuf]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|path| rest.any(|other| other == path))
}

fn check(case: &Case, loader: &str) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(case, &folder.path().canonicalize().unwrap(), loader);
    let bytes = fs::read(&disk.program).unwrap();
    let bundle = Bundle::read(&disk.program, &bytes, disk.library_path.as_deref(), &disk).unwrap();
    let told = tell(&mut disk.command());

    let mut theirs: BTreeMap<&str, Vec<Option<&Path>>> = BTreeMap::new();
    told.found.iter().for_each(|(name, path)| theirs.entry(name).or_default().push(path.as_deref()));
    // A second search of one name finds something where the first did not: no program would have come so far.
    prop_assume!(theirs.values().all(|found| found.iter().all(|path| *path == found[0])));
    let mut theirs = told.found.clone();
    let mut seen = BTreeSet::new();
    theirs.retain(|(name, _)| seen.insert(name.clone()));
    let ours: Vec<_> =
        bundle.wants.iter().map(|want| (want.soname().to_owned(), want.found.clone())).collect();
    prop_assert_eq!(&ours, &theirs);
    for want in &bundle.wants {
        let ours = disk.tries(&bundle, want.by, want.soname());
        let theirs = &told.searches[want.soname()].before_cache;
        let theirs: Vec<_> =
            theirs.iter().map(|path| path.strip_prefix(".").unwrap_or(path).to_owned()).collect();
        prop_assert!(is_subsequence(&theirs, &ours), "{}: {theirs:?} are not in {ours:?}", want.soname());
        let found = want.found.as_deref();
        prop_assert_eq!(disk.distinct(&ours, found), disk.distinct(&theirs, found), "{}", want.soname());
    }
    Ok(())
}

#[test]
fn the_loader_searches_where_we_say_and_finds_what_we_say() {
    let Some(loader) = crate::loader() else { return };
    let loader = loader.to_str().unwrap();
    proptest!(crate::config(300), |(case in case())| check(&case, loader)?);
}
