# The files that Sonde reads (docs/policy.md, docs/stores.md), made from attribute sets: for the NixOS module, which puts
# them into /etc/sonde, and the home-manager module, which puts them into ~/.config/sonde.
{
  lib,
  pkgs,
  package,
}:

let
  toml = pkgs.formats.toml { };
in
{
  inherit (toml) type;

  config = settings: toml.generate "sonde-config.toml" settings;

  # A policy with a mistake fails the build, not the programs: one that cannot be read refuses everything.
  policy =
    rules:
    let
      source = toml.generate "sonde-policy-unchecked.toml" (
        {
          version = 1;
          default = "allow";
        }
        // rules
      );
    in
    pkgs.runCommand "sonde-policy.toml" { inherit source; } ''
      ${lib.getExe package} policy check "$source"
      cp "$source" "$out"
    '';

  # `sonde index` for a source that a module's option names: nothing (the published database), an address, or a file.
  fetch =
    source: options:
    let
      command = if lib.hasPrefix "/" "${source}" then "import" else "update";
      arguments = if source == null then [ "update" ] else [ command "${source}" ];
    in
    lib.escapeShellArgs ([ (lib.getExe package) "index" ] ++ arguments ++ options);

  # Removes what is kept of programs that were not run for this long.
  collect =
    age:
    lib.escapeShellArgs [
      (lib.getExe package)
      "plans"
      "gc"
      "--older-than"
      age
    ];
}
