# All that the flake has, for those who do not use flakes: `nix-build -A sonde`, or `(import ./. { inherit pkgs; }).sonde`.
{
  pkgs ? import <nixpkgs> { },
}:

rec {
  sonde = pkgs.callPackage ./nixos-module/package.nix { };

  nixosModules.default = ./nixos-module;
  homeModules.default = ./nixos-module/home-manager.nix;

  overlays.default = final: _previous: {
    sonde = final.callPackage ./nixos-module/package.nix { };
  };

  # The package, and NixOS machines with the module; see nixos-module/tests.
  checks = {
    package = sonde;
  }
  // import ./nixos-module/tests { inherit pkgs; };

  devShells.default = pkgs.mkShell {
    inputsFrom = [ sonde ];
    packages = with pkgs; [
      cargo-deny
      clippy
      rustfmt
      strace
    ];
  };

  formatter = pkgs.nixfmt-tree;
}
