//! What was typed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use sonde_interp::handoff::Wish;

use super::shell::Shell;
use super::trace_options::Trace;
use crate::index::registry::DEFAULT_NAME;
use crate::serve::Orders;
use crate::store::StoreMode;

/// Runs foreign ELF programs on NixOS, with the libraries that they miss.
#[derive(Debug, Parser)]
#[command(
    name = "sonde",
    version,
    after_help = "\
`sonde COMMAND --help` has examples. Where the shim is installed as
/lib64/ld-linux-x86-64.so.2, foreign programs run by themselves."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program with the libraries that it misses
    #[command(after_help = "\
The program keeps its arguments, environment, descriptors, process id and exit status. With
--store-mode mount it is not started where the store cannot be mounted: status 126.
Exit status: the program's own; 127 if it, or what it needs, was not found; 126 if it cannot be run.")]
    Run(Program),
    /// Run a program and show each library that it loads, and why this one
    #[command(after_help = "\
The program's own output is left as it is: the trace goes to stderr, or to the file of -o. Exit
status: the program's own.

docs/trace.md says what each column means, docs/trace-schema.md each field of --json.")]
    Trace(Box<Trace>),
    /// Find what keeps foreign programs, or one of them, from running on this machine
    #[command(after_help = "\
Nothing is downloaded, and PROGRAM is not run. Each finding is ok, a warning (something works
less well than it could, or some programs do not run) or an error (programs, or PROGRAM, do not
run), with one thing to do about it.

Exit status: 0 if there is no error, though there may be warnings; 1 if there is one.")]
    Doctor(Doctor),
    /// Manage the index of which package has which library
    #[command(subcommand)]
    Index(IndexCommand),
    /// Show which packages have a library, which of them would be provided, and why
    #[command(after_help = "\
With --for the symbols and versions that PROGRAM and its bundled libraries need are compared
with what each candidate defines; without a SONAME, for everything that the program does not
bring along. Only packages that are in the store, or were looked at before, can be compared:
nothing is downloaded.

Exit status: 0 if there is a provider for everything that was asked for, 1 if not.")]
    Find(Find),
    /// Show where each library of a program would come from, and what is missing
    #[command(after_help = "\
Nothing is run or fetched. What a library of a package names is known when that package is in the
store. What a program opens at run time is not known beforehand: sonde trace shows it.

Exit status: 0 if everything would be there; 127 if something is missing; 126 if the policy forbids
something, or a file cannot be read or run.")]
    Plan(Plan),
    /// Fetch what programs need ahead of time, so that they start without the network
    #[command(after_help = "\
What is fetched is kept from garbage collection as after a start. What a program opens at run time
is not known beforehand.

Exit status: 0 if everything is there; 127 if something is missing; 126 if the policy forbids
something, or a file cannot be read or run.")]
    Prefetch(Prefetch),
    /// Look after the policy: which packages may be provided to which programs
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Manage the embedded store, for machines without Nix
    #[command(subcommand)]
    Store(StoreCommand),
    /// Look after what is kept of programs, for them to start as fast as natively
    #[command(subcommand)]
    Plans(PlansCommand),
    /// Print completions for a shell
    Completions {
        /// The shell that is to have them
        shell: Shell,
    },
    /// Write a manual page for each command into a folder (for packages)
    #[command(hide = true)]
    Man {
        /// The folder; made if it is not there
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Serve the tree of the process at descriptor 3 (started by the shim)
    #[command(hide = true)]
    Supervise,
}

/// A program and its arguments.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// What makes the program's loader stop at its opens; auto takes inline, which leaves setuid programs their privilege, else seccomp, else ptrace
    #[arg(long, value_name = "ENGINE", value_parser = Wish::WORDS)]
    engine: Option<String>,
    /// How the program gets at the embedded store; `mode` in config.toml if not given. No effect where Nix is used
    #[arg(long, value_name = "MODE")]
    pub(crate) store_mode: Option<StoreMode>,
    /// Fetch and build nothing: the program gets what is there
    #[arg(long)]
    pub(crate) offline: bool,
    /// A policy file that narrows those in force
    #[arg(long = "policy", value_name = "FILE", value_hint = ValueHint::FilePath)]
    policies: Vec<PathBuf>,
    /// Provide what the policy forbids, and tell of it on standard error
    #[arg(long)]
    audit: bool,
    /// The program (a path, or a name that is looked up in PATH) and its arguments
    #[arg(value_names = ["PROGRAM", "ARGS"], required = true, num_args = 1.., trailing_var_arg = true,
          allow_hyphen_values = true, value_hint = ValueHint::CommandWithArguments)]
    command_line: Vec<OsString>,
}

impl Program {
    /// What the shim is told.
    pub(crate) fn shim_options(&self) -> impl Iterator<Item = OsString> + use<> {
        let engine = self.engine.clone().into_iter().flat_map(|engine| ["--engine".into(), engine.into()]);
        engine.chain(self.offline.then(|| "--offline".into()))
    }

