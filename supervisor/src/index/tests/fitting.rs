//! Choosing for a program that the C compiler of this machine made, from packages whose symbols are made up.

use std::collections::BTreeMap;
use std::process::Command;

use sonde_resolve::bundle::{Bundle, Files};
use sonde_resolve::choose::SymbolSet;
use sonde_resolve::elf::ElfFacts;
use sonde_resolve::elf::symbols::{DefinedSymbol, SymbolFacts};

use super::super::fitting::{Fit, Supply};
use super::*;

/// Packages whose symbols become known when they are got; some cannot be had.
struct Shop<'i> {
    index: &'i Index,
    /// Symbols (`name` or `name@VERSION`) by attribute.
    goods: BTreeMap<&'static str, &'static [&'static str]>,
    requests: Vec<Vec<String>>,
}

impl Supply for Shop<'_> {
    fn has(&self, object: &StorePath) -> bool {
        self.requests
            .iter()
            .flatten()
            .any(|attribute| object.as_str().ends_with(&format!("-{attribute}-1.0")))
    }

    fn supply(&mut self, wanted: &[(&str, Choice)]) {
        let new = wanted.iter().filter(|(_, choice)| !self.has(&choice.object)).cloned();
        let new: Vec<(&str, Choice)> = new.collect();
        for (_, choice) in &new {
            let Some(symbols) = self.goods.get(choice.attribute.as_str()) else { continue };
            let place = self.index.symbols.place(&choice.object, &choice.file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, set(symbols).to_bytes()).unwrap();
        }
        if !new.is_empty() {
            self.requests.push(new.iter().map(|(_, choice)| choice.attribute.clone()).collect());
        }
    }
}

fn set(symbols: &[&str]) -> SymbolSet {
    let own = ElfFacts::parse(&fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
    let defined: Vec<DefinedSymbol> = symbols
        .iter()
        .map(|symbol| symbol.split_once('@').map_or((*symbol, None), |(name, version)| (name, Some(version))))
        .map(|(name, version)| DefinedSymbol {
            name: name.into(),
            version: version.map(str::to_owned),
            hidden: false,
        })
        .collect();
    let version_defs = defined.iter().filter_map(|symbol| symbol.version.clone()).collect();
    SymbolSet::of(
        &ElfFacts { soname: None, version_defs, ..own },
        &SymbolFacts { undefined: Vec::new(), defined },
    )
}

struct OwnFiles;

impl Files for OwnFiles {
    fn contains(&self, _: &Path) -> bool {
        false
    }
    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        fs::read(path).ok()
    }
}

/// A program that calls these functions of these libraries. A function that belongs to none (`""`) is its own.
fn program(needs: &[(&str, &[&str])]) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let mut body = String::new();
    let mut objects = Vec::new();
    let compile = |output: &Path, source: &str, options: &[String]| {
        let path = output.with_extension("c");
        fs::write(&path, source).unwrap();
        let status = Command::new("cc").arg("-o").arg(output).arg(&path).args(options).status().unwrap();
        assert!(status.success());
    };
    for (soname, functions) in needs {
        let versions: Vec<(&str, Option<&str>)> = functions
            .iter()
            .map(|function| {
                function.split_once('@').map_or((*function, None), |(name, version)| (name, Some(version)))
            })
            .collect();
        let source: String =
            versions.iter().map(|(name, _)| format!("int {name}(void){{return 1;}}\n")).collect();
        let map: String = versions
            .iter()
            .filter_map(|(name, version)| Some(format!("{} {{ global: {name}; }};\n", (*version)?)))
            .collect();
        let library = folder.path().join(soname);
        let mut options = vec!["-shared".into(), "-fPIC".into(), format!("-Wl,-soname,{soname}")];
        if !map.is_empty() {
            fs::write(folder.path().join("map"), map).unwrap();
            options.push(format!("-Wl,--version-script,{}", folder.path().join("map").display()));
        }
        compile(&library, &source, &options);
        objects.push(library.display().to_string());
        body.extend(
            versions
                .iter()
                .map(|(name, _)| format!("int {name}(void); int call_{name}(void){{return {name}();}}\n")),
        );
    }
    let output = folder.path().join("program");
    compile(&output, &format!("{body}\nint main(void){{return 0;}}"), &objects);
    Bundle::read(&output, &fs::read(&output).unwrap(), None, &OwnFiles).unwrap()
}

const ZLIB: &str = "lib/libz.so.1";

/// `zlib` ranks before `zlib-ng`, which ranks before `other`.
fn user() -> User {
    let user = User::new();
    let zlibs = ["zlib", "zlib-ng", "other"].map(|attr| package(attr, &[ZLIB]));
    user.import("default", &[&zlibs[..], &[package("x", &["lib/libx.so.1"])]].concat());
    user
}

