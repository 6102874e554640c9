//! The greeting: a program is about to start, and learns under which loader, where, and with which filter.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use sonde_interp::handoff::{
    Answer, Engine as Kind, Hello, MAX_MESSAGE, MessageError, Refusal, Welcome, Wish,
};
use sonde_interp::site::Sites;
use sonde_resolve::elf::ElfError;
use thiserror::Error;
use tracing::info;

use super::Founded;
use super::admission::{Admitted, Guest, admit, obstacle_to_inline};
use super::door::is_ourselves;
use super::join::{Newcomer, receive_listener};
use super::keeper::Line;
use super::provision::Provision;
use super::record::Record;
use super::shared::{Orders, Shared, SharedError};
use super::tree::Tree;
use crate::guest::remote::Thread;
use crate::index::IndexError;
use crate::plan::loader::{Loader, LoaderError, draw_place, place_at};
use crate::report::event::Reporter;
use crate::report::{errors, progress};
use crate::store::{self, LateProgress, NoProgress, StoreError};
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
    #[error("{}", errors::NO_ENGINE)]
    Kernel,
    #[error("{}", errors::engines_forbidden(.0))]
    Engine(Arc<str>),
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error("another supervisor's program came to the door")]
    Stranger,
    #[error("as many loads of this process wait already as [limits] traps of config.toml lets")]
    TooMany,
    #[error("the record of a tree cannot be read: it may have a path that is no text")]
    Record,
    #[error("{}: {source}", path.display())]
    Program { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Elf { path: PathBuf, source: ElfError },
    #[error("{}", errors::NO_GLIBC)]
    NoLoader,
    #[error("{}", errors::loader_unavailable(path, source))]
    LoaderStore { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Loader(#[from] LoaderError),
    #[error(transparent)]
    Index(Arc<IndexError>),
    #[error("{}", errors::filter_refused(&errno_text(.0)))]
    Filter(io::Error),
    #[error("{}", errors::loader_unchanged(&errno_text(.0)))]
    Change(io::Error),
    #[error("{}", errors::not_traceable(&errno_text(.0)))]
    Trace(io::Error),
    #[error("{}", errors::other_store(.0))]
    OtherStore(PathBuf),
    #[error("the shim sent no listener")]
    NoListener,
}

/// An error as everybody prints it, without Rust's number.
fn errno_text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).desc().to_owned())
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
        let guest = Guest::of(&hello, descriptors, thread).or_else(|error| refuse(socket, error))?;
        let is_ours = || {
            is_ourselves(OsStr::from_bytes(hello.supervisor))
                && shared.is_neighbour(thread, &guest.environment)
        };
        if self.by_door && !is_ours() {
            say(socket, Answer::Private, &[])?;
            return Err(HelloError::Stranger);
        }
        let tree = found_tree(shared, &guest, self.reporter.clone()).and_then(|tree| {
            let _tree = tree.span.clone().entered();
            // The program is not there yet: until it is, its terminal may show how a download gets on.
            let progress = LateProgress::new(|| {
                let stderr = thread.standard_error().ok();
                progress::shown(stderr, &guest.path.to_string_lossy(), tree.notify)
            });
            let admitted = admit(&tree, &guest, &progress, true)?;
            Ok((tree, admitted))
        });
        let (tree, Admitted { provision, built_by_nix, objections }) =
            tree.or_else(|error| refuse(socket, error))?;
        tree.witness.object(thread, &objections);
        let obstacle = obstacle_now(shared, &tree, &provision.loader, guest.wish, built_by_nix);
        let attempts = tree.engine.attempts(guest.wish, tree.features, obstacle);
        let attempts = tree.permission.permitted(attempts);
        let attempts = attempts.map_err(HelloError::Engine).or_else(|error| refuse(socket, error))?;
        let _tree = tree.span.clone().entered();
        let (no_new_privs, program, line) = (tree.engine.no_new_privs, &*guest.path, self.line);
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
        tree.witness.sightings.meet(thread, program);
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
    tree.witness.sightings.meet(thread, &guest.path);
    let admitted = admit(tree, &guest, &NoProgress, false).or_else(|error| refuse(socket, error))?;
    tree.witness.object(thread, &admitted.objections);
    send_welcome(tree, socket, &admitted.provision)?;
    receive_listener(socket)?;
    tree.plans.write(tree);
    Ok(())
}

/// Makes a tree of what another worker has written down.
pub(super) fn restore(shared: &Shared, record: &[u8]) -> Result<Tree, HelloError> {
    let record = Record::from_bytes(record).ok_or(HelloError::Record)?;
    let tree = Tree::new(shared, place_at(record.base), Reporter::default(), record.program.clone())?;
    tree.span.in_scope(|| info!("a tree is taken over"));
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

/// Why this start cannot have the engine inline, whose tree is one process; nothing, if it can.
fn obstacle_now(
    shared: &Shared,
    tree: &Tree,
    loader: &Loader,
    wish: Wish,
    built_by_nix: bool,
) -> Option<&'static str> {
    if shared.door.is_none() {
        return Some("a trace wants to see every open");
    }
    if shared.orders != Orders::default() || shared.settings.offline {
        return Some("its children would not know of what the command line says");
    }
    obstacle_to_inline(tree, loader, wish, built_by_nix)
}

pub(super) fn found_tree(shared: &Shared, guest: &Guest, reporter: Reporter) -> Result<Tree, HelloError> {
    let tree = Tree::new(shared, draw_place(), reporter, guest.path.clone())?;
    tree.span.in_scope(|| info!("a tree begins"));
    Ok(tree)
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
        sites: Sites::default(),
        cache: [&[]; 2],
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
