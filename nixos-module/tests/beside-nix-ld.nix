# Both at once: the system is not built, and it is said what to do.
{ pkgs }:

let
  system = pkgs.nixos {
    imports = [ ../. ];
    programs.sonde.enable = true;
    programs.nix-ld.enable = true;
    environment.ldso = pkgs.lib.mkForce "/both";
  };
  failed = builtins.filter (one: !one.assertion) system.config.assertions;
  messages = builtins.concatStringsSep "\n" (map (one: one.message) failed);
in
pkgs.runCommand "sonde-beside-nix-ld" { inherit messages; } ''
  grep --quiet 'programs.nix-ld.enable = false' <<< "$messages"
  touch "$out"
''
