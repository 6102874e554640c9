# nix-ld's variables, as a shell.nix sets them.
{ pkgs }:

let
  program = "${import ./foreign-program.nix { inherit pkgs; }}/bin/foreign-program";
in
{
  name = "sonde-drop-in-for-nix-ld";
  nodes.machine =
    { lib, ... }:
    {
      imports = [ ../. ];
      programs.sonde.enable = true;
      programs.sonde.offline = true;
      programs.sonde.libraries = lib.mkForce [ ];
    };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.fail("${program}")
    variables = "NIX_LD=${pkgs.stdenv.cc.bintools.dynamicLinker} NIX_LD_LIBRARY_PATH=${pkgs.zlib}/lib"
    machine.succeed(f"{variables} ${program} | grep 'zlib '")
    machine.succeed(f"{variables} LD_LIBRARY_PATH=/none ${program} | grep 'zlib '")
  '';
}
