//! Who has called dlopen(3): the library whose code it was, and nobody where that cannot be told.

use serde_json::Value;

use super::{load_of, loads, traced};
use crate::harness::{Who, cc, fixture};

#[test]
fn a_library_that_opens_another_is_named() {
    let folder = tempfile::tempdir_in(fixture().guests()).unwrap();
    let path = |name: &str| folder.path().join(name);
    let inside = format!("/guests/{}", folder.path().file_name().unwrap().to_str().unwrap());
    let sources = [
        (
            "library.c",
            "#include <dlfcn.h>\nvoid *open_it(const char *name) { void *it = dlopen(name, RTLD_NOW); return it ? it : 0; }\n__attribute__((constructor)) static void early(void) { dlopen(\"libexpat.so.1\", RTLD_LAZY); }\n",
        ),
        (
            "program.c",
            "#include <dlfcn.h>\nvoid *open_it(const char *);\nint main(void) { open_it(\"libpng16.so.16\"); open_it(\"libnobody-called.so.1\"); return !dlopen(\"libsqlite3.so.0\", RTLD_LAZY | RTLD_GLOBAL); }\n",
        ),
    ];
    for (name, text) in sources {
        std::fs::write(path(name), text).unwrap();
    }
    // -O0: no call becomes a jump, and what is left on the stack is most.
    cc(&path("library.c"), &path("libcaller.so"), &["-O0", "-shared", "-fPIC", "-ldl"]);
    let search = [format!("-L{}", folder.path().display()), format!("-Wl,-rpath,{inside}")];
    cc(&path("program.c"), &path("program"), &["-O0", &search[0], &search[1], "-lcaller", "-ldl"]);
    let program = format!("{inside}/program");
    let (outcome, events) = traced(&fixture().root(Who::Alice), &[&program]);
    assert!(outcome.succeeded(), "{outcome}");
    let library: Value = format!("{inside}/libcaller.so").into();
    for name in ["libexpat.so.1", "libpng16.so.16", "libnobody-called.so.1"] {
        let load = load_of(&events, name);
        assert_eq!((&load["why"], &load["needed_by"]), (&"dlopen".into(), &library), "{load:#}");
    }
    assert_eq!(load_of(&events, "libsqlite3.so.0")["needed_by"], program.as_str());
    // What comes with it is wanted by who is linked against it.
    let zlib = load_of(&events, "libz.so.1");
    let png = load_of(&events, "libpng16.so.16");
    assert_eq!((&zlib["why"], &zlib["needed_by"]), (&"needed".into(), &png["path"]), "{zlib:#}");
}

#[test]
fn a_python_is_who_opens_its_modules() {
    let program = fixture().world.program("numpy").unwrap();
    let mut root = fixture().root(Who::Alice);
    for (name, value) in &program.env {
        root = root.env(name, value);
    }
    let executable = program.executable.clone();
    let line: Vec<&str> = std::iter::once(&*executable).chain(program.args.iter().map(|it| &**it)).collect();
    let (outcome, events) = traced(&root, &line);
    assert!(outcome.succeeded(), "{outcome}");
    let modules: Vec<&Value> = loads(&events)
        .filter(|load| load["soname"].as_str().is_some_and(|name| name.contains(".cpython-")))
        .collect();
    assert!(modules.len() > 10, "{events:#?}");
    for module in modules {
        let by = module["needed_by"].as_str().unwrap_or_default();
        assert!(by.rsplit('/').next().unwrap().contains("python"), "{module:#}");
    }
}
