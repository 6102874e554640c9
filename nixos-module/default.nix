# programs.sonde: the shim stands where foreign programs look for their loader, and everybody has the command `sonde`.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.programs.sonde;
  nix-ld = config.programs.nix-ld or { };
  package = cfg.package.override { inherit (cfg) loader; };
  files = import ./files.nix { inherit lib pkgs package; };
  common = import ./options.nix { inherit lib pkgs files; };

  # Where nix-ld has its own, so that what knows that place finds them.
  folder = "/share/nix-ld";
  installed = "/run/current-system/sw${folder}/lib";
  linkToLoader = pkgs.runCommand "sonde-loader" { } ''
    mkdir -p $out/lib
    ln -s ${cfg.loader} $out/lib/ld.so
  '';
  seeds = pkgs.buildEnv {
    name = "sonde-libraries";
    paths = [ linkToLoader ] ++ map lib.getLib cfg.libraries;
    pathsToLink = [ "/lib" ];
    extraPrefix = folder;
    ignoreCollisions = true;
  };

  # Sonde serves no 32-bit programs: their loader finds these by a cache of its own.
  libraries32 = pkgs.buildEnv {
    name = "sonde-libraries-32";
    paths = map lib.getLib cfg.ldso32.libraries;
    pathsToLink = [ "/lib" ];
    ignoreCollisions = true;
  };
  loader32 =
    if cfg.ldso32.libraries == [ ] then
      cfg.ldso32.loader
    else
      # The name is short because the cache's path must be.
      "${
        pkgs.runCommand "ld32" { nativeBuildInputs = [ (lib.getBin pkgs.glibc) ]; } ''
          sh ${./loader-with-libraries.sh} ${cfg.ldso32.loader} ${libraries32}/lib $out
        ''
      }/ld.so";

  settings = lib.recursiveUpdate {
    libraries = {
      # As the session's variable has it, and by its place in the store: a container or a chroot may have no
      # /run/current-system.
      paths = [
        installed
        "${seeds}${folder}/lib"
      ];
      inherit (cfg) loader;
    };
    drivers.folders = [ "/run/opengl-driver/lib" ] ++ cfg.driverPaths;
    engine.kind = cfg.engine;
    store.offline = cfg.offline;
  } cfg.settings;

  updates = cfg.index.update.enable && !cfg.offline;
