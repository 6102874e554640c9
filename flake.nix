{
  description = "Runs foreign ELF programs on NixOS by providing missing shared libraries on demand";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      # The only one that there is a shim for.
      system = "x86_64-linux";
      outputs = import ./default.nix { pkgs = nixpkgs.legacyPackages.${system}; };
    in
    {
      inherit (outputs) nixosModules homeModules overlays;

      packages.${system} = {
        inherit (outputs) sonde;
        default = outputs.sonde;
      };
      checks.${system} = outputs.checks;
      devShells.${system} = outputs.devShells;
      formatter.${system} = outputs.formatter;
    };
}
