# Imported and not enabled: foreign programs meet what NixOS has for them, and nothing of Sonde is there.
{ pkgs }:

{
  name = "sonde-disabled-leaves-the-stub";
  nodes.machine.imports = [ ../. ];
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    status, output = machine.execute("${import ./foreign-program.nix { inherit pkgs; }}/bin/foreign-program 2>&1")
    assert status == 127 and "stub-ld" in output, output
    machine.fail("type sonde")
    machine.fail("test -e /etc/sonde")
  '';
}
