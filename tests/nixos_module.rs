//! The NixOS module, package and flake, evaluated with a stand-in for nixpkgs (nixos-module/tests/evaluation/stand-in.nix): this
//! shows what they say, not that a real nixpkgs agrees.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::harness::run;

const SHIM: &str = concat!(
    "/nix/store/00000000000000000000000000000000-sonde-",
    env!("CARGO_PKG_VERSION"),
    "/libexec/sonde/sonde-interp"
);
const PACKAGE: &str = concat!("sonde-", env!("CARGO_PKG_VERSION"));
pub(super) const LOADER: &str =
    "/nix/store/00000000000000000000000000000000-glibc-0/lib/ld-linux-x86-64.so.2";

/// Where the stand-in puts the libraries of the option.
pub(super) const SEEDS: &str =
    "/nix/store/00000000000000000000000000000000-sonde-libraries-0/share/nix-ld/lib";
/// Where the system links to them.
pub(super) const INSTALLED: &str = "/run/current-system/sw/share/nix-ld/lib";

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
pub(super) fn scenario(name: &str) -> &'static Value {
    static ALL: OnceLock<Value> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let file = root().join("nixos-module/tests/evaluation/scenarios.nix");
        serde_json::from_str(&nix_instantiate(&["--eval", "--strict", "--json"], &file)).unwrap()
    });
    all.get(name).unwrap_or_else(|| panic!("there is no scenario {name}"))
}

/// The text of a file that a configuration writes to /etc.
#[track_caller]
pub(super) fn file(scenario_name: &str, file: &str) -> &'static str {
    scenario(scenario_name)["files"][file].as_str().unwrap_or_else(|| panic!("{scenario_name} has no {file}"))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
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
        assert_eq!(scenario(enabled)["failed"], json!([]), "{enabled}");
    }
}

#[test]
fn programs_for_32_bits_are_left_to_the_stub_unless_they_are_to_have_their_loader() {
    assert_eq!(scenario("enabled")["ldso32"], "/stub-ld-32");
    let loader = "/nix/store/00000000000000000000000000000000-glibc-0/lib/ld-linux.so.2";
    assert_eq!(scenario("ldso32")["ldso32"], loader);
    let with_libraries = scenario("ldso32_with_libraries")["ldso32"].as_str().unwrap();
    assert!(with_libraries.contains("-ld32") && with_libraries.ends_with("/ld.so"), "{with_libraries}");
}

#[test]
fn nothing_is_there_that_is_not_enabled() {
    let disabled = scenario("disabled");
    for nothing in ["packages", "links", "libraries", "failed"] {
        assert_eq!(disabled[nothing], json!([]), "{nothing}");
    }
    assert_eq!(disabled["files"], json!({}));
    assert_eq!(disabled["system"], json!({"service": {}, "timer": {}}));
    assert_eq!(disabled["user"], json!({"service": {}, "socket": {}, "timer": {}}));
}

#[test]
fn command_and_libraries_are_installed_when_it_is_enabled() {
    let enabled = scenario("enabled");
    assert_eq!(enabled["packages"], json!([PACKAGE, "sonde-libraries-0"]));
    assert_eq!(enabled["links"], json!(["/share/nix-ld"]), "where nix-ld's are");
}

#[test]
fn the_session_has_nix_lds_variables_unless_they_are_set_otherwise() {
    let loader = format!("{INSTALLED}/ld.so");
    let variables = json!({"NIX_LD": loader, "NIX_LD_LIBRARY_PATH": INSTALLED});
    assert_eq!(scenario("enabled")["variables"], variables);
    assert_eq!(scenario("own_variable")["variables"]["NIX_LD_LIBRARY_PATH"], "/own");
    assert_eq!(scenario("disabled")["variables"], json!({}));
}

#[test]
fn the_libraries_are_those_of_nix_ld_and_what_is_added() {
    // nixos/modules/programs/nix-ld.nix, nixpkgs.
    let of_nix_ld =
        "acl attr bzip2 curl libsodium libssh libxml2 openssl gcc systemd util-linux xz zlib zstd";
    let names = |name: &str| -> Vec<String> {
        texts(&scenario(name)["libraries"])
            .iter()
            .map(|name| name.trim_end_matches("-0").to_owned())
            .collect()
    };
    assert_eq!(names("enabled").join(" "), of_nix_ld);
    let mut more = names("configured");
    more.retain(|name| name != "patchelf");
    assert_eq!((more.join(" "), names("configured").len()), (of_nix_ld.to_owned(), 15));
}