    /// What is said of the policy, if anything is.
    pub(crate) fn orders(&self) -> Option<Orders> {
        // By their whole paths: who reads them may be elsewhere by then.
        let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let orders = Orders { policies: self.policies.iter().map(whole).collect(), audit: self.audit };
        (orders != Orders::default()).then_some(orders)
    }

    /// The program as it was typed, and its arguments.
    pub(crate) fn split(&self) -> (&OsStr, &[OsString]) {
        match self.command_line.split_first() {
            Some((program, arguments)) => (program, arguments),
            None => (OsStr::new(""), &[]),
        }
    }
}

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A program: its path, or a name that is looked up in PATH
    #[arg(value_hint = ValueHint::ExecutablePath)]
    pub(crate) program: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Import a nix-index database from a file
    #[command(after_help = "\
FILE is what `nix-index` writes to ~/.cache/nix-index/files, or a database published by
nix-index-database (index-x86_64-linux; not a -small one, which knows no libraries). An index of
the same name is replaced at once when the new one is complete; programs that run keep the old.

Several databases are asked in the order of `sonde index info`: today's first, then an older one
for the libraries that today's has no more.")]
    Import {
        /// The database
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Fetch a database, if it has changed
    #[command(after_help = "\
Without a URL, from where the database came, or else what the nix-index-database project
publishes for this machine. Proxies are taken from https_proxy, http_proxy, all_proxy and
no_proxy, certificates from the machine or SSL_CERT_FILE. If anything fails the database stays as
it is.")]
    Update {
        /// An address that begins with https://, http:// or file://
        url: Option<String>,
        /// Give up when nothing has arrived for so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
        #[command(flatten)]
        target: Target,
    },
    /// Show the databases in the order in which they are asked, and whether they are sound
    Info {
        /// Only this one, with all that is known about it
        #[arg(value_parser = name)]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a database
    Remove {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// It is the system's, in /var/cache/sonde
        #[arg(long)]
        system: bool,
    },
}

/// Where a database is to go.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The name to keep it under
    #[arg(long, default_value = DEFAULT_NAME, value_parser = name)]
    pub(crate) name: String,
    /// Ask it before all others
    #[arg(long, conflicts_with = "before")]
    pub(crate) first: bool,
    /// Ask it before this one; a new database is otherwise asked last, and another stays where it is
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) before: Option<String>,
    /// Keep it for all users, in /var/cache/sonde
    #[arg(long)]
    pub(crate) system: bool,
}

/// What to look for.
#[derive(Debug, Args)]
pub(crate) struct Find {
    /// Names of libraries, such as libz.so.1
    #[arg(value_name = "SONAME", required_unless_present_any = ["program", "file"])]
    pub(crate) sonames: Vec<String>,
    /// Compare with what this program needs
    #[arg(long = "for", value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    pub(crate) program: Option<OsString>,
    /// Look for library files by the end of their path (dri/swrast_dri.so) or a pattern (lib/libav*.so.60)
    #[arg(long, value_name = "PATTERN", conflicts_with_all = ["sonames", "program"])]
    pub(crate) file: Option<String>,
    /// A policy file that narrows those in force
    #[arg(long = "policy", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policies: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show at most so many candidates or files of each; 0 for all
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

/// What to plan.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Programs (a path, or a name that is looked up in PATH), shared objects, or folders of them
    #[arg(value_name = "PROGRAM|FOLDER", required = true)]
    pub(crate) programs: Vec<OsString>,
    /// How it is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// A policy file that narrows those in force
    #[arg(long = "policy", value_name = "FILE")]
    pub(crate) policies: Vec<PathBuf>,
    /// As it would be if nothing could be fetched
    #[arg(long)]
    pub(crate) offline: bool,
}

/// For whom a plan is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// A NixOS module with programs.nix-ld.libraries
    #[value(alias = "nix")]
    NixLd,
    /// The buildInputs of a package that autoPatchelfHook patches
    NixInputs,
    /// A shell.nix in which nix-ld finds the libraries
    NixShell,
    /// What ldconfig -p would print of the cache that the program is served
    Ldconfig,
}

