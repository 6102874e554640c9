//! Libraries that a program opens at run time.

use sonde_world::RootBuilder;

use crate::harness::{EVERY_ENGINE, EVERYBODY, Outcome, SONDE, Who, fixture, run};

/// Not linked against by the guest, and in packages of their own.
const LIBRARIES: [&str; 4] = ["libpng16.so.16", "libsqlite3.so.0", "libexpat.so.1", "libxml2.so.2"];

fn load(root: &RootBuilder, way: &str, libraries: &[&str]) -> Outcome {
    run(root.command(fixture().guest("load")).arg(way).args(libraries))
}

#[track_caller]
fn assert_from_the_store(outcome: &Outcome, libraries: &[&str]) {
    assert!(outcome.succeeded(), "{outcome}");
    assert_eq!(outcome.stdout.lines().count(), libraries.len(), "{outcome}");
    for library in libraries {
        let line =
            outcome.stdout.lines().find(|line| line.starts_with(&format!("{library}: map /nix/store/")));
        let line = line.unwrap_or_else(|| panic!("{library} is not from the store: {outcome}"));
        // `map FILE origin FOLDER address FILE`: all three speak of the store path.
        let words: Vec<&str> = line.split(' ').collect();
        let (map, origin, address) = (words[2], words[4], words[6]);
        assert_eq!(map, address, "dladdr and the link map disagree: {outcome}");
        assert_eq!(map, format!("{origin}/{library}"), "$ORIGIN is not the library's folder: {outcome}");
    }
}

#[test]
fn a_library_that_was_never_realised_is_fetched_while_its_open_waits() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        assert_from_the_store(&load(&root, "here", &LIBRARIES), &LIBRARIES);
    }
}

#[test]
fn a_forked_child_that_does_not_exec_is_served() {
    let (_state, root) = fixture().cold(Who::Alice);
    assert_from_the_store(&load(&root, "fork", &LIBRARIES), &LIBRARIES);
}

#[test]
fn threads_that_open_all_at_once_are_served() {
    let (_state, root) = fixture().cold(Who::Alice);
    let many: Vec<&str> = LIBRARIES.iter().copied().cycle().take(32).collect();
    let outcome = load(&root, "threads", &many);
    assert!(outcome.succeeded(), "{outcome}");
    assert_eq!(outcome.stdout.matches(": map /nix/store/").count(), 32, "{outcome}");
}

#[test]
fn a_storm_of_signals_neither_breaks_nor_starves_an_open_that_waits() {
    let (_state, root) = fixture().cold(Who::Alice);
    assert_from_the_store(&load(&root, "alarms", &LIBRARIES), &LIBRARIES);
}

#[test]
fn ending_children_and_preempted_threads_do_not_break_an_open_that_waits() {
    for way in ["children", "preempt"] {
        for who in EVERYBODY {
            let (_state, root) = fixture().cold(who);
            let outcome = run(root.command(fixture().guest("storms")).arg(way).args(LIBRARIES));
            assert_from_the_store(&outcome, &LIBRARIES);
        }
    }
}

#[test]
fn a_download_that_a_killed_process_has_begun_is_of_use_to_others() {
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let outcome = run(root.command(fixture().guest("storms")).args(["killed", LIBRARIES[0]]));
        assert_from_the_store(&outcome, &LIBRARIES[..1]);
    }
}

#[test]
fn a_program_that_is_killed_while_it_waits_holds_up_nobody() {
    // Both are killed with their whole trees: what the first has begun is there, or begun anew, for the next.
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        let mut first = root.command(fixture().guest("load"));
        let mut first = first.arg("here").args(LIBRARIES).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        first.kill().unwrap();
        first.wait().unwrap();
        assert_from_the_store(&load(&root, "here", &LIBRARIES), &LIBRARIES);
    }
}

