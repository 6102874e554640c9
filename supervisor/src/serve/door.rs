//! Where a user's programs find the supervisor that is running already, and which of them it may serve.
//!
//! `$XDG_RUNTIME_DIR/sonde/socket`, in a folder that nobody else can enter. One supervisor holds the lock beside it;
//! whoever comes second serves the one program that it was started for, and has a door that only this program is told of.
//! A service manager may hold the socket open in their place, and start a supervisor when somebody comes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockname, listen, socket,
};
use nix::unistd::Uid;
use sonde_interp::handoff::DOOR;
use tracing::{debug, warn};

use super::lobby::Lobby;
use super::{SHORTAGE, Trees, is_shortage};
use crate::guest::remote::Thread;
use crate::store;
use crate::sys::listen::path_of;
use crate::sys::lock::{How, Lock};
use crate::sys::scm_rights::Socket;

/// How long a user's supervisor stays when it has nobody to serve.
const IDLE: Duration = Duration::from_secs(10);

/// How often it is looked whether anybody is left, where nobody says so.
const BLIND: Duration = Duration::from_secs(1);

/// Programs that may wait to be let in.
const BACKLOG: i32 = 128;

/// What a supervisor reads of its environment, besides what its store does ([`store::DECISIVE`]): a program that says
/// something else is to be served by another one.
const PLACES: [&str; 7] = [
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "SONDE_LOG",
    "NIX_LD_LOG",
    "SONDE_OFFLINE",
];

/// The namespaces that decide what a path, a user and a process id mean.
const NAMESPACES: [&str; 4] = ["ns/mnt", "ns/user", "ns/pid", "ns/net"];

/// What has happened at the door.
pub(super) enum Visit {
    Program(Socket, Thread),
    /// Somebody else, who was not let in.
    Stranger,
    /// Or something else that may be worth a look.
    TreeEnded,
    Nobody,
}

/// A door, held by this process.
#[derive(Debug)]
pub(crate) struct Door {
    listening: OwnedFd,
    /// Is it the user's, which others look for, or known to nobody but our own program?
    is_users: bool,
    /// Where we have put it, and what was there then; nothing for one without a path, or a service manager's.
    ours: Option<(PathBuf, Metadata)>,
    _lock: Option<Lock>,
}

impl Door {
    /// Opens the user's door, if this user has a runtime folder and nobody holds it already; else one of our own.
    pub(crate) fn open() -> Option<Self> {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let users = folder.and_then(|folder| {
            let door = Self::open_below(&folder);
            door.inspect_err(|error| {
                debug!(%error, folder = %folder.display(), "no door for this user's other programs");
            })
            .ok()?
        });
        users.or_else(|| Self::open_own().inspect_err(|error| debug!(%error, "no door")).ok())
    }

    /// One without a path: the kernel draws its name (unix(7), autobind).
    pub(crate) fn open_own() -> io::Result<Self> {
        let listening = listening_at(&UnixAddr::new_unnamed())?;
        Ok(Self { listening, is_users: false, ours: None, _lock: None })
    }

    /// Where it is, as a shim connects to it.
    pub(super) fn address(&self) -> io::Result<Vec<u8>> {
        let address: UnixAddr = getsockname(self.listening.as_raw_fd())?;
        let path = address.path().map(|path| path.as_os_str().as_bytes().to_vec());
        let name = || address.as_abstract().map(|name| [b"\0", name].concat());
        path.or_else(name).ok_or_else(|| io::Error::other("a socket without an address"))
    }

    /// How long it stays open with nobody to serve.
    pub(super) fn patience(&self) -> Duration {
        if self.is_users { IDLE } else { Duration::ZERO }
    }

