# programs.sonde: the shim stands where foreign programs look for their loader, and everybody has the command `sonde`.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.programs.sonde;
  nix-ld = config.programs.nix-ld or { };
  package = cfg.package.override { inherit (cfg) loader; };
in
{
  options.programs.sonde = {
    enable = lib.mkEnableOption "Sonde, which runs foreign ELF programs by providing missing shared libraries on demand";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = ''
        Sonde's package. It is overridden with {option}`programs.sonde.loader`, so it must have come from `callPackage`.
      '';
    };

    loader = lib.mkOption {
      type = lib.types.path;
      default = pkgs.stdenv.cc.bintools.dynamicLinker;
      defaultText = lib.literalExpression "pkgs.stdenv.cc.bintools.dynamicLinker";
      description = ''
        The glibc loader under which a foreign program is run when Sonde cannot serve it, and a setuid program always.
        Where Sonde serves, the loader is chosen for each program. The environment variables `NIX_LD_x86_64_linux` and
        `NIX_LD` replace this one, except for setuid programs.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !(nix-ld.enable or false) && !(nix-ld.dev.enable or false);
        message = ''
          programs.sonde and programs.nix-ld both put themselves at /lib64/ld-linux-x86-64.so.2, and only one can.
          Set programs.nix-ld.enable = false (programs.nix-ld.dev.enable, if you import nix-ld's own module) to use
          Sonde, which finds the libraries of programs.nix-ld.libraries in its index; or set programs.sonde.enable = false.
        '';
      }
    ];

    # At normal priority, so that the default of environment.stub-ld yields. environment.ldso32 is left to stub-ld:
    # there is no shim for 32-bit programs.
    environment.ldso = "${package}/libexec/sonde/sonde-interp";
    environment.systemPackages = [ package ];
  };
}
