//! `sonde-world`: builds, enters and serves the test world. What was typed is read here; the work is in the library.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use sonde_world::enter::{self, Bind, Entry, ExecFailed, HostView, Identity};
use sonde_world::{Size, World, build, check, serve};

/// Builds and enters the NixOS-like world that Sonde's tests run in.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what is missing of the world and print its folder
    Build {
        #[command(flatten)]
        size: SizeArg,
    },
    /// Print the world's folder, or fail if it is not built
    Path {
        #[command(flatten)]
        size: SizeArg,
    },
    /// Remove the worlds of other recipes
    Prune,
    /// Serve the binary cache on 127.0.0.1 and print its URL
    Serve {
        #[command(flatten)]
        world: WorldArg,
        /// The port; 0 takes a free one
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
    /// Run a command inside the root
    Enter(EnterArgs),
    /// Run a Nix daemon on a state folder; says `ready` when it answers
    Daemon {
        #[command(flatten)]
        world: WorldArg,
        #[command(flatten)]
        root: RootArgs,
    },
    /// Prove that the world is what it says: programs fail in the bare root and run in the reference root
    Check {
        #[command(flatten)]
        world: WorldArg,
    },
    /// Build one store path (run by Nix)
    #[command(hide = true)]
    Fit,
    /// Run a command that sees this machine with other folders at some places (run by the builder)
    #[command(hide = true)]
    HostView {
        #[arg(long)]
        mount_point: PathBuf,
        #[arg(long = "bind", value_parser = pair)]
        binds: Vec<(PathBuf, PathBuf)>,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Args)]
struct SizeArg {
    /// Only curl's part of the world
    #[arg(long)]
    small: bool,
}

#[derive(Args)]
struct WorldArg {
    /// The world's folder, if not this recipe's
    #[arg(long, value_name = "DIR")]
    world: Option<PathBuf>,
    #[command(flatten)]
    size: SizeArg,
}

#[derive(Args)]
struct RootArgs {
    /// Keep the store, /etc, /home and /tmp here; a temporary folder if not given
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The substituter for nix.conf
    #[arg(long, value_name = "URL")]
    cache_url: Option<String>,
    /// The key for nix.conf, if not the world's
    #[arg(long, value_name = "KEY")]
    trusted_key: Option<String>,
}

