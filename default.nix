# Sonde for those who do not use flakes: `nix-build`, or `import ./. { inherit pkgs; }`.
{
  pkgs ? import <nixpkgs> { },
}:

pkgs.callPackage ./nixos-module/package.nix { }