fn choose(
    index: &Index,
    bundle: &Bundle,
    goods: &[(&'static str, &'static [&'static str])],
) -> (Vec<Fit>, Vec<Vec<String>>) {
    let mut shop = Shop { index, goods: goods.iter().copied().collect(), requests: Vec::new() };
    let fits = index.choose_all(bundle, &OwnFiles, &mut shop);
    (fits, shop.requests)
}

fn is_complete(fit: &Fit) -> bool {
    fit.coverage.as_ref().is_some_and(|coverage| coverage.is_complete())
}

fn attribute(fit: &Fit) -> Option<&str> {
    fit.choice.as_ref().map(|choice| choice.attribute.as_str())
}

#[test]
fn everybodys_first_is_got_in_one_request_and_nothing_else_when_it_fits() {
    let (user, bundle) = (user(), program(&[("libz.so.1", &["inflate", "z@Z_1"]), ("libx.so.1", &["x"])]));
    let goods: &[_] = &[("zlib", &["inflate", "z@Z_1"][..]), ("x", &["x"])];
    let (fits, requests) = choose(&user.open(), &bundle, goods);
    assert_eq!(fits.iter().map(attribute).collect::<Vec<_>>(), [Some("zlib"), Some("x")]);
    assert!(fits.iter().all(is_complete));
    assert_eq!(requests, [["zlib", "x"]]);
}

#[test]
fn a_first_that_lacks_symbols_gives_way_to_the_next() {
    let (user, bundle) = (user(), program(&[("libz.so.1", &["inflate", "deflate"])]));
    let goods: &[_] = &[("zlib", &["inflate"][..]), ("zlib-ng", &["inflate", "deflate"])];
    let (fits, requests) = choose(&user.open(), &bundle, goods);
    assert_eq!(attribute(&fits[0]), Some("zlib-ng"));
    assert_eq!(requests, [["zlib"], ["zlib-ng"]], "the third was not needed");
}

#[test]
fn a_first_that_lacks_a_version_is_no_candidate() {
    let (user, bundle) = (user(), program(&[("libz.so.1", &["inflate@Z_2"])]));
    let goods: &[_] = &[("zlib", &["inflate@Z_1"][..]), ("other", &["inflate@Z_2"])];
    let (fits, _) = choose(&user.open(), &bundle, goods);
    assert_eq!(attribute(&fits[0]), Some("other"));
    let (fits, requests) = choose(&user.open(), &bundle, &[]);
    assert_eq!(attribute(&fits[0]), Some("other"));
    assert_eq!(requests.last().unwrap(), &["other"], "got in the end, since what it has was remembered");
    assert!(!requests.iter().flatten().any(|attribute| attribute == "zlib"), "{requests:?}");
    let only_wrong = self::user();
    let (fits, _) = choose(
        &only_wrong.open(),
        &bundle,
        &[("zlib", &["inflate@Z_1"]), ("zlib-ng", &["inflate@Z_1"]), ("other", &["inflate@Z_1"])],
    );
    assert_eq!(attribute(&fits[0]), None);
    assert_eq!(fits[0].coverage.as_ref().unwrap().missing_versions, ["Z_2"]);
}

#[test]
fn when_nobody_has_everything_the_best_share_wins_and_the_rest_is_told() {
    let (user, bundle) = (user(), program(&[("libz.so.1", &["a", "b", "c"])]));
    let goods: &[_] = &[("zlib", &["a"][..]), ("zlib-ng", &["a", "b"]), ("other", &["c"])];
    let (fits, _) = choose(&user.open(), &bundle, goods);
    assert_eq!(attribute(&fits[0]), Some("zlib-ng"));
    assert_eq!(fits[0].coverage.as_ref().unwrap().missing_symbols, ["c"]);
}

#[test]
fn what_a_sibling_defines_is_asked_of_nobody_else() {
    let (user, bundle) = (user(), program(&[("libz.so.1", &["inflate"]), ("libx.so.1", &["x"])]));
    // `x` moved: the two together have everything.
    let goods: &[_] = &[("zlib", &["inflate", "x"][..]), ("x", &["other_thing"])];
    let (fits, requests) = choose(&user.open(), &bundle, goods);
    assert!(fits.iter().all(is_complete), "{fits:?}");
    assert_eq!(requests.len(), 1);
}

#[test]
fn what_cannot_be_had_is_still_the_answer_when_there_is_no_other() {
    let (user, bundle) = (user(), program(&[("libx.so.1", &["x"])]));
    let (fits, _) = choose(&user.open(), &bundle, &[]);
    assert_eq!((attribute(&fits[0]), &fits[0].coverage), (Some("x"), &None), "the store will say why not");
}

#[test]
fn glibcs_own_and_what_nobody_has_are_no_choices() {
    let (user, bundle) = (user(), program(&[("libnobody.so.1", &["n"])]));
    let (fits, requests) = choose(&user.open(), &bundle, &[]);
    assert_eq!(fits.len(), 1, "libc.so.6 is not among them");
    assert_eq!((fits[0].soname.as_str(), attribute(&fits[0])), ("libnobody.so.1", None));
    assert!(requests.is_empty());
}
