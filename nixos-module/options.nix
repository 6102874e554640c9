# The options that the NixOS module and the home-manager module have in common.
{ lib, pkgs, files }:

let
  inherit (lib) mkOption types;
in
{
  package = mkOption {
    type = types.package;
    default = pkgs.callPackage ./package.nix { };
    defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
    description = "Sonde's package. It must have come from `callPackage`, since a module may override it.";
  };

  index = {
    source = mkOption {
      type = types.nullOr (types.either types.path types.str);
      default = null;
      example = "https://example.org/index-x86_64-linux";
      description = ''
        Where the nix-index database comes from: an address, or a file, such as one of the packages of
        nix-index-database. By default it is what the nix-index-database project publishes.
      '';
    };

    update = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether to fetch the index soon after the start, and from then on regularly.";
      };
      interval = mkOption {
        type = types.str;
        default = "weekly";
        description = "How often, in the form of {manpage}`systemd.time(7)`.";
      };
    };
  };

  gc = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to remove, once a week, what is kept of each user's programs that are gone or were not run for long.";
    };
    age = mkOption {
      type = types.str;
      default = "30d";
      description = "How long that is, such as `30d`, `2w` or `12h`.";
    };
  };

  policy = mkOption {
    inherit (files) type;
    default = { };
    example = lib.literalExpression ''
      {
        default = "deny";
        package = [ { rule = "allow"; attribute = "zlib"; } ];
      }
    '';
    description = ''
      Which packages may be provided to which programs: the content of `policy.toml`. `version` and `default = "allow"`
      are added if they are not there. It is checked when the system is built. Without any rule no file is written.
    '';
  };

  settings = mkOption {
    inherit (files) type;
    default = { };
    example = lib.literalExpression ''{ store.max-download-size = "500 MiB"; }'';
    description = "The content of `config.toml`.";
  };
}
