{
  description = "Runs foreign ELF programs on NixOS by providing missing shared libraries on demand";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      # The only one that there is a shim for.
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};
      sonde = import ./default.nix { inherit pkgs; };
    in
    {
      packages.${system} = {
        inherit sonde;
        default = sonde;
      };

      overlays.default = final: _previous: {
        sonde = final.callPackage ./nixos-module/package.nix { };
      };

      nixosModules.default = ./nixos-module;

      checks.${system} = {
        package = sonde;

        # What the module puts at /lib64 in a real NixOS configuration is the shim, and it starts.
        module =
          let
            nixos = nixpkgs.lib.nixosSystem {
              modules = [
                self.nixosModules.default
                {
                  nixpkgs.hostPlatform = system;
                  programs.sonde.enable = true;
                }
              ];
            };
          in
          pkgs.runCommand "sonde-module" { shim = nixos.config.environment.ldso; } ''
            "$shim" --version | tee $out
            grep --quiet '^sonde-interp ' $out
          '';
      };

      devShells.${system}.default = pkgs.mkShell {
        inputsFrom = [ sonde ];
        packages = with pkgs; [
          cargo-deny
          clippy
          rustfmt
          strace
        ];
      };

      formatter.${system} = pkgs.nixfmt-tree;
    };
}
