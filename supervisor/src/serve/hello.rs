//! The greeting: a program is about to start, and learns under which loader, where, and with which filter.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use sonde_interp::handoff::{
    Answer, Engine as Kind, Hello, MAX_MESSAGE, MessageError, Refusal, Welcome, Wish,
};
use sonde_resolve::bundle::Bundle;
use sonde_resolve::elf::ElfError;
use thiserror::Error;
use tracing::{debug, info};

use super::Founded;
use super::door::{is_neighbour, is_ourselves};
use super::join::{Newcomer, receive_listener};
use super::keeper::Line;
use super::provision::Provision;
use super::record::Record;
use super::shared::{Orders, Shared, SharedError};
use super::supply::TreeSupply;
use super::tree::Tree;
use crate::engine::choose::{ConfigError, EngineConfig};
use crate::guest::remote::{GuestRoot, Thread};
use crate::plan::closure::{GuestFiles, resolve};
use crate::plan::loader::{Loader, LoaderError, draw_place, place_at};
use crate::report::event::Reporter;
use crate::report::progress;
use crate::store::{self, NoProgress, Progress, StoreError};
use crate::sys::mapped_file::MappedFile;
use crate::sys::scm_rights::Socket;

/// A shim says hello at once; whoever takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a program runs without us. The shim is told, and falls back.
#[derive(Debug, Error)]
pub(crate) enum HelloError {
    #[error("the shim: {0}")]
    Socket(#[from] io::Error),
    #[error("the shim: {0}")]
    Message(#[from] MessageError),
    #[error(
        "the engine that was asked for does not work here: seccomp user notification needs Linux 5.9, ptrace 5.3"
    )]
    Kernel,
    #[error(
        "the policy forbids every engine that works here: {0}; libraries that are missing are not provided"
    )]
    Engine(Arc<str>),
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error("another supervisor's program came to the door")]
    Stranger,
    #[error("the record of a tree cannot be read: it may have a path that is no text")]
    Record,
    #[error("{}: {source}", path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Elf { path: PathBuf, source: ElfError },
    #[error("the index has no glibc, and so no loader; import a full nix-index database")]
    NoLoader,
    #[error("the loader {path} cannot be had: {source}", path = path.display())]
    LoaderStore { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "the kernel refused the filter ({}): another supervisor may have this process already; libraries that are \
         missing are not provided", errno_text(.0)
    )]
    Filter(io::Error),
    #[error("the loader could not be changed ({})", errno_text(.0))]
    Change(io::Error),
    #[error(
        "this process may not be traced ({}): a debugger may have it already, or kernel.yama.ptrace_scope forbids it; \
         libraries that are missing are not provided", errno_text(.0)
    )]
    Trace(io::Error),
    #[error(
        "{}: its /nix/store is another one than its supervisor's, or none; it runs under the loader that NIX_LD names, \
         or the compiled-in one, without the libraries that Sonde would provide", .0.display()
    )]
    OtherStore(PathBuf),
    #[error("the shim sent no listener")]
    NoListener,
}

/// An error as everybody prints it, without Rust's number.
fn errno_text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).desc().to_owned())
}

/// A program that said hello.
pub(super) struct Guest {
    pub(super) path: PathBuf,
    /// What the kernel says that its process executes.
    executable: Option<PathBuf>,
    wish: Wish,
    interpreter: Option<String>,
    root: GuestRoot,
    bundle: Bundle,
}

/// The first process of a tree, about to say hello.
pub(super) struct Greeting<'a> {
    pub(super) socket: Socket,
    /// The process, or one that shares its identity.
    pub(super) thread: Thread,
    pub(super) reporter: Reporter,
    /// To whoever takes the tree over if this process dies.
    pub(super) line: &'a Line,
    /// It has come to the user's door, and may be another supervisor's.
    pub(super) by_door: bool,
}

impl Greeting<'_> {
    /// Greets it; returns the tree and what makes its traps.
    pub(super) fn greet_first(
        &self,
        shared: &Shared,
        message: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<Founded, HelloError> {
        let (socket, thread) = (&self.socket, self.thread);
        let hello =
            Hello::decode(message).map_err(HelloError::from).or_else(|error| refuse(socket, error))?;
        let is_ours = || is_ourselves(OsStr::from_bytes(hello.supervisor)) && is_neighbour(thread);
        if self.by_door && !is_ours() {
            say(socket, Answer::Private, &[])?;
            return Err(HelloError::Stranger);
        }
        let guest = Guest::of(&hello, descriptors, thread).or_else(|error| refuse(socket, error))?;
        let tree = found_tree(shared, &guest, self.reporter.clone()).and_then(|(tree, config)| {
            // The program is not there yet: until it is, its terminal may show how a download gets on.
            let stderr = thread.standard_error().ok();
            let progress = progress::shown(stderr, &guest.path.to_string_lossy(), tree.notify);
            let admitted = admit(&tree, &guest, &*progress)?;
            Ok((tree, config, admitted))
        });
        let (tree, config, Admitted { provision, built_by_nix }) =
            tree.or_else(|error| refuse(socket, error))?;
        let obstacle = obstacle_to_inline(shared, &tree, &provision.loader);
        let attempts = config.attempts(guest.wish, tree.features, obstacle);
        let attempts = tree.permission.permitted(attempts);
        let attempts = attempts.map_err(HelloError::Engine).or_else(|error| refuse(socket, error))?;
        let (no_new_privs, program, line) = (config.no_new_privs, &*guest.path, self.line);
        let provision = &*provision;
        let newcomer = Newcomer {
            shared,
            socket,
            thread,
            tree: &tree,
            program,
            provision,
            no_new_privs,
            line,
            built_by_nix,
        };
        let engine = newcomer.join(attempts)?;
        Ok((tree, engine))
    }
}

