# The socket unit starts one supervisor for all programs of a session, and none before the first of them.
{ pkgs }:

let
  program = "${import ./foreign-program.nix { inherit pkgs; }}/bin/foreign-program";
in
{
  name = "sonde-one-supervisor-for-a-user";
  nodes.machine = {
    imports = [ ../. ];
    programs.sonde.enable = true;
    programs.sonde.offline = true;
    users.users.alice = {
      isNormalUser = true;
      linger = true;
      uid = 1000;
    };
  };
  testScript = ''
    machine.wait_for_unit("sonde.socket", "alice")
    machine.fail("systemctl --user -M alice@ is-active sonde.service")
    machine.succeed("su - alice -c 'XDG_RUNTIME_DIR=/run/user/1000 ${program}'")
    machine.wait_for_unit("sonde.service", "alice")
  '';
}
