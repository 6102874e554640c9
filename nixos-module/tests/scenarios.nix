# Configurations, and what becomes of them; tests/nixos_module.rs says what it should be.
let
  inherit (import ./stand-in.nix) evaluate nixpkgs pkgs;

  # A value, or false where it cannot be had.
  try = value: (builtins.tryEval (builtins.deepSeq value value)).value;

  outcome =
    configuration:
    let
      config = evaluate [
        ../default.nix
        configuration
      ];
    in
    {
      ldso = try config.environment.ldso;
      ldso32 = try config.environment.ldso32;
      packages = map (package: package.name) config.environment.systemPackages;
      loaders = map (package: package.env.SONDE_DEFAULT_LOADER) config.environment.systemPackages;
      failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
    };

  flake = (import ../../flake.nix).outputs {
    self = flake;
    inherit nixpkgs;
  };
  inherit (flake.packages.x86_64-linux) default;
in
{
  absent = (evaluate [ ]).environment.ldso;
  disabled = outcome { };
  enabled = outcome { programs.sonde.enable = true; };
  without_stub = outcome {
    programs.sonde.enable = true;
    environment.stub-ld.enable = false;
  };
  other_loader = outcome {
    programs.sonde.enable = true;
    programs.sonde.loader = "/nix/store/another/lib/ld.so";
  };
  beside_nix_ld = outcome {
    programs.sonde.enable = true;
    programs.nix-ld.enable = true;
  };
  disabled_beside_nix_ld = outcome { programs.nix-ld.enable = true; };
  relative_loader = try (outcome {
    programs.sonde.enable = true;
    programs.sonde.loader = "ld.so";
  });
  no_such_option = try (outcome { programs.sonde.enabled = true; });

  package = {
    inherit (default) name;
    inherit (default.env) SONDE_DEFAULT_LOADER;
    supervisor_is_its_own = default.env.SONDE_DEFAULT_SUPERVISOR == "${placeholder "out"}/bin/sonde";
    by_default_nix = (import ../../default.nix { inherit pkgs; }).name;
    by_overlay = (flake.overlays.default pkgs pkgs).sonde.name;
  };
  flake = {
    outputs = builtins.attrNames flake;
    # As a configuration that has the flake's module would have it.
    checked_shim = flake.checks.x86_64-linux.module.shim;
    formatter = flake.formatter.x86_64-linux.name;
    shell = map (package: package.name) flake.devShells.x86_64-linux.default.inputsFrom;
  };
}