/// Greets a foreign program that a process of the tree has executed: it runs under the tree's filter already.
pub(super) fn greet_member(tree: &Tree, socket: &Socket, thread: Thread) -> Result<(), HelloError> {
    let mut buffer = [0; MAX_MESSAGE];
    let guest = receive(socket, &mut buffer)
        .and_then(|(message, descriptors)| Guest::of(&Hello::decode(message)?, descriptors, thread));
    let guest = guest.or_else(|error| refuse(socket, error))?;
    // In a sandbox with a store of its own nothing that we realise would be found.
    if !tree.files.are_elsewhere() && !guest.root.shares(Path::new(store::STORE)) {
        return refuse(socket, HelloError::OtherStore(guest.path));
    }
    let admitted = admit(tree, &guest, &NoProgress).or_else(|error| refuse(socket, error))?;
    send_welcome(tree, socket, &admitted.provision)?;
    receive_listener(socket).map(drop)
}

/// Makes a tree of what another worker has written down.
pub(super) fn restore(shared: &Shared, record: &[u8]) -> Result<Tree, HelloError> {
    let record = Record::from_bytes(record).ok_or(HelloError::Record)?;
    let tree = Tree::new(shared, place_at(record.base), Reporter::default(), record.program.clone())?;
    info!(program = %record.program.display(), "a tree is taken over");
    tree.restore(record);
    Ok(tree)
}

/// Waits for a shim's first message.
pub(super) fn receive<'b>(
    socket: &Socket,
    buffer: &'b mut [u8],
) -> Result<(&'b [u8], Vec<OwnedFd>), HelloError> {
    socket.set_patience(PATIENCE)?;
    Ok(socket.receive(buffer)?)
}

impl Guest {
    fn of(hello: &Hello<'_>, descriptors: Vec<OwnedFd>, thread: Thread) -> Result<Self, HelloError> {
        debug!(program = %String::from_utf8_lossy(hello.program), direct = hello.direct, "hello");
        // What the kernel executed, or, where the shim maps the program itself, what it sent.
        match descriptors.into_iter().next().filter(|_| hello.direct) {
            Some(file) => {
                let link = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
                Self::read(std::fs::read_link(link)?, &File::from(file), thread, hello.wish)
            }
            None => Self::executed_by(thread, hello.wish),
        }
    }

    /// The program that the kernel has executed.
    pub(super) fn executed_by(thread: Thread, wish: Wish) -> Result<Self, HelloError> {
        Self::read(thread.executable_path()?, &thread.executable()?, thread, wish)
    }

    fn read(path: PathBuf, file: &File, thread: Thread, wish: Wish) -> Result<Self, HelloError> {
        let program_error = |source| HelloError::Program { path: path.clone(), source };
        // Mapped although it is foreign: whoever can truncate it while it starts ends the supervision of nothing but its
        // own tree.
        let bytes = MappedFile::open(file).map_err(program_error)?;
        let root = thread.root().or_else(|_| GuestRoot::own())?;
        let library_path = thread.variable("LD_LIBRARY_PATH").and_then(|value| String::from_utf8(value).ok());
        let bundle = Bundle::read(&path, bytes.as_ref(), library_path.as_deref(), &GuestFiles(&root))
            .map_err(|source| HelloError::Elf { path: path.clone(), source })?;
        let interpreter = bundle.members.first().and_then(|program| program.facts.interp.clone());
        let executable = thread.executable_path().ok();
        Ok(Self { path, executable, wish, interpreter, root, bundle })
    }
}

/// Why a program cannot have the engine inline, which sees nothing of what the loader can open, and whose tree is one
/// process; nothing, if it can.
fn obstacle_to_inline(shared: &Shared, tree: &Tree, loader: &Loader) -> Option<&'static str> {
    let obstacles = [
        (shared.door.is_none(), "a trace wants to see every open"),
        (
            shared.orders != Orders::default() || shared.settings.offline,
            "its children would not know of what the command line says",
        ),
        (tree.permission.policy().is_some(), "the policy is to be asked at every open"),
        (tree.files.are_elsewhere(), "the store lies elsewhere than its paths say"),
        (loader.looks_at_cache, "the loader looks at its cache, which is no file"),
        (loader.site.is_none(), "where the loader opens files is not known"),
    ];
    obstacles.into_iter().find_map(|(stands, words)| stands.then_some(words))
}

