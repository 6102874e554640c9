//! The order of search is the loader's own: what a program brings along comes before what a package has.

use std::fs;

use crate::harness::{EVERYBODY, SONDE, Who, fixture, run};

/// A program that needs `libz.so.1`, has another one in `lib` beside it, and these linker options; returns its path inside
/// the root.
fn program_with_its_own_zlib(name: &str, options: &[&str]) -> String {
    let folder = fixture().guests().join(format!("{name}-files/lib"));
    fs::create_dir_all(&folder).unwrap();
    fixture().library(&folder.join("libz.so.1"), "libz.so.1");
    let library = format!("-l:{name}-files/lib/libz.so.1");
    let search = format!("-L{}", fixture().guests().display());
    let all: Vec<&str> = ["-ldl", "-pthread", &search, "-Wl,--no-as-needed", &library]
        .into_iter()
        .chain(options.iter().copied())
        .collect();
    fixture().compile("load", name, &all)
}

/// The folder that `libz.so.1` came from, and what was said on standard error.
fn zlib_of(program: &str, root: &sonde_world::RootBuilder) -> (String, String) {
    let outcome = run(root.command(program).args(["here", "libz.so.1"]));
    assert!(outcome.succeeded(), "{outcome}");
    let origin = outcome.stdout.split(' ').nth(4).unwrap_or_else(|| panic!("{outcome}")).to_owned();
    (origin, outcome.stderr)
}

#[test]
fn a_bundled_library_wins_even_behind_a_folder_of_the_system() {
    let cases = [
        ("runpath", "-Wl,--enable-new-dtags,-rpath,/usr/lib:/lib64:$ORIGIN/runpath-files/lib"),
        ("rpath", "-Wl,--disable-new-dtags,-rpath,/usr/lib:/lib64:$ORIGIN/rpath-files/lib"),
    ];
    for who in EVERYBODY {
        for (name, option) in cases {
            let program = program_with_its_own_zlib(name, &[option]);
            let (origin, stderr) = zlib_of(&program, &fixture().root(who));
            assert_eq!(origin, format!("/guests/{name}-files/lib"), "{name} as {who:?}");
            assert_eq!(stderr, "");
        }
    }
}

#[test]
fn ld_library_path_is_searched_as_the_loader_does() {
    let program = program_with_its_own_zlib("by-environment", &[]);
    let root = fixture().root(Who::Alice);
    let (origin, _) = zlib_of(&program, &root);
    assert!(origin.starts_with("/nix/store/"), "{origin}");
    let root = root.env("LD_LIBRARY_PATH", "/usr/lib:/guests/by-environment-files/lib");
    assert_eq!(zlib_of(&program, &root).0, "/guests/by-environment-files/lib");
}

#[test]
fn a_search_of_a_packages_folder_is_not_taken_for_a_path_to_its_library() {
    // A package of the world has lib/blender/libz.so.1, which a program that names it by its whole path gets.
    let searched = "-Wl,--enable-new-dtags,-rpath,/usr/lib/blender";
    let options = ["-ldl", "-pthread", "-Wl,--no-as-needed", "-l:libz.so.1", searched];
    let folder = fixture().guests().join("searching-files");
    fs::create_dir_all(&folder).unwrap();
    fixture().library(&folder.join("libz.so.1"), "libz.so.1");
    let options: Vec<String> =
        std::iter::once(format!("-L{}", folder.display())).chain(options.map(str::to_owned)).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let program = fixture().compile("load", "searching", &options);
    for who in EVERYBODY {
        let root = fixture().root(who);
        let (origin, stderr) = zlib_of(&program, &root);
        assert!(origin.starts_with("/nix/store/") && origin.contains("-zlib-"), "{origin}");
        assert_eq!(stderr, "");
        let root = root.env("LD_LIBRARY_PATH", "/usr/lib/blender");
        let (origin, _) = zlib_of(&fixture().guest("load"), &root);
        assert!(origin.starts_with("/nix/store/") && origin.contains("-zlib-"), "{origin}");
        let named = "/usr/lib/blender/libz.so.1";
        let outcome = run(root.command(fixture().guest("load")).args(["here", named]));
        assert!(outcome.stdout.starts_with(&format!("{named}: map {named} ")), "{outcome}");
    }
}

#[test]
fn a_whole_path_in_a_folder_that_is_searched_is_redirected() {
    let program = program_with_its_own_zlib("by-path", &["-Wl,-rpath,/usr/lib:$ORIGIN/by-path-files/lib"]);
    for who in EVERYBODY {
        let outcome = run(fixture().root(who).command(&program).args(["here", "/usr/lib/libexpat.so.1"]));
        assert!(outcome.stdout.starts_with("/usr/lib/libexpat.so.1: map /usr/lib/"), "{outcome}");
        // The search of that folder still goes on to what the program brings along.
        assert_eq!(zlib_of(&program, &fixture().root(who)).0, "/guests/by-path-files/lib");
    }
}

#[test]
fn libraries_of_packages_are_found_by_their_own_paths() {
    // Hundreds of libraries whose RUNPATHs name glibc's folder first: none may be redirected there.
    let ffmpeg = "/opt/programs/ffmpeg/usr/bin/ffmpeg";
    let root = fixture().root(Who::Alice);
    let outcome = run(root.command(SONDE).args(["trace", ffmpeg, "-version"]));
    assert!(outcome.succeeded(), "{outcome}");
    assert!(outcome.stderr.lines().count() > 150, "{outcome}");
    assert!(!outcome.stderr.contains("redirected"), "{outcome}");
    assert!(!outcome.stderr.contains("sonde:"), "{outcome}");
}
