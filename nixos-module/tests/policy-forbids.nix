# The policy of the configuration is the machine's ceiling.
{ pkgs }:

{
  name = "sonde-policy-forbids";
  nodes.machine = {
    imports = [ ../. ];
    programs.sonde.enable = true;
    programs.sonde.policy.default = "deny";
  };
  testScript = ''
    machine.wait_for_unit("multi-user.target")
    machine.succeed("sonde policy check")
    machine.succeed("grep 'default = \"deny\"' /etc/sonde/policy.toml")
  '';
}