pub(super) fn found_tree(
    shared: &Shared,
    guest: &Guest,
    reporter: Reporter,
) -> Result<(Tree, EngineConfig), HelloError> {
    let config = EngineConfig::load(&shared.settings)?;
    let tree = Tree::new(shared, draw_place(), reporter, guest.path.clone())?;
    info!(program = %guest.path.display(), "a tree begins");
    Ok((tree, config))
}

/// A program that may start.
pub(super) struct Admitted {
    provision: Arc<Provision>,
    built_by_nix: bool,
}

/// Chooses the loader and everything that the program is known to need, and has it realised.
pub(super) fn admit(tree: &Tree, guest: &Guest, progress: &dyn Progress) -> Result<Admitted, HelloError> {
    let own = own_loader(tree, guest)?;
    let built_by_nix = own.is_some();
    let foreign = if own.is_none() { Some(tree.index.loader().ok_or(HelloError::NoLoader)?) } else { None };
    let first = foreign.iter().map(|choice| choice.object.clone()).collect();
    let asker = tree.permission.askers.meet(&guest.path, guest.executable.as_deref(), &guest.bundle);
    let mut supply = TreeSupply::new(tree, asker, first, progress);
    let closure = resolve(&guest.bundle, &GuestFiles(&guest.root), &tree.index, &mut supply);
    let failed = supply.finish();
    let provision = match (own, foreign) {
        (Some(own), _) => own,
        (None, Some(choice)) => {
            let failed = failed.into_iter().find(|(object, _)| *object == choice.object);
            let choice = match failed {
                Some((_, error)) if tree.fallback.helps(&error) => tree
                    .build(&choice)
                    .map_err(|source| HelloError::LoaderStore { path: choice.file, source })?,
                Some((_, source)) => return Err(HelloError::LoaderStore { path: choice.file, source }),
                None => choice,
            };
            provide_loader(tree, &choice.file, || tree.files.open(&choice.file))?
        }
        (None, None) => return Err(HelloError::NoLoader),
    };
    tree.learn(&guest.path, closure, &provision);
    Ok(Admitted { provision, built_by_nix })
}

/// A program built by Nix names a loader in the store: it runs under that one.
fn own_loader(tree: &Tree, guest: &Guest) -> Result<Option<Arc<Provision>>, HelloError> {
    let interpreter = guest.interpreter.as_deref().map(Path::new);
    let Some(path) = interpreter.filter(|path| path.starts_with("/nix/store")) else { return Ok(None) };
    let open = || tree.files.open_elsewhere(path).map_or_else(|| guest.root.open(path), Ok);
    if guest.root.contains(path) || tree.files.stat_elsewhere(path).is_some() {
        return provide_loader(tree, path, open).map(Some);
    }
    Ok(None)
}

pub(super) fn provide_loader(
    tree: &Tree,
    path: &Path,
    open: impl FnOnce() -> io::Result<File>,
) -> Result<Arc<Provision>, HelloError> {
    // Where it really lies: a link's folder is not where the rest of glibc is.
    let path = tree.files.real_path(path);
    if let Some(there) = tree.provisions.find(|loader| loader.path == path) {
        return Ok(there);
    }
    let file = open().map_err(|source| LoaderError::Read { path: path.clone(), source })?;
    Ok(tree.provisions.add(Loader::new(&path, file)?))
}

/// To a member: it has the tree's filter, or tracer, already.
fn send_welcome(tree: &Tree, socket: &Socket, provision: &Provision) -> Result<(), HelloError> {
    let welcome = Welcome {
        loader_base: tree.range.start,
        engine: Kind::Seccomp,
        no_new_privs: false,
        filter_flags: 0,
        supervisor_pid: tree.reader,
        filter: &[],
        site: 0,
        door: &[],
    };
    say(socket, Answer::Welcome(welcome), &[provision.loader.file.as_fd()])
}

pub(super) fn say(
    socket: &Socket,
    answer: Answer<'_>,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), HelloError> {
    let mut buffer = [0; MAX_MESSAGE];
    let length = answer.encode(&mut buffer)?;
    Ok(socket.send(&buffer[..length], descriptors)?)
}

/// Tells the shim why, so that it can tell the user and fall back.
pub(super) fn refuse<T>(socket: &Socket, error: HelloError) -> Result<T, HelloError> {
    let text = error.to_string();
    let mut end = text.len().min(MAX_MESSAGE / 2);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let refusal = Refusal { exit_code: 0, message: &text.as_bytes()[..end] };
    // If the shim is gone there is nobody to tell.
    let _ = say(socket, Answer::Refusal(refusal), &[]);
    Err(error)
}
