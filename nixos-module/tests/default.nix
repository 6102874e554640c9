# NixOS machines with the module, one scenario a file: `nix build .#checks.x86_64-linux.NAME`, or `nix-build -A
# checks.NAME`. They need nixpkgs and KVM. What is in evaluation/ needs neither, and is part of `make test`.
{ pkgs }:

let
  machine = file: pkgs.testers.runNixOSTest (import file { inherit pkgs; });
in
{
  runs-a-foreign-program = machine ./runs-a-foreign-program.nix;
  empty-environment = machine ./empty-environment.nix;
  drop-in-for-nix-ld = machine ./drop-in-for-nix-ld.nix;
  one-supervisor-for-a-user = machine ./one-supervisor-for-a-user.nix;
  trees-outlive-the-supervisor = machine ./trees-outlive-the-supervisor.nix;
  policy-forbids = machine ./policy-forbids.nix;
  policy-with-a-mistake = import ./policy-with-a-mistake.nix { inherit pkgs; };
  beside-nix-ld = import ./beside-nix-ld.nix { inherit pkgs; };
  disabled-leaves-the-stub = machine ./disabled-leaves-the-stub.nix;
}