#[test]
fn the_loader_option_is_compiled_into_the_package_and_configured() {
    for (name, loader) in [("enabled", LOADER), ("other_loader", "/nix/store/another/lib/ld.so")] {
        assert_eq!(scenario(name)["loaders"], json!([loader]));
        let config: toml::Table = file(name, "sonde/config.toml").parse().unwrap();
        assert_eq!(config["libraries"]["loader"].as_str(), Some(loader));
    }
}

#[test]
fn options_become_the_configuration() {
    let config: toml::Table = file("configured", "sonde/config.toml").parse().unwrap();
    let expected = format!(
        "[engine]\nkind = 'ptrace'\n[store]\noffline = true\nmax-download-size = '500 MiB'\n[libraries]\n\
         loader = '{LOADER}'\npaths = ['{INSTALLED}', '{SEEDS}']\n[drivers]\n\
         folders = ['/run/opengl-driver/lib', '/usr/lib/wsl/lib']"
    );
    assert_eq!(config, expected.parse::<toml::Table>().unwrap());
    let config: toml::Table = file("enabled", "sonde/config.toml").parse().unwrap();
    assert_eq!(config["engine"]["kind"].as_str(), Some("auto"));
    assert_eq!(config["store"]["offline"].as_bool(), Some(false));
    assert_eq!(config["drivers"]["folders"], toml::Value::from(vec!["/run/opengl-driver/lib"]));
}

#[test]
fn the_policy_is_one_that_sonde_takes() {
    assert_eq!(scenario("enabled")["files"]["sonde/policy.toml"], Value::Null);
    let check = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        run(Command::new(env!("CARGO_BIN_EXE_sonde")).args(["policy", "check"]).arg(file.path()))
    };
    let policy = file("configured", "sonde/policy.toml");
    let table: toml::Table = policy.parse().unwrap();
    assert_eq!((table["version"].as_integer(), table["default"].as_str()), (Some(1), Some("deny")));
    assert!(check(policy).succeeded(), "{}", check(policy));
    let mistaken = check(file("policy_with_a_mistake", "sonde/policy.toml"));
    assert!(!mistaken.succeeded() && mistaken.stdout.contains("unknown key `defalt`"), "{mistaken}");
}

#[test]
fn the_index_comes_from_where_it_is_said_to() {
    let command = |name: &str| {
        let service = &scenario(name)["system"]["service"]["sonde-index-update"];
        service["serviceConfig"]["ExecStart"].as_str().unwrap().split_once(' ').unwrap().1
    };
    assert_eq!(command("enabled"), "index update --system");
    assert_eq!(command("index_of_an_address"), "index update https://example.org/index --system");
    let file = "/nix/store/00000000000000000000000000000000-index/files";
    assert_eq!(command("index_of_a_file"), format!("index import {file} --system"));
    let timer = |name: &str| &scenario(name)["system"]["timer"]["sonde-index-update"]["timerConfig"];
    assert_eq!(timer("index_of_an_address")["OnCalendar"], "daily");
    assert_eq!(*timer("configured"), Value::Null, "offline nothing is fetched");
}

#[test]
fn what_is_kept_of_programs_that_are_not_run_is_removed_every_week() {
    let user = |name: &str, kind: &str| scenario(name)["user"][kind]["sonde-gc"].clone();
    for (name, age) in [("enabled", "30d"), ("gc_of_its_own", "2w")] {
        let service = user(name, "service");
        let command = service["serviceConfig"]["ExecStart"].as_str().unwrap();
        assert!(command.ends_with(&format!("/bin/sonde plans gc --older-than {age}")), "{command}");
        assert_eq!(user(name, "timer")["timerConfig"]["OnCalendar"], "weekly");
    }
    assert_eq!(user("no_gc", "timer"), Value::Null);
}

