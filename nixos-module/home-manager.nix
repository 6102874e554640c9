# programs.sonde for home-manager: the command, a user's policy and settings, and an index of the user's own. Without the
# NixOS module there is no shim, and foreign programs are started with `sonde run`.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.programs.sonde;
  files = import ./files.nix {
    inherit lib pkgs;
    inherit (cfg) package;
  };
in
{
  options.programs.sonde = import ./options.nix { inherit lib pkgs files; } // {
    enable = lib.mkEnableOption "Sonde, which runs foreign ELF programs by providing missing shared libraries on demand";
  };

  config = lib.mkIf cfg.enable {
    home.packages = [ cfg.package ];

    xdg.configFile."sonde/config.toml" = lib.mkIf (cfg.settings != { }) { source = files.config cfg.settings; };
    # It can only narrow the machine's.
    xdg.configFile."sonde/policy.toml" = lib.mkIf (cfg.policy != { }) { source = files.policy cfg.policy; };

    systemd.user.services.sonde-gc = {
      Unit.Description = "Removal of what Sonde keeps of programs that are not run any more";
      Service = {
        Type = "oneshot";
        ExecStart = files.collect cfg.gc.age;
        Nice = 19;
        IOSchedulingClass = "idle";
      };
    };
    systemd.user.timers.sonde-gc = lib.mkIf cfg.gc.enable {
      Unit.Description = "Regular removal of what Sonde keeps of programs that are not run any more";
      Install.WantedBy = [ "timers.target" ];
      Timer = {
        OnCalendar = "weekly";
        RandomizedDelaySec = "1h";
        Persistent = true;
      };
    };

    systemd.user.services.sonde-index-update = {
      Unit.Description = "Update of Sonde's index of which package has which library";
      Service = {
        Type = "oneshot";
        ExecStart = files.fetch cfg.index.source [ ];
      };
    };
    systemd.user.timers.sonde-index-update = lib.mkIf cfg.index.update.enable {
      Unit.Description = "Regular update of Sonde's index";
      Install.WantedBy = [ "timers.target" ];
      Timer = {
        OnActiveSec = "2min";
        OnCalendar = cfg.index.update.interval;
        RandomizedDelaySec = "1h";
        Persistent = true;
      };
    };
  };
}
