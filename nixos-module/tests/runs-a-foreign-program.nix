# The module is enabled, and nothing else is done: a foreign program runs as a user, without an index and offline.
{ pkgs }:

{
  name = "sonde-runs-a-foreign-program";
  nodes.machine = {
    imports = [ ../. ];
    programs.sonde.enable = true;
    programs.sonde.offline = true;
    users.users.alice.isNormalUser = true;
  };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    program = "${import ./foreign-program.nix { inherit pkgs; }}/bin/foreign-program"
    assert "zlib " in machine.succeed(program)
    assert "zlib " in machine.succeed(f"su alice -c {program}")
    machine.succeed("/lib64/ld-linux-x86-64.so.2 --version")
    machine.succeed("sonde --version")
  '';
}
