//! Tests of the built binaries, in the test world. Each file is about one promise:
//!
//! - `programs`: foreign programs that nobody here built run, and do not without Sonde
//! - `identity`: a program cannot tell that it was not started natively
//! - `loading`: `dlopen`, from threads, forked children, under signals, by absolute path
//! - `drivers`: the host's drivers, from the folders that are configured
//! - `book`: what the pages for users show is what is seen
//! - `children`: fork, vfork and exec of foreign, Nix-built and missing programs
//! - `containers`: sandboxes inside of a tree and around one
//! - `nix_built`: programs that were built by Nix, and their children, load foreign libraries
//! - `ends`: exit statuses, signals, pipes, and the end of the supervisor
//! - `trees`: crowds, exec in threads, stops, debuggers and core dumps, under every engine
//! - `engines`: which engine is taken, and that the tree does not notice
//! - `inline`: the engine that takes nothing away, and stands back where it would have to
//! - `trace`: what `sonde trace` tells, and that it is all there is to tell; its page in a browser
//! - `raised`: setuid, setgid and file capabilities: nothing of the user's is believed
//! - `refusals`: what is not run, or lacks something, is said in one line
//! - `search`: what a program brings along comes before what a package has
//! - `served_cache`: the real loader finds everything in it
//! - `shim`: the shim as a command, and without a supervisor
//! - `filters`: programs that use seccomp themselves
//! - `log`: nothing unless it is asked for, and never in a program's way
//! - `find`: who has a library, who would be chosen, and why
//! - `glibcs`: other glibcs than this machine's are served
//! - `plan`: where a program's libraries would come from, and fetching them ahead
//! - `doctor`: whatever keeps programs from running is found, with a way out
//! - `help`: help, manual pages and completions agree, and bash understands them
//! - `policy`: whether a policy is sound, what it decides and why, and whose file is believed
//! - `enforced`: what the policy forbids is not provided, in whichever way
//! - `index`: importing, fetching, ordering and removing databases
//! - `mount`: the embedded store as `/nix/store` of one program
//! - `store`: the embedded store by its commands
//! - `embedded`: programs that get their libraries from the embedded store
//! - `faults`: killed supervisors and daemons, dead caches, full disks, system calls that fail, hostile peers, crowds
//! - `soaking`: what a supervisor holds does not grow with what it has served
//! - `survival`: killed supervisors are not missed, and programs of one user share one
//! - `plans`: what a program was given is kept, and the next start asks nobody
//! - `nix_ld`: nix-ld's variables and behaviours
//! - `nixos_module`: what the NixOS module, the package and the flake evaluate to
//! - `nixos_system`: what that sets up, put together: programs run with it
//! - `tidy`: the architecture's rules that a grep can check
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that panics has failed, which is what is wanted

mod harness;

mod book;
mod children;
mod containers;
mod doctor;
mod drivers;
mod embedded;
mod ends;
mod enforced;
mod engines;
mod faults;
mod filters;
mod find;
mod glibcs;
mod help;
mod identity;
mod index;
mod inline;
mod loading;
mod log;
mod mount;
mod nix_built;
mod nix_ld;
mod nixos_module;
mod nixos_system;
mod plan;
mod plans;
mod policy;
mod programs;
mod raised;
mod refusals;
mod search;
mod served_cache;
mod shim;
mod soaking;
mod store;
mod supervisors;
mod survival;
mod tidy;
mod trace;
mod trees;