    fn open_below(runtime: &Path) -> io::Result<Option<Self>> {
        let path = runtime.join(DOOR);
        let folder = path.parent().unwrap_or(runtime);
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if !is_private(&fs::symlink_metadata(folder)?) {
            return Err(io::Error::other("the folder is not this user's alone"));
        }
        let Some(lock) = lock(folder)? else { return Ok(None) };
        if is_open(&path) {
            return Ok(None); // a service manager's, who has not started anybody yet
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listening = listening_at(&UnixAddr::new(&path)?)?;
        let there = fs::symlink_metadata(&path)?;
        Ok(Some(Self { listening, is_users: true, ours: Some((path, there)), _lock: Some(lock) }))
    }

    /// The door that a service manager holds open.
    pub(crate) fn passed(listening: OwnedFd) -> Self {
        let folder = path_of(&listening).and_then(|path| Some(path.parent()?.to_owned()));
        // Whoever has the lock already serves those who came before; who comes now, comes here.
        let lock = folder.and_then(|folder| lock(&folder).ok().flatten());
        Self { listening, is_users: true, ours: None, _lock: lock }
    }

    /// Waits for the next program, the end of a tree, or the end of its patience.
    pub(super) fn next(&self, lobby: &mut Lobby, patience: Option<Duration>, trees: &Trees) -> Visit {
        let bell = trees.bell();
        let own = std::iter::once(self.listening.as_fd()).chain(bell);
        let mut ready: Vec<_> =
            own.chain(lobby.sockets()).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Without a bell the end of a tree is noticed by looking.
        let idle = patience.or(bell.is_none().then_some(BLIND));
        let patience = idle.into_iter().chain(lobby.patience()).min();
        let timeout = patience.map_or(PollTimeout::NONE, |time| time.try_into().unwrap_or(PollTimeout::MAX));
        let heard = poll(&mut ready, timeout);
        let events: Vec<_> = ready.iter().map(|one| one.revents().unwrap_or(PollFlags::empty())).collect();
        match heard {
            Ok(0) if idle.is_some_and(|idle| lobby.patience().is_none_or(|first| idle <= first)) => {
                return Visit::Nobody;
            }
            Ok(_) => {}
            Err(Errno::EINTR) => return Visit::TreeEnded,
            // Nothing is known, then, but what is found by looking.
            Err(error) => {
                warn!(%error, "the door cannot be watched");
                thread::sleep(SHORTAGE);
            }
        }
        let own = 1 + usize::from(bell.is_some());
        if let Some((socket, thread)) = lobby.speaker(events.get(own..).unwrap_or_default()) {
            return Visit::Program(socket, thread);
        }
        let rings = bell.is_some() && events.get(1).is_some_and(|events| !events.is_empty());
        match self.admit() {
            // A shim has spoken by now.
            Ok(Some((socket, thread))) if socket.is_ready(PollTimeout::ZERO) => {
                return Visit::Program(socket, thread);
            }
            Ok(Some((socket, thread))) => lobby.enter(socket, thread),
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "nobody can be let in");
                if !lobby.make_room(|| Socket::accept(&self.listening)) {
                    thread::sleep(SHORTAGE);
                }
            }
        }
        if rings { Visit::TreeEnded } else { Visit::Stranger }
    }

    /// Lets in who has connected; `None` if nobody has, or nobody of ours.
    ///
    /// # Errors
    /// The kernel is short of descriptors or memory.
    fn admit(&self) -> io::Result<Option<(Socket, Thread)>> {
        let socket = match Socket::accept(&self.listening) {
            Ok(socket) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if is_shortage(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let Ok(peer) = socket.peer() else { return Ok(None) };
        let thread = Thread::new(peer.process).filter(|_| Uid::from_raw(peer.user) == Uid::effective());
        Ok(thread.map(|thread| (socket, thread)))
    }

    /// Closes it for good: the next program starts a supervisor.
    pub(crate) fn close(self) {
        let Some((path, there)) = self.ours else { return };
        // Somebody else may have taken its place by force.
        if is_same(fs::symlink_metadata(&path).ok(), Some(there)) {
            // Whoever has connected meanwhile finds the connection broken, and does the same.
            let _ = fs::remove_file(&path);
        }
    }
}

fn listening_at(address: &UnixAddr) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listening = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(listening.as_raw_fd(), address)?;
    listen(&listening, Backlog::new(BACKLOG)?)?;
    Ok(listening)
}

/// The lock of whoever serves a door in this folder; nothing, if somebody has it.
fn lock(folder: &Path) -> io::Result<Option<Lock>> {
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    Ok(Lock::take(lock, How::AloneAtOnce).ok())
}

/// Does anybody listen at this path?
fn is_open(path: &Path) -> bool {
    let connected = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .and_then(|socket| connect(socket.as_raw_fd(), &UnixAddr::new(path)?));
    connected.is_ok()
}

fn is_private(folder: &Metadata) -> bool {
    folder.is_dir() && folder.uid() == Uid::effective().as_raw() && folder.mode() & 0o077 == 0
}

/// Does a program mean the same by its paths, its user and its environment as this process? Where nixpkgs is matters to
/// those alone for whom packages are built from it, as `builds` says, which is asked only if it decides: shells and service
/// managers often say different things of it.
pub(super) fn is_neighbour(thread: Thread, environment: &[u8], builds: impl FnOnce() -> bool) -> bool {
    let places = || PLACES.iter().chain(&store::DECISIVE);
    let mut ours: BTreeMap<&str, Vec<u8>> =
        places().filter_map(|name| Some((*name, std::env::var_os(name)?.as_bytes().to_vec()))).collect();
    let mut theirs: BTreeMap<&str, Vec<u8>> = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let equals = entry.iter().position(|byte| *byte == b'=')?;
            let name = places().find(|name| name.as_bytes() == &entry[..equals])?;
            Some((*name, entry[equals + 1..].to_vec()))
        })
        .collect();
    let nixpkgs_differs = ours.remove(store::NIXPKGS) != theirs.remove(store::NIXPKGS);
    ours == theirs
        && !(nixpkgs_differs && builds())
        && NAMESPACES.iter().all(|namespace| shares(thread, namespace))
        && shares(thread, "root")
}

/// Does it mean the same processes by their numbers as this process?
pub(super) fn shares_numbers(thread: Thread) -> bool {
    shares(thread, "ns/pid")
}

fn shares(thread: Thread, entry: &str) -> bool {
    let of = |process: &str| fs::metadata(format!("/proc/{process}/{entry}")).ok();
    is_same(of("self"), of(&thread.id().to_string()))
}

/// Is this the file that this process executes?
pub(super) fn is_ourselves(supervisor: &OsStr) -> bool {
    is_same(fs::metadata("/proc/self/exe").ok(), fs::metadata(supervisor).ok())
}

fn is_same(one: Option<Metadata>, other: Option<Metadata>) -> bool {
    let identity = |data: Metadata| (data.dev(), data.ino());
    one.map(identity).is_some_and(|one| other.map(identity) == Some(one))
}