#[test]
fn the_supervisor_is_started_again_and_systemd_holds_its_trees() {
    let unit = &scenario("enabled")["user"]["service"]["sonde"];
    let service = &unit["serviceConfig"];
    assert!(service["FileDescriptorStoreMax"].as_u64() >= Some(1000), "{service}");
    assert_eq!((&service["NotifyAccess"], &service["OOMPolicy"]), (&json!("main"), &json!("continue")));
    // Left by itself it has nothing to do; `always` would start it in vain.
    assert_eq!(service["Restart"], "on-failure");
    assert!(service["RestartForceExitStatus"].as_str().unwrap().contains("SIGTERM"), "{service}");
    assert_eq!((&unit["restartIfChanged"], &unit["stopIfChanged"]), (&json!(false), &json!(false)));
}

#[test]
fn systemd_takes_the_units() {
    let verifies = Command::new("systemd-analyze").arg("--version").output();
    if verifies.is_err() {
        println!("skipped: there is no systemd-analyze here to ask (Debian's package systemd has it)");
        return;
    }
    for (name, manager) in [("enabled", "system"), ("enabled", "user"), ("index_of_a_file", "system")] {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (kind, units) in scenario(name)[manager].as_object().unwrap() {
            for (unit, content) in units.as_object().unwrap() {
                let file = folder.path().join(format!("{unit}.{kind}"));
                fs::write(&file, unit_text(kind, content)).unwrap();
                files.push(file);
            }
        }
        assert!(files.len() >= 2, "{files:?}");
        let mut verify = Command::new("systemd-analyze");
        verify.args([&format!("--{manager}"), "verify"]).args(&files);
        let outcome = run(verify.env("XDG_RUNTIME_DIR", folder.path()));
        // It is silent about what is right; what it says of the machine's own units is none of ours.
        let about_ours = |line: &&str| line.contains("sonde");
        let complaints: Vec<&str> = outcome.stderr.lines().filter(about_ours).collect();
        assert!(outcome.succeeded() && complaints.is_empty(), "{complaints:?}\n{outcome}");
    }
}

/// As NixOS writes it (nixos/lib/systemd-lib.nix), with the `sonde` that is tested.
fn unit_text(kind: &str, unit: &Value) -> String {
    let mut text = String::from("[Unit]\n");
    let mut line = |key: &str, value: &Value| match value {
        Value::Array(values) => text.push_str(&format!("{key}={}\n", texts(&json!(values)).join(" "))),
        Value::Bool(value) => text.push_str(&format!("{key}={value}\n")),
        Value::String(value) => text.push_str(&format!("{key}={value}\n")),
        _ => {}
    };
    for (key, name) in
        [("Description", "description"), ("After", "after"), ("Wants", "wants"), ("Requires", "requires")]
    {
        line(key, &unit[name]);
    }
    let section = format!("{}{}", kind[..1].to_uppercase(), &kind[1..]);
    let mut body = String::new();
    for (key, value) in unit[format!("{kind}Config")].as_object().unwrap() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        body.push_str(&format!("{key}={value}\n"));
    }
    let sonde = "/nix/store/00000000000000000000000000000000-";
    let sonde = format!("{sonde}{PACKAGE}/bin/sonde");
    text.push_str(&format!("[{section}]\n{}", body.replace(&sonde, env!("CARGO_BIN_EXE_sonde"))));
    if unit["wantedBy"].is_array() {
        text.push_str(&format!("[Install]\nWantedBy={}\n", texts(&unit["wantedBy"]).join(" ")));
    }
    text
}

#[test]
fn sonde_takes_the_commands_of_the_units() {
    let services = ["enabled", "index_of_a_file", "index_of_an_address", "gc_of_its_own"].map(|name| {
        let scenario = scenario(name);
        [&scenario["system"]["service"], &scenario["user"]["service"]]
    });
    let services = services.iter().flatten().flat_map(|services| services.as_object().unwrap().values());
    let mut count = 0;
    for service in services {
        let command = service["serviceConfig"]["ExecStart"].as_str().unwrap();
        let arguments = command.split_whitespace().skip(1);
        let outcome = run(Command::new(env!("CARGO_BIN_EXE_sonde")).args(arguments).arg("--help"));
        assert!(outcome.succeeded(), "{command}: {outcome}");
        count += 1;
    }
    assert_eq!(count, 12);
}