#[test]
fn through_sonde_run_it_is_the_same() {
    for who in EVERYBODY {
        let guest = fixture().guest("load");
        let root = fixture().without_shim(who);
        let outcome = run(root.command(SONDE).args(["run", &guest, "here"]).args(LIBRARIES));
        assert_from_the_store(&outcome, &LIBRARIES);
    }
}

#[test]
fn an_absolute_path_where_distributions_have_libraries_is_redirected() {
    let root = fixture().root(Who::Alice);
    let wanted = "/usr/lib/x86_64-linux-gnu/libexpat.so.1";
    let outcome = load(&root, "here", &[wanted]);
    assert!(outcome.succeeded(), "{outcome}");
    assert!(outcome.stdout.starts_with(&format!("{wanted}: map ")), "{outcome}");
}

/// Whether a path was given or put together in a search is told by where it lies.
#[test]
fn a_path_on_a_heap_that_begins_where_the_stack_ends_is_one_that_was_given() {
    let guest = fixture().guest("stack_below_heap");
    let path = "/usr/lib/x86_64-linux-gnu/libgmp.so.10";
    for engine in EVERY_ENGINE {
        let root = fixture().under(engine, fixture().root(Who::Alice));
        // How far the heap begins behind the program is the kernel's to say, up to 32 MiB.
        let mut outcomes = (0..10).map(|_| run(root.command(&guest).arg(path)));
        let outcome = outcomes.find(|outcome| outcome.code() != Some(77)).unwrap();
        assert_eq!(outcome.stdout, "opened\n", "{engine:?}: {outcome}");
    }
}

#[test]
fn a_module_is_found_by_the_end_of_its_path() {
    let modules = [
        ("/usr/lib/x86_64-linux-gnu/krb5/plugins/preauth/spake.so", "krb5-1."),
        ("/usr/lib64/gdk-pixbuf-2.0/2.10.0/loaders/libpixbufloader-tga.so", "gdk-pixbuf-"),
        // In another folder of its package than here.
        ("/usr/lib/gtk/immodules/im-thai.so", "gtk+3-"),
    ];
    for who in EVERYBODY {
        let (_state, root) = fixture().cold(who);
        for (module, package) in modules {
            let outcome = run(root.command(SONDE).args(["trace", &fixture().guest("load"), "here", module]));
            assert!(outcome.stdout.starts_with(&format!("{module}: map {module} ")), "{outcome}");
            let name = module.rsplit('/').next().unwrap();
            let row = outcome.stderr.lines().find(|line| line.split_whitespace().any(|word| word == name));
            let row = row.unwrap_or_else(|| panic!("{outcome}"));
            assert!(row.contains("redirected") && row.contains(package), "{row}: {outcome}");
        }
    }
}

