# A policy with a mistake: the system is not built, and the place of the mistake is said.
{ pkgs }:

let
  files = import ../files.nix {
    inherit pkgs;
    inherit (pkgs) lib;
    package = pkgs.callPackage ../package.nix { };
  };
  failed = pkgs.testers.testBuildFailure (files.policy { defalt = "deny"; });
in
pkgs.runCommand "sonde-policy-with-a-mistake" { inherit failed; } ''
  grep --quiet defalt "$failed/testBuildFailure.log"
  touch "$out"
''