#[test]
fn home_manager_has_the_users_part() {
    let home = scenario("home");
    assert_eq!(home["disabled"], json!({"packages": [], "files": {}, "services": {}, "timers": {}}));
    let enabled = &home["enabled"];
    assert_eq!((&enabled["packages"], &enabled["files"]), (&json!([PACKAGE]), &json!({})));
    let command = enabled["services"]["sonde-index-update"]["Service"]["ExecStart"].as_str().unwrap();
    assert!(command.ends_with("/bin/sonde index update"), "{command}");
    let command = enabled["services"]["sonde-gc"]["Service"]["ExecStart"].as_str().unwrap();
    assert!(command.ends_with("/bin/sonde plans gc --older-than 30d"), "{command}");
    assert_eq!(enabled["timers"]["sonde-index-update"]["Install"]["WantedBy"], json!(["timers.target"]));
    let configured = &home["configured"];
    assert_eq!(configured["timers"], json!({}));
    let policy: toml::Table = configured["files"]["sonde/policy.toml"].as_str().unwrap().parse().unwrap();
    assert_eq!(policy["dlopen"].as_str(), Some("realised-only"));
    let config: toml::Table = configured["files"]["sonde/config.toml"].as_str().unwrap().parse().unwrap();
    assert_eq!(config["engine"]["kind"].as_str(), Some("seccomp"));
}

#[test]
fn beside_nix_ld_it_is_refused_with_what_to_do() {
    let refused = scenario("beside_nix_ld");
    // Two definitions of one priority: without the assertion, the module system would only say "conflict".
    assert_eq!(refused["ldso"], false);
    let failed: Vec<&str> =
        refused["failed"].as_array().unwrap().iter().map(|message| message.as_str().unwrap()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    for words in [
        "programs.nix-ld.enable = false",
        "programs.sonde.enable = false",
        "programs.sonde.libraries",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        assert!(failed[0].contains(words), "{words} is not said in: {}", failed[0]);
    }

    let alone = scenario("disabled_beside_nix_ld");
    assert_eq!(alone["ldso"], "/nix-ld");
    assert_eq!(alone["failed"], json!([]));
}

#[test]
fn mistakes_in_a_configuration_are_errors() {
    for (mistake, outcome) in scenario("mistakes").as_object().unwrap() {
        assert_eq!(*outcome, Value::Bool(mistake == "none"), "{mistake}");
    }
}

#[test]
fn flake_overlay_and_default_nix_give_the_package_of_this_version() {
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
    let outputs = ["checks", "devShells", "formatter", "homeModules", "nixosModules", "overlays", "packages"];
    assert_eq!(flake["outputs"], json!(outputs));
    assert_eq!(flake["modules"], json!([true, true]));
    assert_eq!(flake["shell"], json!([PACKAGE]));
    for output in ["checks", "devShells", "formatter", "homeModules", "nixosModules", "overlays", "sonde"] {
        assert!(texts(&flake["plain"]).contains(&output), "default.nix has no {output}");
    }
}

#[test]
fn the_machines_of_the_tests_have_the_module() {
    let flake = scenario("flake");
    let machines: Vec<(&String, &Value)> = flake["machines"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, nodes)| nodes["machine"] != Value::Null)
        .collect();
    assert!(machines.len() >= 6, "{machines:?}");
    for (name, nodes) in machines {
        let expected = if name.starts_with("disabled") { "/stub-ld" } else { SHIM };
        assert_eq!(nodes["machine"], expected, "{name}");
    }
    assert_eq!(flake["scripts"], true);
    assert!(flake["messages"].as_str().unwrap().contains("programs.nix-ld.enable = false"));
    // Each file is a scenario that is listed, but for what they share.
    let listed = texts(&flake["checks"]);
    for entry in fs::read_dir(root().join("nixos-module/tests")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let shared = ["default.nix", "foreign-program.nix", "evaluation"].contains(&&*name);
        assert!(shared || listed.contains(&name.trim_end_matches(".nix")), "{name} is not in default.nix");
    }
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