#[test]
fn what_no_package_has_under_such_a_path_is_not_there() {
    let root = fixture().root(Who::Alice);
    let (expat, zlib) = ("libexpat.so.1", "libz.so.1");
    for missing in [
        // A name alone is not enough in a package's own folder, nor is the program's own folder ours.
        format!("/usr/lib/app/{expat}"),
        "/opt/krb5/plugins/preauth/spake.so".to_owned(),
        "/usr/lib/i386-linux-gnu/krb5/plugins/preauth/spake.so".to_owned(),
        // Stubs, and members of a glibc that may be another one than the loader's.
        format!("/usr/lib/stubs/{zlib}"),
        "/usr/lib/x86_64-linux-gnu/gconv/UTF-7.so".to_owned(),
    ] {
        let outcome = load(&root, "here", &[&missing]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        assert!(outcome.stdout.contains("No such file or directory"), "{outcome}");
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn a_driver_that_is_asked_for_by_path_is_the_hosts() {
    let driver = fixture().guests().join("swrast_dri.so");
    fixture().library(&driver, "swrast_dri.so");
    let paths = [
        ("/usr/lib64/dri/swrast_dri.so", "dri/swrast_dri.so"),
        ("/usr/lib/x86_64-linux-gnu/dri/swrast_dri.so", "dri/swrast_dri.so"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "libcuda.so.1"),
    ];
    for who in EVERYBODY {
        for (asked, inside) in paths {
            assert_eq!(load(&fixture().root(who), "here", &[asked]).code(), Some(1), "{asked}");
            let root = fixture().root(who).bind(&driver, format!("/run/opengl-driver/lib/{inside}"));
            let outcome = load(&root, "here", &[asked]);
            assert!(outcome.stdout.starts_with(&format!("{asked}: map {asked} ")), "{outcome}");
        }
    }
}

#[test]
fn a_library_that_nobody_has_is_not_there_and_nobody_is_bothered() {
    let root = fixture().root(Who::Alice);
    let outcome = load(&root, "here", &["libsurely-not.so.7"]);
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert!(
        outcome.stdout.contains("cannot open shared object file: No such file or directory"),
        "{outcome}"
    );
    assert_eq!(outcome.stderr, "", "probing for optional libraries is no error");
}

#[test]
fn glibc_is_never_given_twice() {
    let root = fixture().root(Who::Alice);
    let outcome = load(&root, "here", &["libc.so.6", "libresolv.so.2"]);
    assert!(outcome.succeeded(), "{outcome}");
    let folder = |name: &str| {
        let line = outcome.stdout.lines().find(|line| line.starts_with(name)).unwrap();
        line.split(' ').nth(4).unwrap().to_owned()
    };
    assert_eq!(folder("libc.so.6"), folder("libresolv.so.2"));
}

#[test]
fn a_driver_comes_from_the_host_and_from_nowhere_else() {
    let driver = fixture().guests().join("libcuda.so.1");
    fixture().library(&driver, "libcuda.so.1");
    for who in EVERYBODY {
        // The world has a package with a stub of that name; it is never given.
        let outcome = load(&fixture().root(who), "here", &["libcuda.so.1"]);
        assert_eq!(outcome.code(), Some(1), "{outcome}");
        let root = fixture().root(who).bind(&driver, "/run/opengl-driver/lib/libcuda.so.1");
        let outcome = load(&root, "here", &["libcuda.so.1"]);
        assert!(
            outcome.stdout.starts_with("libcuda.so.1: map /run/opengl-driver/lib/libcuda.so.1 "),
            "{outcome}"
        );
    }
}

#[test]
fn a_rival_that_is_worse_is_not_chosen() {
    let rivals: Vec<String> = fixture()
        .world
        .packages()
        .unwrap()
        .into_iter()
        .filter(|one| one.rival.is_some())
        .map(|one| one.store_path)
        .collect();
    assert!(rivals.len() >= 4, "the world has too few rivals: {rivals:?}");
    let wanted = ["libz.so.1", "libssl.so.3", "libcrypto.so.3", "libcurl.so.4"];
    let outcome = load(&fixture().root(Who::Alice), "here", &wanted);
    assert_from_the_store(&outcome, &wanted);
    for rival in rivals {
        assert!(!outcome.stdout.contains(&rival), "{rival} was chosen: {outcome}");
    }
}

/// glibc 2.44 looks at its cache before each search. No such glibc is at hand here, so a loader stands in that makes the
/// same calls.
#[test]
fn a_loader_that_looks_at_its_cache_finds_the_served_one() {
    let options = ["-nostdlib", "-static-pie", "-fPIE", "-fno-stack-protector", "-O1"];
    fixture().compile("stat_cache_loader", "stat_cache_loader", &options);
    let inside = "/nix/store/00000000000000000000000000000000-loader/lib/ld.so";
    let program = fixture().compile("end", "needs-own-loader", &[&format!("-Wl,--dynamic-linker={inside}")]);
    let host = fixture().guests().join("stat_cache_loader");
    for who in EVERYBODY {
        let root = fixture().without_shim(who).bind(&host, inside);
        let outcome = run(root.command(SONDE).args(["run", &program, "exit", "99"]));
        assert_eq!(outcome.code(), Some(0), "{outcome}");
    }
}
