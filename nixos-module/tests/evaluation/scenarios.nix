# Configurations, and what becomes of them; tests/nixos_module.rs says what it should be.
let
  inherit (import ./stand-in.nix)
    evaluate
    evaluateHome
    nixpkgs
    pkgs
    ;

  # A value, or false where it cannot be had.
  try = value: (builtins.tryEval (builtins.deepSeq value value)).value;

  # What is written to files: of a checked one, what is checked.
  texts = builtins.mapAttrs (_name: file: file.source.text or file.source.source.text);

  outcome =
    configuration:
    let
      config = evaluate [
        ../..
        configuration
      ];
      isSonde = package: package.pname == "sonde";
    in
    {
      ldso = try config.environment.ldso;
      ldso32 = try config.environment.ldso32;
      packages = map (package: package.name) config.environment.systemPackages;
      loaders = map (package: package.env.SONDE_DEFAULT_LOADER) (
        builtins.filter isSonde config.environment.systemPackages
      );
      links = config.environment.pathsToLink;
      variables = config.environment.sessionVariables;
      failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
      files = texts config.environment.etc;
      system = {
        service = config.systemd.services;
        timer = config.systemd.timers;
      };
      user = {
        service = config.systemd.user.services;
        socket = config.systemd.user.sockets;
        timer = config.systemd.user.timers;
      };
      libraries = map (package: package.name) config.programs.sonde.libraries;
    };

  enabled = others: outcome { programs.sonde = { enable = true; } // others; };

  home =
    configuration:
    let
      config = evaluateHome [
        ../../home-manager.nix
        configuration
      ];
    in
    {
      packages = map (package: package.name) config.home.packages;
      files = texts config.xdg.configFile;
      inherit (config.systemd.user) services timers;
    };

  flake = (import ../../../flake.nix).outputs {
    self = flake;
    inherit nixpkgs;
  };
  plain = import ../../../default.nix { inherit pkgs; };
  inherit (flake.packages.x86_64-linux) default;
in
{
  absent = (evaluate [ ]).environment.ldso;
  disabled = outcome { };
  enabled = enabled { };
  without_stub = outcome {
    programs.sonde.enable = true;
    environment.stub-ld.enable = false;
  };
  other_loader = enabled { loader = "/nix/store/another/lib/ld.so"; };
  ldso32 = enabled { ldso32.enable = true; };
  ldso32_with_libraries = enabled {
    ldso32.enable = true;
    ldso32.libraries = [ pkgs.zlib ];
  };
  beside_nix_ld = outcome {
    programs.sonde.enable = true;
    programs.nix-ld.enable = true;
  };
  disabled_beside_nix_ld = outcome { programs.nix-ld.enable = true; };
  configured = enabled {
    engine = "ptrace";
    offline = true;
    driverPaths = [ "/usr/lib/wsl/lib" ];
    libraries = [ pkgs.patchelf ];
    settings.store.max-download-size = "500 MiB";
    policy = {
      default = "deny";
      package = [
        {
          rule = "allow";
          attribute = "zlib";
        }
      ];
      limits.offline = true;
    };
  };
  own_variable = outcome {
    programs.sonde.enable = true;
    environment.sessionVariables.NIX_LD_LIBRARY_PATH = "/own";
  };
  drivers = enabled { driverPaths = [ "/usr/lib/wsl/lib" ]; };
  index_of_a_file = enabled { index.source = "/nix/store/00000000000000000000000000000000-index/files"; };
  index_of_an_address = enabled {
    index.source = "https://example.org/index";
    index.update.interval = "daily";
  };
  gc_of_its_own = enabled { gc.age = "2w"; };
  no_gc = enabled { gc.enable = false; };
  policy_with_a_mistake = enabled { policy.defalt = "deny"; };

  mistakes = {
    relative_loader = try (enabled { loader = "ld.so"; });
    no_such_option = try (outcome { programs.sonde.enabled = true; });
    no_such_engine = try (enabled { engine = "diesel"; });
    libraries_by_path = try (enabled { libraries = [ "/usr/lib" ]; });
    index_of_a_number = try (enabled { index.source = 1; });
    # Not a mistake: what finds the others must be able to find none.
    none = try (enabled { engine = "seccomp"; }) != false;
  };

  home = {
    disabled = home { };
    enabled = home { programs.sonde.enable = true; };
    configured = home {
      programs.sonde.enable = true;
      programs.sonde.policy.dlopen = "realised-only";
      programs.sonde.settings.engine.kind = "seccomp";
      programs.sonde.index.update.enable = false;
      programs.sonde.gc.enable = false;
    };
  };

  package = {
    inherit (default) name;
    inherit (default.env) SONDE_DEFAULT_LOADER;
    supervisor_is_its_own = default.env.SONDE_DEFAULT_SUPERVISOR == "${placeholder "out"}/bin/sonde";
    by_default_nix = plain.sonde.name;
    by_overlay = (flake.overlays.default pkgs pkgs).sonde.name;
  };
  flake = {
    outputs = builtins.attrNames flake;
    plain = builtins.attrNames plain;
    modules = map (file: file == ../.. || file == ../../home-manager.nix) [
      flake.nixosModules.default
      flake.homeModules.default
    ];
    checks = builtins.attrNames flake.checks.x86_64-linux;
    # Each machine's module is one that evaluates, and each test has something to do.
    machines = builtins.mapAttrs (
      _name: check: builtins.mapAttrs (_name: config: config.environment.ldso) (check.nodes or { })
    ) flake.checks.x86_64-linux;
    scripts = builtins.all (check: !(check ? nodes) || builtins.isString check.testScript) (
      builtins.attrValues flake.checks.x86_64-linux
    );
    messages = flake.checks.x86_64-linux.beside-nix-ld.messages;
    formatter = flake.formatter.x86_64-linux.name;
    shell = map (package: package.name) flake.devShells.x86_64-linux.default.inputsFrom;
  };
}
