# Nothing depends on the environment: `env -i`, a unit of the system's, cron.
{ pkgs }:

let
  program = "${import ./foreign-program.nix { inherit pkgs; }}/bin/foreign-program";
in
{
  name = "sonde-empty-environment";
  nodes.machine = {
    imports = [ ../. ];
    programs.sonde.enable = true;
    programs.sonde.offline = true;
    users.users.alice.isNormalUser = true;
    services.cron.enable = true;
    services.cron.systemCronJobs = [ "* * * * * alice ${program} > /tmp/by-cron" ];
    systemd.services.foreign = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        DynamicUser = true;
        ExecStart = program;
      };
    };
  };
  testScript = ''
    machine.wait_for_unit("foreign.service")
    machine.succeed("journalctl -u foreign.service | grep 'zlib '")
    machine.succeed("env -i ${program} | grep 'zlib '")
    machine.wait_until_succeeds("grep 'zlib ' /tmp/by-cron", timeout=120)
  '';
}