#[derive(Args)]
struct EnterArgs {
    #[command(flatten)]
    world: WorldArg,
    #[command(flatten)]
    root: RootArgs,
    /// As the ordinary user alice
    #[arg(long)]
    user: bool,
    /// The FHS reference root instead of the NixOS-like one
    #[arg(long)]
    fhs: bool,
    /// A root without /nix and without any program of its own
    #[arg(long, conflicts_with_all = ["fhs", "daemon"])]
    without_nix: bool,
    /// A Nix daemon runs as long as the command
    #[arg(long)]
    daemon: bool,
    /// A file to stand at /lib64/ld-linux-x86-64.so.2
    #[arg(long, value_name = "FILE")]
    shim: Option<PathBuf>,
    /// A file to stand at /run/current-system/sw/bin/sonde
    #[arg(long, value_name = "FILE")]
    sonde: Option<PathBuf>,
    /// A file to stand at /run/current-system/sw/libexec/sonde/sonde-interp
    #[arg(long, value_name = "FILE")]
    interp: Option<PathBuf>,
    /// Another file or folder to make visible, writable
    #[arg(long = "bind", value_name = "HOSTPATH:ROOTPATH", value_parser = pair)]
    binds: Vec<(PathBuf, PathBuf)>,
    /// Without the root's default environment
    #[arg(long)]
    env_clear: bool,
    /// An environment variable
    #[arg(long = "setenv", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// The working directory inside
    #[arg(long, value_name = "DIR")]
    chdir: Option<PathBuf>,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sonde-world: {error:#}");
            match error.downcast_ref::<ExecFailed>() {
                Some(failed) if failed.errno == nix::Error::ENOENT => ExitCode::from(127),
                Some(_) => ExitCode::from(126),
                None => ExitCode::from(125),
            }
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build { size } => println!("{}", build::build(size.size())?.display()),
        Command::Path { size } => println!("{}", World::locate_size(size.size())?.path().display()),
        Command::Prune => build::prune()?,
        Command::Serve { world, port } => {
            let server = serve::CacheServer::start(&world.locate()?.cache(), port)?;
            println!("{}", server.url());
            server.wait();
        }
        Command::Enter(args) => match enter(args)? {},
        Command::Daemon { world, root } => {
            let world = world.locate()?;
            if root.state.is_none() {
                bail!("a daemon serves a state folder: name one with --state DIR");
            }
            match enter::run_daemon(&world, &entry(root))? {}
        }
        Command::Check { world } => {
            if !check::check(&world.locate()?)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Fit => build::fit()?,
        Command::HostView { mount_point, binds, command } => {
            match enter::enter_host_view(&HostView { mount_point, binds }, &command)? {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn enter(args: EnterArgs) -> Result<std::convert::Infallible> {
    let world = args.world.locate()?;
    let mut entry = entry(args.root);
    entry.identity = if args.user { Identity::Alice } else { Identity::Root };
    entry.fhs = args.fhs;
    entry.without_nix = args.without_nix;
    entry.daemon = args.daemon;
    let file = |host: Option<PathBuf>, inside: &str| {
        host.map(|host| Bind { host, inside: inside.into(), writable: false })
    };
    entry.binds.extend(file(args.shim, "/lib64/ld-linux-x86-64.so.2"));
    entry.binds.extend(file(args.sonde, "/run/current-system/sw/bin/sonde"));
    entry.binds.extend(file(args.interp, "/run/current-system/sw/libexec/sonde/sonde-interp"));
    entry.binds.extend(args.binds.into_iter().map(|(host, inside)| Bind { host, inside, writable: true }));
    for bind in &mut entry.binds {
        // Relative paths mean the caller's folder, which the root does not have.
        bind.host = bind.host.canonicalize().with_context(|| format!("resolving {}", bind.host.display()))?;
    }
    entry.env_clear = args.env_clear;
    for variable in args.env {
        let text = variable.into_string().ok().context("--setenv needs UTF-8")?;
        let (name, value) = text.split_once('=').context("--setenv needs NAME=VALUE")?;
        entry.env.insert(name.to_owned(), value.into());
    }
    entry.chdir = args.chdir;
    entry.command = args.command;
    enter::enter(&world, entry)
}

fn entry(root: RootArgs) -> Entry {
    Entry {
        identity: Identity::Root,
        fhs: false,
        without_nix: false,
        state: root.state,
        cache_url: root.cache_url,
        trusted_key: root.trusted_key,
        daemon: false,
        binds: Vec::new(),
        env_clear: false,
        env: BTreeMap::new(),
        chdir: None,
        command: Vec::new(),
    }
}

impl SizeArg {
    fn size(&self) -> Size {
        if self.small { Size::Small } else { Size::Whole }
    }
}

impl WorldArg {
    fn locate(&self) -> Result<World> {
        match &self.world {
            Some(folder) => World::open(folder),
            None => match own_world() {
                Some(world) if !self.size.small => Ok(world),
                _ => World::locate_size(self.size.size()),
            },
        }
    }
}

/// The world that this executable is part of, if it is a world's own copy.
fn own_world() -> Option<World> {
    let tool = std::env::current_exe().ok()?;
    World::open(tool.parent()?.parent()?).ok()
}

fn pair(text: &str) -> Result<(PathBuf, PathBuf)> {
    let (host, inside) = text.split_once(':').context("expected HOSTPATH:ROOTPATH")?;
    if !inside.starts_with('/') {
        bail!("the path inside the root must be absolute");
    }
    Ok((host.into(), inside.into()))
}
