//! The NixOS module, package and flake, evaluated with a stand-in for nixpkgs (nixos-module/tests/stand-in.nix): this
//! shows what they say, not that a real nixpkgs agrees.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SHIM: &str = concat!(
    "/nix/store/00000000000000000000000000000000-sonde-",
    env!("CARGO_PKG_VERSION"),
    "/libexec/sonde/sonde-interp"
);
const PACKAGE: &str = concat!("sonde-", env!("CARGO_PKG_VERSION"));
const LOADER: &str = "/nix/store/00000000000000000000000000000000-glibc-0/lib/ld-linux-x86-64.so.2";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What `nix-instantiate` prints. It is given an empty store of its own, so that nothing of the machine's is needed or
/// made.
#[track_caller]
fn nix_instantiate(arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new("nix-instantiate");
    command.args(["--store", "dummy://"]).args(arguments).arg(file);
    let output = match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "nix-instantiate is not in PATH: `make world` installs it as root on Debian, else \
             `apt-get install --no-install-recommends nix-bin`, or any Nix from 2.4 on"
        ),
        output => output.unwrap(),
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// What becomes of a configuration, or of a file, by the name that scenarios.nix gives it.
#[track_caller]
fn scenario(name: &str) -> &'static serde_json::Value {
    static ALL: OnceLock<serde_json::Value> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let file = root().join("nixos-module/tests/scenarios.nix");
        serde_json::from_str(&nix_instantiate(&["--eval", "--strict", "--json"], &file)).unwrap()
    });
    all.get(name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}

fn nix_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            nix_files(&path, found);
        } else if path.extension() == Some(OsStr::new("nix")) {
            found.push(path);
        }
    }
}

#[test]
fn every_nix_file_parses() {
    let mut files = vec![root().join("flake.nix"), root().join("default.nix")];
    nix_files(&root().join("nixos-module"), &mut files);
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        assert_ne!(nix_instantiate(&["--parse"], &file), "", "{}", file.display());
    }
}

#[test]
fn the_shim_stands_where_the_stub_stood() {
    assert_eq!(scenario("absent"), "/stub-ld");
    assert_eq!(scenario("disabled")["ldso"], "/stub-ld");
    for enabled in ["enabled", "without_stub"] {
        assert_eq!(scenario(enabled)["ldso"], SHIM, "{enabled}");
        assert_eq!(scenario(enabled)["failed"], serde_json::json!([]), "{enabled}");
    }
}

#[test]
fn programs_for_32_bits_are_left_to_the_stub() {
    assert_eq!(scenario("enabled")["ldso32"], "/stub-ld-32");
}

#[test]
fn the_command_is_installed_only_when_it_is_enabled() {
    assert_eq!(scenario("disabled")["packages"], serde_json::json!([]));
    assert_eq!(scenario("enabled")["packages"], serde_json::json!([PACKAGE]));
}

#[test]
fn the_loader_option_is_compiled_into_the_package() {
    assert_eq!(scenario("enabled")["loaders"], serde_json::json!([LOADER]));
    assert_eq!(scenario("other_loader")["loaders"], serde_json::json!(["/nix/store/another/lib/ld.so"]));
}

#[test]
fn beside_nix_ld_it_is_refused_with_what_to_do() {
    let refused = scenario("beside_nix_ld");
    // Two definitions of one priority: without the assertion, the module system would only say "conflict".
    assert_eq!(refused["ldso"], false);
    let failed: Vec<&str> =
        refused["failed"].as_array().unwrap().iter().map(|message| message.as_str().unwrap()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    for words in
        ["programs.nix-ld.enable = false", "programs.sonde.enable = false", "/lib64/ld-linux-x86-64.so.2"]
    {
        assert!(failed[0].contains(words), "{words} is not said in: {}", failed[0]);
    }

    let alone = scenario("disabled_beside_nix_ld");
    assert_eq!(alone["ldso"], "/nix-ld");
    assert_eq!(alone["failed"], serde_json::json!([]));
}

#[test]
fn mistakes_in_a_configuration_are_errors() {
    assert_eq!(scenario("relative_loader"), false);
    assert_eq!(scenario("no_such_option"), false);
}

#[test]
fn flake_and_default_nix_give_the_package_of_this_version() {
    let package = scenario("package");
    for way in ["name", "by_default_nix", "by_overlay"] {
        assert_eq!(package[way], PACKAGE, "{way}");
    }
    assert_eq!(package["SONDE_DEFAULT_LOADER"], LOADER);
    assert_eq!(package["supervisor_is_its_own"], true);
}

#[test]
fn the_flake_has_what_the_readme_promises() {
    let flake = scenario("flake");
    let outputs = ["checks", "devShells", "formatter", "nixosModules", "overlays", "packages"];
    assert_eq!(flake["outputs"], serde_json::json!(outputs));
    assert_eq!(flake["checked_shim"], SHIM);
    assert_eq!(flake["shell"], serde_json::json!([PACKAGE]));
}

/// package.nix fetches the workspace's dependencies only, and builds the shim from them.
#[test]
fn the_workspace_locks_whatever_the_shim_locks() {
    let packages = |lock: &str| -> HashSet<String> {
        let text = fs::read_to_string(root().join(lock)).unwrap();
        // Name, version, source and checksum; what a package depends on are packages of their own.
        let identity =
            |package: &str| package.split("dependencies = [").next().unwrap_or_default().trim().to_owned();
        text.split("[[package]]").skip(1).map(identity).collect()
    };
    let (shim, workspace) = (packages("interp/Cargo.lock"), packages("Cargo.lock"));
    assert!(shim.len() > 1, "{shim:?}");
    let missing: Vec<&String> = shim.difference(&workspace).collect();
    assert!(missing.is_empty(), "Cargo.lock lacks what interp/Cargo.lock has: {missing:?}");
}