in
{
  options.programs.sonde = {
    inherit (common)
      package
      index
      gc
      policy
      settings
      ;

    enable = lib.mkEnableOption "Sonde, which runs foreign ELF programs by providing missing shared libraries on demand";

    libraries = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      default = [ ];
      description = ''
        Packages whose libraries foreign programs get before anything of the index, without an index and without a
        network. The list is added to that of nix-ld; `lib.mkForce` replaces it.
      '';
    };

    loader = lib.mkOption {
      type = lib.types.path;
      default = pkgs.stdenv.cc.bintools.dynamicLinker;
      defaultText = lib.literalExpression "pkgs.stdenv.cc.bintools.dynamicLinker";
      description = ''
        The glibc loader under which a foreign program runs where the index has no newer one, when Sonde cannot serve it,
        and a setuid program always. The environment variables `NIX_LD_x86_64_linux` and `NIX_LD` replace it, except for
        setuid programs.
      '';
    };

    ldso32 = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = ''
          Whether to put a glibc loader where 32-bit programs look for theirs. They then run with the libraries that they
          bring along and those of {option}`programs.sonde.ldso32.libraries`; Sonde itself does not serve them.
        '';
      };
      loader = lib.mkOption {
        type = lib.types.path;
        default = pkgs.pkgsi686Linux.stdenv.cc.bintools.dynamicLinker;
        defaultText = lib.literalExpression "pkgs.pkgsi686Linux.stdenv.cc.bintools.dynamicLinker";
        description = "That loader.";
      };
      libraries = lib.mkOption {
        type = lib.types.listOf lib.types.package;
        default = [ ];
        example = lib.literalExpression "with pkgs.pkgsi686Linux; [ zlib libGL xorg.libX11 ]";
        description = ''
          Packages whose libraries 32-bit programs find, where they do not find one themselves; also by `dlopen`, and
          without any variable.
        '';
      };
    };

    engine = lib.mkOption {
      type = lib.types.enum [
        "auto"
        "inline"
        "seccomp"
        "ptrace"
      ];
      default = "auto";
      description = ''
        What makes a program's loader ask for libraries. `auto` takes what works best here; another is taken alone, but
        for `inline`, which the others stand in for where it cannot be had.
      '';
    };

    offline = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether to fetch and build nothing: programs get what is there.";
    };

    driverPaths = lib.mkOption {
      type = lib.types.listOf lib.types.path;
      default = [ ];
      example = [ "/usr/lib/wsl/lib" ];
      description = ''
        Further folders with drivers of the host, which are looked at after {file}`/run/opengl-driver/lib`: programs get
        drivers from there and from no package, and libraries that no package has.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !(nix-ld.enable or false) && !(nix-ld.dev.enable or false);
        message = ''
          programs.sonde and programs.nix-ld both put themselves at /lib64/ld-linux-x86-64.so.2, and only one can.
          Set programs.nix-ld.enable = false (programs.nix-ld.dev.enable, if you import nix-ld's own module) to use
          Sonde. It needs no list of libraries; to keep yours, move it from programs.nix-ld.libraries to
          programs.sonde.libraries. Or set programs.sonde.enable = false.
        '';
      }
    ];

    # nix-ld's list.
    programs.sonde.libraries = with pkgs; [
      acl
      attr
      bzip2
      curl
      libsodium
      libssh
      libxml2
      openssl
      stdenv.cc.cc
      systemd
      util-linux
      xz
      zlib
      zstd
    ];

    # At normal priority, so that the defaults of environment.stub-ld yield.
    environment.ldso = "${package}/libexec/sonde/sonde-interp";
    environment.ldso32 = lib.mkIf cfg.ldso32.enable loader32;
    environment.systemPackages = [
      package
      seeds
    ];
    environment.pathsToLink = [ folder ];
    # Nothing here needs them, but what was written for nix-ld may read them: `LD_LIBRARY_PATH=$NIX_LD_LIBRARY_PATH`.
    environment.sessionVariables = {
      NIX_LD = lib.mkDefault "${installed}/ld.so";
      NIX_LD_LIBRARY_PATH = lib.mkDefault installed;
    };

    environment.etc."sonde/config.toml".source = files.config settings;
    environment.etc."sonde/policy.toml" = lib.mkIf (cfg.policy != { }) { source = files.policy cfg.policy; };

    # One supervisor for all programs of a user's, started by the first of them. Without the unit the first program
    # starts it by itself.
    systemd.user.sockets.sonde = {
      description = "Door of Sonde's supervisor";
      wantedBy = [ "sockets.target" ];
      socketConfig = {
        ListenSequentialPacket = "%t/sonde/socket";
        DirectoryMode = "0700";
        SocketMode = "0600";
      };
    };
    systemd.user.services.sonde = {
      description = "Sonde's supervisor";
      requires = [ "sonde.socket" ];
      after = [ "sonde.socket" ];
      # Whoever ends it, ends the supervision of programs that run.
      restartIfChanged = false;
      stopIfChanged = false;
      serviceConfig = {
        ExecStart = "${package}/bin/sonde supervise";
        # Its trees are held by systemd, and taken up again when it has been restarted, by whomever.
        FileDescriptorStoreMax = 4096;
        NotifyAccess = "main";
        Restart = "on-failure";
        RestartForceExitStatus = "SIGHUP SIGINT SIGPIPE SIGTERM";
        # A worker that is killed for want of memory has a successor.
        OOMPolicy = "continue";
      };
    };

    systemd.user.services.sonde-gc = {
      description = "Removal of what Sonde keeps of programs that are not run any more";
      serviceConfig = {
        Type = "oneshot";
        ExecStart = files.collect cfg.gc.age;
        Nice = 19;
        IOSchedulingClass = "idle";
      };
    };
    systemd.user.timers.sonde-gc = lib.mkIf cfg.gc.enable {
      description = "Regular removal of what Sonde keeps of programs that are not run any more";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = "weekly";
        RandomizedDelaySec = "1h";
        Persistent = true;
      };
    };

    systemd.services.sonde-index-update = {
      description = "Update of Sonde's index of which package has which library";
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      serviceConfig = {
        Type = "oneshot";
        ExecStart = files.fetch cfg.index.source [ "--system" ];
        CacheDirectory = "sonde";
        UMask = "0022";
        CapabilityBoundingSet = "";
        LockPersonality = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        ProtectHome = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectSystem = "strict";
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX";
        RestrictNamespaces = true;
        SystemCallArchitectures = "native";
      };
    };
    systemd.timers.sonde-index-update = lib.mkIf updates {
      description = "Regular update of Sonde's index";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        # Soon after a start, too: a database that has not changed is not fetched.
        OnActiveSec = "2min";
        OnCalendar = cfg.index.update.interval;
        RandomizedDelaySec = "1h";
        Persistent = true;
      };
    };
  };
}
