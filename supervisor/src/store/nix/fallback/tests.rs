//! The fallback against the machine's own Nix, in a store of its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::Limits;

/// A `NixStore` whose commands are the real ones, in a mount namespace with a `/nix` of its own, where nixpkgs has zlib
/// alone.
struct Private {
    base: tempfile::TempDir,
    store: NixStore,
}

const NIXPKGS: &str = r#"{ ... }: {
  zlib = derivation {
    name = "zlib-1.3.1"; system = "x86_64-linux"; outputs = [ "out" "dev" ];
    builder = "/bin/sh"; args = [ "-c" "echo library > $out; echo header > $dev; :" ];
  };
  broken = derivation { name = "broken"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "exit 1" ]; };
}"#;

const FLAKE: &str = "{ outputs = _: { packages.x86_64-linux = import ./. { }; }; }";

impl Private {
    /// `None`, with a word about it, where that cannot be made.
    fn new() -> Option<Self> {
        let real = Path::new("/usr/bin");
        if !real.join("nix-build").exists()
            || !nix::unistd::geteuid().is_root()
            || !Path::new("/nix").exists()
        {
            // Not through println!, which a test that succeeds keeps to itself.
            let _ = writeln!(std::io::stderr(), "skipped: needs root, /nix and /usr/bin/nix-build (1 test)");
            return None;
        }
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for folder in ["bin", "conf", "nixpkgs", "home", "nix"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("nixpkgs/default.nix"), NIXPKGS).unwrap();
        fs::write(at("nixpkgs/flake.nix"), FLAKE).unwrap();
        fs::write(at("conf/nix.conf"), "build-users-group =\nsandbox = false\nsubstituters =\n").unwrap();
        for name in ["nix-store", "nix-build", "nix"] {
            let script = format!(
                "#!/bin/sh\nexport NIX_CONF_DIR={base}/conf NIX_PATH=nixpkgs={base}/nixpkgs HOME={base}/home NIX_REMOTE=\n\
                 exec unshare -m sh -c 'mount --bind \"$0\" /nix && exec \"$@\"' {base}/nix {real} \"$@\"\n",
                base = base.path().display(),
                real = real.join(name).display(),
            );
            fs::write(at("bin").join(name), script).unwrap();
            fs::set_permissions(at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let store = NixStore::new(Some(at("bin/nix-store")), Limits::default(), None);
        Some(Self { base, store })
    }

    fn root(&self, name: &str) -> std::path::PathBuf {
        self.base.path().join(name)
    }

    fn build(&self, attribute: &str, output: &str) -> Result<Option<StorePath>, String> {
        self.store.build(attribute, output, &self.root("root")).map_err(|error| error.to_string())
    }

    fn read(&self, path: &StorePath) -> String {
        fs::read_to_string(self.root(path.as_str().trim_start_matches('/'))).unwrap()
    }
}

#[test]
fn an_output_is_built_from_nixpkgs_or_a_flake_and_rooted() {
    let Some(mut private) = Private::new() else { return };
    assert_eq!(private.build("zlib", "out"), Ok(None), "it is off unless configured");
    let flake = Fallback::parse(&format!("path:{}", private.root("nixpkgs").display())).unwrap();
    for fallback in [Fallback::Nixpkgs, flake] {
        private.store.fallback = Some(fallback);
        for (output, content, link) in [("out", "library\n", "root"), ("dev", "header\n", "root-dev")] {
            let built = private.build("zlib", output).unwrap().unwrap();
            assert_eq!(private.read(&built), content);
            assert_eq!(fs::read_link(private.root(link)).unwrap(), Path::new(built.as_str()));
            fs::remove_file(private.root(link)).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_built_is_said_in_nixs_words() {
    let Some(mut private) = Private::new() else { return };
    private.store.fallback = Some(Fallback::Nixpkgs);
    let broken = private.build("broken", "out").unwrap_err();
    assert!(broken.starts_with("nix-build: builder for '/nix/store/"), "{broken}");
    let unknown = private.build("nothing", "out").unwrap_err();
    assert!(unknown.starts_with("nix-build: attribute 'nothing'"), "{unknown}");
    private.store.limits.max_download = Some(0);
    private.build("zlib", "out").unwrap();
    private.store.limits.offline = true;
    let offline = private.build("zlib", "dev").unwrap_err();
    assert!(offline.starts_with("offline: zlib.dev is not in the store"), "{offline}");
}

#[test]
fn what_is_no_attribute_reaches_no_command() {
    let store = NixStore::new(Some("/no/such/nix-store".into()), Limits::default(), Some(Fallback::Nixpkgs));
    for (attribute, output) in
        [("(steam-run", "out"), ("--help", "out"), ("a..b", "out"), ("", "out"), ("a b", "out"), ("a", "o.p")]
    {
        let error = store.build(attribute, output, Path::new("/r")).unwrap_err().to_string();
        assert!(error.contains("not an attribute of nixpkgs"), "{error}");
    }
    let error = store.build("xorg.libX11", "out", Path::new("/r")).unwrap_err().to_string();
    assert!(error.starts_with("/no/such/nix-build: "), "{error}");
}

#[test]
fn what_stands_in_a_configuration_is_understood() {
    assert_eq!(Fallback::parse("nixpkgs"), Some(Fallback::Nixpkgs));
    for flake in ["github:NixOS/nixpkgs/nixos-25.05", "path:/srv/nixpkgs", "/srv/nixpkgs", "flake:nixpkgs"] {
        assert_eq!(Fallback::parse(flake), Some(Fallback::Flake(flake.to_owned())));
    }
    for wrong in ["", "true", "--help", "github:NixOS/nixpkgs#zlib", "github:a/b c"] {
        assert_eq!(Fallback::parse(wrong), None, "{wrong}");
    }
}
