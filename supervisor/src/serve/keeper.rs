//! The keeper: holds what a tree cannot live without, and starts a new worker when the old one dies.
//!
//! It is the process that a shim starts, and does nothing but wait: its child, the **worker**, serves the trees. Of each
//! tree it has the listener, the ledger of open traps and a record of what the worker knew. If the worker is killed, the
//! next one finds all of that in its inheritance. It reads no program, no index and no message but the worker's. A service
//! manager that has started it holds the same for the next keeper (`deposit.rs`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};
use tracing::warn;

use super::deposit::{Deposit, Held};
use crate::sys::ledger::Ledger;
use crate::sys::scm_rights::Socket;
use crate::sys::spawn::{Split, split};

/// A worker that lives shorter than this is not replaced at once.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// … but after this, so that whatever kills one after the other does not keep a processor busy.
const PAUSE: Duration = Duration::from_millis(200);
/// A shim that was welcomed sends its listener at once.
const LATE: u16 = 200; // milliseconds

const PREPARE: u8 = b'P';
const UPDATE: u8 = b'U';
const FORGET: u8 = b'F';

/// What a keeper begins with.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    first: Option<Socket>,
    trees: Vec<Kept>,
    deposit: Deposit,
}

/// A tree in the keeper's hands.
#[derive(Debug)]
struct Kept {
    id: u64,
    ledger: OwnedFd,
    record: OwnedFd,
    /// Counts its records.
    edition: u32,
    /// Where the shim will send the listener.
    shim: Option<Socket>,
    listener: Option<OwnedFd>,
}

/// A tree that a worker inherits from one that has died.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) custody: Custody,
    pub(crate) listener: OwnedFd,
    pub(crate) ledger: Ledger,
    pub(crate) record: Vec<u8>,
}

/// What a worker begins with.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) orphans: Vec<Orphan>,
    /// The program that made a shim start the keeper; only the first worker meets it.
    pub(crate) first: Option<Socket>,
    pub(crate) line: Line,
}

/// A worker's line to its keeper; nobody is at the other end where there is none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Option<std::sync::Arc<Socket>>);

/// One tree, as its worker speaks of it to the keeper.
#[derive(Debug)]
pub(crate) struct Custody {
    id: u64,
    line: Line,
}

/// Starts workers until one of them has nothing left to do; returns in each worker with its inheritance, and in the
/// keeper with `None` at the end. Must be called while this process has one thread.
pub(crate) fn keep(beginning: Beginning) -> Option<Inheritance> {
    let Beginning { mut first, mut trees, deposit } = beginning;
    loop {
        let started = Instant::now();
        let made = Socket::pair().and_then(|pair| Ok((pair, split()?)));
        match made {
            Ok(((ours, theirs), Split::Child)) => {
                drop(ours);
                let line = Line(Some(theirs.into()));
                let orphans = trees.into_iter().filter_map(|tree| tree.inherited(&line)).collect();
                return Some(Inheritance { orphans, first, line });
            }
            Ok(((ours, theirs), Split::Parent(worker))) => {
                drop(theirs);
                // Its end is to tell the shim that the worker is gone.
                first = None;
                listen(&ours, &mut trees, &deposit);
                if has_finished(worker) {
                    return None;
                }
                trees.retain_mut(|tree| tree.settle(&deposit));
                if started.elapsed() < SHORT_LIFE {
                    thread::sleep(PAUSE);
                }
            }
            // No process to be had: then without a keeper, or, for one that has lost its worker, a little later.
            Err(_) if first.is_some() => return first.map(Inheritance::unkept),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

impl Beginning {
    /// Of one that a shim has started for the program at the other end.
    pub(crate) fn with(first: Option<Socket>) -> Self {
        Self { first, ..Self::default() }
    }

    /// Of one that a service manager has started, which has held these for it.
    pub(crate) fn under_manager(stored: Vec<(String, OwnedFd)>) -> Self {
        let deposit = Deposit::of_environment();
        let trees = deposit.recover(stored).into_iter().map(Kept::from).collect();
        Self { first: None, trees, deposit }
    }
}

impl Inheritance {
    /// That of a worker that nobody would replace.
    pub(crate) fn unkept(first: Socket) -> Self {
        Self { orphans: Vec::new(), first: Some(first), line: Line::default() }
    }
}

/// Waits for a worker that has hung up; did it end because it had nothing left to do?
fn has_finished(worker: Pid) -> bool {
    loop {
        match waitpid(worker, None) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, 0)) | Err(_) => return true,
            Ok(_) => return false,
        }
    }
}

/// Hears a worker out.
fn listen(worker: &Socket, trees: &mut Vec<Kept>, deposit: &Deposit) {
    loop {
        let shims = trees.iter().filter_map(|tree| tree.shim.as_ref().map(Socket::as_fd));
        let all = std::iter::once(worker.as_fd()).chain(shims);
        let mut ready: Vec<PollFd<'_>> = all.map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let is_ready = |polled: &PollFd<'_>| polled.revents().is_some_and(|events| !events.is_empty());
        let (worker_speaks, shim_speaks) = (is_ready(&ready[0]), ready[1..].iter().any(is_ready));
        if shim_speaks {
            trees.retain_mut(|tree| {
                tree.shim.as_ref().is_none_or(|shim| !shim.is_ready(PollTimeout::ZERO))
                    || tree.settle(deposit)
            });
        }
        if worker_speaks {
            let mut buffer = [0; 16];
            match worker.receive(&mut buffer) {
                Ok((message, descriptors)) => obey(message, descriptors, trees, deposit),
                Err(_) => return,
            }
        }
    }
}

