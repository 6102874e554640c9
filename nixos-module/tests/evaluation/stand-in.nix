# A stand-in for as much of nixpkgs as Sonde's files use, so that they can be evaluated where nixpkgs is not at hand.
#
# It is not nixpkgs: packages are attribute sets that nobody builds, and of the module system there is what is below.
# That much is meant to behave alike: an option that nobody declared is an error, values are checked against their
# types, a module's structure is known before any condition is, the strongest priority wins, and what cannot be merged
# is a conflict; attributes of an `attrsOf` are options of their own. There are no submodules (of units and files it is
# only checked that their keys are known), no freeform types, `apply` or ordering, and of `formats.toml` there is the one
# way of writing that is below.
let
  inherit (builtins)
    all
    concatLists
    concatMap
    filter
    foldl'
    head
    isAttrs
    isList
    isString
    listToAttrs
    mapAttrs
    tail
    ;

  is = kind: value: isAttrs value && value._type or null == kind;

  lib = {
    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      what:
      lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;
    hasPrefix = start: text: builtins.substring 0 (builtins.stringLength start) text == start;
    getBin = package: package;
    getLib = package: package;
    getExe = package: "${package}/bin/${package.pname}";
    escapeShellArgs = words: builtins.concatStringsSep " " words;
    recursiveUpdate =
      one: other:
      one
      // mapAttrs (
        name: value:
        if isAttrs value && isAttrs (one.${name} or null) then lib.recursiveUpdate one.${name} value else value
      ) other;
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };

    types = {
      bool = {
        name = "boolean";
        check = builtins.isBool;
        merge = agree;
      };
      str = {
        name = "string";
        check = isString;
        merge = agree;
      };
      path = {
        name = "absolute path";
        check = value: builtins.isPath value || isString value && builtins.substring 0 1 value == "/";
        merge = agree;
      };
      package = {
        name = "package";
        check = value: isAttrs value && value.type or null == "derivation";
        merge = agree;
      };
      attrs = {
        name = "attribute set";
        check = isAttrs;
        merge = foldl' (merged: value: merged // value) { };
      };
      enum = values: {
        name = "one of ${builtins.toJSON values}";
        check = value: builtins.elem value values;
        merge = agree;
      };
      either = one: other: {
        name = "${one.name} or ${other.name}";
        check = value: one.check value || other.check value;
        merge = agree;
      };
      # Of each attribute the definitions are merged as those of an option.
      attrsOf = element: {
        name = "attribute set of ${element.name}";
        check = isAttrs;
        inherit element;
      };
      # What has these keys and no others.
      keys = known: {
        name = "attribute set with ${builtins.toJSON known}";
        check = value: isAttrs value && all (key: builtins.elem key known) (builtins.attrNames value);
        merge = foldl' (merged: value: merged // value) { };
      };
      nullOr = type: {
        name = "null or ${type.name}";
        check = value: value == null || type.check value;
        merge = agree;
      };
      listOf = type: {
        name = "list of ${type.name}";
        check = value: isList value && all type.check value;
        merge = concatLists;
      };
    };

    optionalString = condition: text: if condition then text else "";
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    licenses.mit.spdxId = "MIT";

    # What is taken, as a list; which files that are is not looked at.
    fileset = {
      maybeMissing = path: [ path ];
      unions = sets: sets;
      difference = set: _taken: set;
      toSource = { root, fileset }: root;
    };
  };

  agree =
    values:
    if all (value: value == head values) values then
      head values
    else
      throw "conflicting definition values";

  # What one module says about the option at a path: values, each still in its conditions and priorities.
  definitionsAt =
    path: content:
    if is "if" content then
      map (lib.mkIf content.condition) (definitionsAt path content.content)
    else if is "merge" content then
      concatMap (definitionsAt path) content.contents
    else if is "override" content then
      map (lib.mkOverride content.priority) (definitionsAt path content.content)
    else if path == [ ] then
      [ content ]
    else if content ? ${head path} then
      definitionsAt (tail path) content.${head path}
    else
      [ ];

  # Takes a value out of its conditions and priorities: at most one value, with the priority that it has.
  takeOut =
    priority: value:
    if is "if" value then
      (if value.condition then takeOut priority value.content else [ ])
    else if is "override" value then
      takeOut value.priority value.content
    else
      [ { inherit priority value; } ];

  normalPriority = 100;
  priorityOfDefaults = 1500;

  evaluateOption =
    path: option: definitions:
    let
      inherit (option) type;
      name = builtins.concatStringsSep "." path;
      default = if option ? default then [ (lib.mkOverride priorityOfDefaults option.default) ] else [ ];
      candidates = concatMap (takeOut normalPriority) (definitions ++ default);
      strongest = foldl' (
        least: one: if one.priority < least then one.priority else least
      ) priorityOfDefaults candidates;
      values = map (one: one.value) (filter (one: one.priority == strongest) candidates);
    in
    if values == [ ] then
      throw "The option `${name}' has no value."
    else if !all type.check values then
      throw "A definition for option `${name}' is not of type `${type.name}'."
    else if type ? element then
      mapAttrs (
        attribute: definitions: evaluateOption (path ++ [ attribute ]) { type = type.element; } definitions
      ) (attributesOf values)
    else if builtins.length values == 1 then
      head values
    else
      option.type.merge values;

  # The definitions of each attribute in some sets; an attribute whose conditions do not hold has none, and is not there.
  attributesOf =
    values:
    let
      definitions = builtins.zipAttrsWith (_name: definitions: definitions) values;
      isDefined = name: concatMap (takeOut normalPriority) definitions.${name} != [ ];
    in
    listToAttrs (
      map (name: {
        inherit name;
        value = definitions.${name};
      }) (filter isDefined (builtins.attrNames definitions))
    );

  # Two trees of declared options as one.
  join =
    one: other:
    if is "option" one || is "option" other then
      throw "an option is declared twice"
    else
      one // mapAttrs (name: tree: if one ? ${name} then join one.${name} tree else tree) other;

  evaluateTree =
    contents: path: tree:
    if is "option" tree then
      evaluateOption path tree (concatMap (definitionsAt path) contents)
    else
      mapAttrs (name: evaluateTree contents (path ++ [ name ])) tree;

  # The names that a module defines and nobody has declared.
  undeclared =
    path: tree: content:
    if is "option" tree then
      [ ]
    else if is "if" content || is "override" content then
      undeclared path tree content.content
    else if is "merge" content then
      concatMap (undeclared path tree) content.contents
    else
      concatMap (
        name:
        if tree ? ${name} then
          undeclared (path ++ [ name ]) tree.${name} content.${name}
        else
          [ (builtins.concatStringsSep "." (path ++ [ name ])) ]
      ) (builtins.attrNames content);

  # The configuration that modules (files, functions or attribute sets) make of a NixOS, or of a home.
  evaluate = evaluateOn nixos;
  evaluateHome = evaluateOn home;
  evaluateOn =
    base: modules:
    let
      call =
        module:
        let
          loaded = if builtins.isPath module then import module else module;
          called = if builtins.isFunction loaded then loaded { inherit config lib pkgs; } else loaded;
        in
        # What has neither is a module of definitions only.
        if called ? config || called ? options then
          [ called ]
        else
          [ { config = removeAttrs called [ "imports" ]; } ] ++ concatMap call (called.imports or [ ]);
      called = concatMap call ([ base ] ++ modules);
      options = foldl' join { } (map (module: module.options or { }) called);
      contents = map (module: module.config or { }) called;
      config = evaluateTree contents [ ] options;
      unknown = concatMap (undeclared [ ] options) contents;
    in
    if unknown == [ ] then config else throw "The option `${head unknown}' does not exist.";

  # What nixpkgs itself has of the options that the module touches: misc/assertions.nix, config/ldso.nix,
  # config/stub-ld.nix, config/system-path.nix, misc/nixpkgs.nix and programs/nix-ld.nix.
  nixos =
    { config, lib, ... }:
    let
      inherit (lib) types;
      option = type: default: lib.mkOption { inherit type default; };
      units =
        own:
        option (types.attrsOf (
          types.keys (
            [
              "after"
              "description"
              "requires"
              "restartIfChanged"
              "stopIfChanged"
              "wantedBy"
              "wants"
            ]
            ++ own
          )
        )) { };
    in
    {
      options = {
        assertions = option (types.listOf types.attrs) [ ];
        environment.etc = option (types.attrsOf (types.keys [ "source" ])) { };
        environment.ldso = option (types.nullOr types.path) null;
        environment.ldso32 = option (types.nullOr types.path) null;
        boot.kernel.sysctl = option types.attrs { };
        environment.stub-ld.enable = option types.bool true;
        environment.pathsToLink = option (types.listOf types.str) [ ];
        environment.sessionVariables = option (types.attrsOf types.str) { };
        environment.systemPackages = option (types.listOf types.package) [ ];
        nixpkgs.hostPlatform = option types.str "x86_64-linux";
        services.cron = option types.attrs { };
        users.users = option (types.attrsOf types.attrs) { };
        programs.nix-ld.enable = lib.mkEnableOption "nix-ld";
        systemd.services = units [ "serviceConfig" ];
        systemd.timers = units [ "timerConfig" ];
        systemd.user.services = units [ "serviceConfig" ];
        systemd.user.sockets = units [ "socketConfig" ];
        systemd.user.timers = units [ "timerConfig" ];
      };
      config = lib.mkMerge [
        (lib.mkIf config.environment.stub-ld.enable {
          environment.ldso = lib.mkDefault "/stub-ld";
          environment.ldso32 = lib.mkDefault "/stub-ld-32";
        })
        (lib.mkIf config.programs.nix-ld.enable { environment.ldso = "/nix-ld"; })
      ];
    };

  # What home-manager has of the options that its module touches.
  home =
    { lib, ... }:
    let
      inherit (lib) types;
      option = type: default: lib.mkOption { inherit type default; };
      sections = [
        "Install"
        "Service"
        "Timer"
        "Unit"
      ];
      units = option (types.attrsOf (types.keys sections)) { };
    in
    {
      options = {
        home.packages = option (types.listOf types.package) [ ];
        systemd.user.services = units;
        systemd.user.timers = units;
        xdg.configFile = option (types.attrsOf (types.keys [ "source" ])) { };
      };
    };

  # A value in TOML; tables are written inline.
  tomlValue =
    value:
    if isAttrs value then
      "{ ${
        builtins.concatStringsSep ", " (
          map (key: "${builtins.toJSON key} = ${tomlValue value.${key}}") (builtins.attrNames value)
        )
      } }"
    else if isList value then
      "[ ${builtins.concatStringsSep ", " (map tomlValue value)} ]"
    else if builtins.isPath value then
      builtins.toJSON (toString value)
    else
      builtins.toJSON value;
  toml =
    attributes:
    builtins.concatStringsSep "" (
      map (key: "${key} = ${tomlValue attributes.${key}}\n") (builtins.attrNames attributes)
    );

  package =
    attributes:
    attributes
    // rec {
      type = "derivation";
      name = "${attributes.pname}-${attributes.version}";
      outPath = "/nix/store/00000000000000000000000000000000-${name}";
    };
  named =
    pname: attributes:
    package (
      attributes
      // {
        inherit pname;
        version = "0";
      }
    );

  pkgs = {
    inherit lib;
    stdenv = {
      cc.bintools.dynamicLinker = "/nix/store/00000000000000000000000000000000-glibc-0/lib/ld-linux-x86-64.so.2";
      cc.cc = named "gcc" { };
      buildPlatform.canExecute = _platform: true;
      hostPlatform = { };
    };
    pkgsi686Linux.stdenv.cc.bintools.dynamicLinker = "/nix/store/00000000000000000000000000000000-glibc-0/lib/ld-linux.so.2";
    patchelf = named "patchelf" { };
    runCommandCC = pkgs.runCommand;
    # The machines of the tests are not started, but their modules are evaluated.
    testers.runNixOSTest =
      test:
      named test.name {
        inherit (test) testScript;
        nodes = mapAttrs (_name: module: evaluate [ module ]) test.nodes;
      };
    testers.testBuildFailure = package: named "failed" { inherit package; };
    nixos = module: { config = evaluate [ module ]; };
    buildEnv = { name, ... }@attributes: named name attributes;
    formats.toml = _: {
      type = lib.types.attrs;
      generate = name: value: named name { text = toml value; };
    };
    rustPlatform.buildRustPackage = package;
    mkShell = named "shell";
    runCommand =
      name: attributes: script:
      named name (attributes // { inherit script; });
    # A file's arguments are taken from these packages; `override` replaces some of them.
    callPackage =
      file: arguments:
      let
        function = import file;
        found = builtins.intersectAttrs (builtins.functionArgs function) pkgs;
      in
      function (found // arguments) // { override = others: pkgs.callPackage file (arguments // others); };
  }
  // listToAttrs (
    map
      (name: {
        inherit name;
        value = named name { };
      })
      [
        "acl"
        "attr"
        "bzip2"
        "cargo-deny"
        "clippy"
        "curl"
        "installShellFiles"
        "libseccomp"
        "libsodium"
        "libssh"
        "libxml2"
        "nixfmt-tree"
        "openssl"
        "rustfmt"
        "strace"
        "systemd"
        "util-linux"
        "xz"
        "zlib"
        "zstd"
      ]
  );
in
{
  inherit evaluate evaluateHome pkgs;

  # As a flake's input of that name.
  nixpkgs = {
    legacyPackages.x86_64-linux = pkgs;
  };
}