/// What to fetch.
#[derive(Debug, Args)]
pub(crate) struct Prefetch {
    /// Programs (a path, or a name that is looked up in PATH), shared objects, or folders of them
    #[arg(value_name = "PROGRAM|FOLDER", required = true)]
    pub(crate) programs: Vec<OsString>,
    /// Only show how much would be downloaded
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A policy file that narrows those in force
    #[arg(long = "policy", value_name = "FILE")]
    pub(crate) policies: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show what is wrong with policy files, and which of their rules have no effect
    #[command(after_help = "\
Without a FILE, those in force: /etc/sonde/policy.toml, which must belong to root and be
writable by nobody else, and ~/.config/sonde/policy.toml. Exit status: 0 if all can be used, 1
if not.")]
    Check {
        /// Files to be checked
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Show what is decided about a library or a package, and every rule that takes part
    #[command(after_help = "\
Exit status: 0 if something may be provided, 1 if not.")]
    Explain(Explain),
    /// Print a policy to begin with
    #[command(after_help = "\
Without options, one that permits everything, with an example of each kind of rule. With --for,
the narrowest one with which the program has what it is linked against; what it asks for at run
time is to be added. With --from-plan, the narrowest one with which it has what it was given so
far, that included: run it first, and let it do what it is to do.")]
    Init {
        /// Permit what this program is linked against, and nothing else
        #[arg(long = "for", value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
        program: Option<OsString>,
        /// Permit what this program was given when it was run (`sonde plans show`), and nothing else
        #[arg(long, value_name = "PROGRAM", conflicts_with = "program")]
        from_plan: Option<PathBuf>,
    },
}

/// What to decide about.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A library, such as libz.so.1, or a package's attribute, such as zlib
    #[arg(value_name = "SONAME|PACKAGE")]
    pub(crate) what: String,
    /// The program that it would be provided to
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    pub(crate) program: Option<OsString>,
    /// A policy file that narrows those in force
    #[arg(long = "policy", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policies: Vec<PathBuf>,
    /// Show at most so many candidates; 0 for all
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Fetch store paths, with everything that they refer to
    #[command(after_help = "\
The caches and the keys that are trusted are those of the [store] section of
/etc/sonde/config.toml and ~/.config/sonde/config.toml; without one, https://cache.nixos.org and
its key. What was fetched is kept until `sonde store drop`.")]
    Fetch {
        /// Paths such as /nix/store/HASH-zlib-1.3.1
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<String>,
        /// Only show how much would be downloaded
        #[arg(long)]
        dry_run: bool,
        /// Fetch nothing: fail unless everything is there
        #[arg(long)]
        offline: bool,
    },
    /// Let go of paths that were fetched: the next `gc` removes them, unless a program needs them
    Drop {
        /// Paths such as /nix/store/HASH-zlib-1.3.1
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<String>,
    },
    /// List what is in it, with sizes in bytes
    List,
    /// Compare everything in it with what was signed
    #[command(after_help = "Exit status: 0 if everything is sound, or has been repaired; 1 if not.")]
    Verify {
        /// Fetch what is damaged again
        #[arg(long)]
        repair: bool,
    },
    /// Remove what no program that was run needs
    Gc {
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlansCommand {
    /// List them, the last used first
    List {
        /// For programs: an array of what is listed
        #[arg(long)]
        json: bool,
    },
    /// Show what a program is given, and why
    Show {
        /// The program, as it was run
        #[arg(value_name = "PROGRAM")]
        program: PathBuf,
        /// For programs: all that is kept
        #[arg(long)]
        json: bool,
    },
    /// Forget what is kept of programs; they are looked at again at their next start
    Forget {
        /// Programs, as they were run, whether they still exist or not
        #[arg(value_name = "PROGRAM", required = true)]
        programs: Vec<PathBuf>,
    },
    /// Remove what nobody needs: plans of programs that are gone or not run any more, and what they kept
    #[command(after_help = "\
Removes nothing from the store: what has no root any more goes with the next `nix-collect-garbage`,
or `sonde store gc`. It may run while programs run.")]
    Gc {
        /// Keep the plan of what was run since, such as 30d, 12h or 2weeks
        #[arg(long, value_name = "AGE", default_value = "30d", value_parser = humantime::parse_duration)]
        older_than: Duration,
        /// Remove all plans, caches and roots of programs
        #[arg(long, conflicts_with = "older_than")]
        all: bool,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// A name becomes a file name.
fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && !text.starts_with('.') && text.len() <= 64 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("a name is made of up to 64 letters, digits, '-', '_' and '.', and does not begin with '.'"
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        for line in
            [vec!["sonde", "run", "p", "--help", "-x"], vec!["sonde", "run", "--", "p", "--help", "-x"]]
        {
            let Command::Run(program) = Arguments::parse_from(line).command else { panic!("not run") };
            let (name, arguments) = program.split();
            assert_eq!(name, "p");
            assert_eq!(arguments, ["--help", "-x"]);
        }
    }

    #[test]
    fn options_stand_before_the_program() {
        let line = ["sonde", "run", "--store-mode", "redirect", "p", "--store-mode", "x"];
        let Command::Run(program) = Arguments::parse_from(line).command else { panic!("not run") };
        assert_eq!(program.store_mode, Some(StoreMode::Redirect));
        assert_eq!(program.split().1, ["--store-mode", "x"]);
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for wrong in ["", "..", "../x", "a/b", ".hidden", "a b", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(name("nixos-23.05").is_ok());
    }
}