fn obey(message: &[u8], descriptors: Vec<OwnedFd>, trees: &mut Vec<Kept>, deposit: &Deposit) {
    let Some((&kind, id)) = message.split_first() else { return };
    let Ok(id) = id.try_into().map(u64::from_le_bytes) else { return };
    let mut descriptors = descriptors.into_iter();
    match (kind, descriptors.next(), descriptors.next(), descriptors.next()) {
        (PREPARE, Some(ledger), Some(record), Some(shim)) => {
            trees.push(Kept { id, ledger, record, edition: 0, shim: Some(shim.into()), listener: None });
        }
        (UPDATE, Some(record), ..) => {
            trees.iter_mut().filter(|tree| tree.id == id).for_each(|tree| {
                if let Ok(copy) = record.try_clone() {
                    tree.renew(copy, deposit);
                }
            });
        }
        (FORGET, ..) => trees.retain(|tree| {
            let stays = tree.id != id;
            if !stays && tree.listener.is_some() {
                deposit.withdraw(id, tree.edition);
            }
            stays
        }),
        _ => {}
    }
}

impl Kept {
    /// Takes the listener from the shim, if it is still to come; `false` if there will be none.
    fn settle(&mut self, deposit: &Deposit) -> bool {
        if let Some(shim) = self.shim.take()
            && shim.is_ready(PollTimeout::from(LATE))
            && let Ok((_, descriptors)) = shim.receive(&mut [0; 16])
            && let Some(listener) = descriptors.into_iter().next()
        {
            let record = (self.edition, self.record.as_fd());
            deposit.put(self.id, [listener.as_fd(), self.ledger.as_fd()], record);
            self.listener = Some(listener);
        }
        self.listener.is_some()
    }

    fn renew(&mut self, record: OwnedFd, deposit: &Deposit) {
        self.record = record;
        self.edition = self.edition.wrapping_add(1);
        if self.listener.is_some() {
            deposit.renew(self.id, (self.edition, self.record.as_fd()));
        }
    }

    fn inherited(self, line: &Line) -> Option<Orphan> {
        let record = File::from(self.record);
        let mut bytes = vec![0; usize::try_from(record.metadata().ok()?.len()).ok()?];
        record.read_exact_at(&mut bytes, 0).ok()?;
        let ledger = Ledger::open(self.ledger).ok()?;
        let custody = Custody { id: self.id, line: line.clone() };
        Some(Orphan { custody, listener: self.listener?, ledger, record: bytes })
    }
}

impl From<Held> for Kept {
    fn from(held: Held) -> Self {
        let Held { id, listener, ledger, record, edition } = held;
        Self { id, ledger, record, edition, shim: None, listener: Some(listener) }
    }
}

impl Line {
    /// The process whose descendants all of a tree's workers are.
    pub(crate) fn reader(&self) -> u32 {
        if self.0.is_some() { getppid().as_raw().cast_unsigned() } else { std::process::id() }
    }

    /// Gives a tree into the keeper's hands before it exists: its listener comes from the shim, by the socket that is
    /// returned. `None` without a keeper, or if it cannot be reached.
    pub(crate) fn prepare(&self, ledger: &Ledger, record: &[u8]) -> (Custody, Option<Socket>) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // The process id keeps those of one worker apart from the next one's.
        let id = u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed);
        let custody = Custody { id, line: self.clone() };
        let prepared = (|| -> io::Result<Socket> {
            let (shim, keeper) = Socket::pair()?;
            let record = file_of(record)?;
            custody.tell(PREPARE, &[ledger.as_fd(), record.as_fd(), keeper.as_fd()])?;
            Ok(shim)
        })();
        match prepared {
            Ok(shim) if self.0.is_some() => (custody, Some(shim)),
            Ok(_) => (custody, None),
            Err(error) => {
                warn!(%error, "the keeper cannot be reached: the tree would not survive this process");
                (custody, None)
            }
        }
    }
}

impl Custody {
    /// Replaces what the next worker will know of the tree.
    pub(crate) fn update(&self, record: &[u8]) {
        let told = file_of(record).and_then(|record| self.tell(UPDATE, &[record.as_fd()]));
        if let Err(error) = told {
            warn!(%error, "the keeper does not know what is new");
        }
    }

    fn tell(&self, kind: u8, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(socket) = &self.line.0 else { return Ok(()) };
        let mut message = [kind; 9];
        message[1..].copy_from_slice(&self.id.to_le_bytes());
        socket.send(&message, descriptors)
    }
}

impl Drop for Custody {
    /// The tree has ended.
    fn drop(&mut self) {
        // A keeper that is gone keeps nothing.
        let _ = self.tell(FORGET, &[]);
    }
}

fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("tree", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}
