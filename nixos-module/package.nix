# Sonde in one output: the supervisor at bin/sonde and the shim at libexec/sonde/sonde-interp. They are built together
# because each has the other's place: the shim has it compiled in, the supervisor looks beside itself.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  libseccomp,
  # What the shim runs a program under when there is no supervisor, and a setuid program always.
  loader ? stdenv.cc.bintools.dynamicLinker,
}:

let
  manifest = lib.importTOML ../Cargo.toml;
  inherit (lib) fileset;
  # What cargo leaves behind in a working copy.
  leftovers = map fileset.maybeMissing [
    ../interp/target
    ../tests/world/target
    ../tests/world/index-writer/target
  ];
in
rustPlatform.buildRustPackage {
  pname = "sonde";
  inherit (manifest.workspace.package) version;

  src = fileset.toSource {
    root = ../.;
    # The tests are not run, but the manifests name them.
    fileset = fileset.difference (fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../interp
      ../policy
      ../resolve
      ../supervisor
      ../tests
    ]) (fileset.unions leftovers);
  };

  # The shim has a lock of its own, of which this one knows every entry (tests/nixos_module.rs).
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];
  buildInputs = [ libseccomp ];

  env = {
    SONDE_DEFAULT_SUPERVISOR = "${placeholder "out"}/bin/sonde";
    SONDE_DEFAULT_LOADER = loader;
  };

  cargoBuildFlags = [
    "--package"
    "sonde"
  ];
  # cargo-auditable links an object into everything that is built; the shim is linked with nothing.
  auditable = false;

  postBuild = ''
    cargo build --release --offline --locked --manifest-path interp/Cargo.toml --bin sonde-interp \
      --target x86_64-unknown-linux-gnu --target-dir target/shim
  '';

  postInstall = ''
    install -D -m 755 target/shim/x86_64-unknown-linux-gnu/release/sonde-interp -t $out/libexec/sonde
  ''
  # Both are printed by the command itself, which must run for that.
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/sonde man man
    installManPage man/*.1
    installShellCompletion --cmd sonde \
      --bash <($out/bin/sonde completions bash) \
      --fish <($out/bin/sonde completions fish) \
      --zsh <($out/bin/sonde completions zsh)
    # Where installShellCompletion of newer nixpkgs puts them, too.
    mkdir -p $out/share/nushell/vendor/autoload $out/share/elvish/lib
    $out/bin/sonde completions nushell > $out/share/nushell/vendor/autoload/sonde.nu
    $out/bin/sonde completions elvish > $out/share/elvish/lib/sonde.elv
  '';

  # `make test` tests what is built, in a world that is not to be had in a sandbox.
  doCheck = false;

  meta = {
    inherit ((lib.importTOML ../supervisor/Cargo.toml).package) description;
    homepage = manifest.workspace.package.repository;
    license = lib.licenses.mit;
    mainProgram = "sonde";
    platforms = [ "x86_64-linux" ];
  };
}
