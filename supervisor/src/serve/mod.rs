//! Who is served: trees, each from its first hello to the end of its last process.

mod admission;
mod askers;
pub(crate) mod deposit;
mod door;
mod drivers;
mod fallback;
mod hello;
mod join;
pub(crate) mod keeper;
mod knowledge;
pub(crate) mod limits;
mod loader;
mod lobby;
mod miss;
mod permission;
mod plans;
mod pool;
mod provision;
mod record;
mod seeds;
mod shared;
mod sightings;
mod strangers;
pub(crate) mod supervisors;
mod supply;
mod tree;
mod watch;
mod witness;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use sonde_interp::handoff::{MAX_MESSAGE, MessageError, Miss, Watch};
use tracing::{debug, error, warn};

use crate::engine::{Engine, SeccompEngine};
use crate::guest::notification::Notification;
use crate::guest::remote::Thread;
use crate::report::event::Reporter;
use crate::settings::Settings;
use crate::sys::bell::Bell;
use crate::sys::scm_rights::Socket;

pub(crate) use door::Door;
use door::Visit;
use hello::Greeting;
pub(crate) use hello::HelloError;
use keeper::{Inheritance, Line, Orphan};
use lobby::{Lobby, turn_away};
pub(crate) use shared::Orders;
use shared::Shared;
use tree::Tree;

/// How long nothing is tried again of what the kernel has not enough for.
const SHORTAGE: Duration = Duration::from_millis(50);
/// After as many in a row, which takes ten seconds, the machine is not short of something but broken.
const MOST_SHORTAGES: u32 = 200;

/// Is the kernel short of something that may be there a moment later?
fn is_shortage(error: &io::Error) -> bool {
    use Errno::{EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| [EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&errno))
}

/// Serves the tree of one program, which is `thread` or shares its identity, and is at the other end of `socket`. Nobody
/// takes over if this process dies.
pub(crate) fn serve(
    settings: Settings,
    orders: Orders,
    socket: Socket,
    thread: Thread,
    reporter: Reporter,
) -> Result<(), HelloError> {
    let line = Line::default();
    let shared = Shared::new(settings, orders, line.reader(), None);
    greet_and_serve(&shared, Greeting { socket, thread, reporter, line: &line, by_door: false })
}

/// Serves everybody: the trees that another worker has left, the program for which this process was started, and whoever
/// comes to the door, until nobody has come for a while.
pub(crate) fn work(settings: Settings, orders: Orders, inheritance: Inheritance, door: Option<&Door>) {
    let Inheritance { orphans, first, line } = inheritance;
    let shared = Shared::new(settings, orders, line.reader(), door.and_then(|door| door.address().ok()));
    let (shared, line, trees) = (&shared, &line, &Trees::new());
    thread::scope(|scope| {
        let start = |serve: Box<dyn FnOnce() -> Result<(), HelloError> + Send>| {
            let present = Present::among(trees);
            let serve = move || {
                let _present = present;
                if let Err(error) = serve() {
                    warn!(%error, "not served");
                }
            };
            // Whoever is not served for want of a thread is told so by the end of the socket.
            if let Err(error) = thread::Builder::new().name("tree".into()).spawn_scoped(scope, serve) {
                warn!(%error, "no thread for a tree");
            }
        };
        let greet = |socket: Socket, thread: Thread, by_door: bool| {
            start(Box::new(move || {
                let reporter = Reporter::default();
                greet_and_serve(shared, Greeting { socket, thread, reporter, line, by_door })
            }));
        };
        for orphan in orphans {
            start(Box::new(move || adopt(shared, orphan)));
        }
        if let Some((socket, thread)) = first.and_then(whoever_started_us) {
            greet(socket, thread, false);
        }
        let Some(door) = door else { return };
        let mut lobby = Lobby::new();
        loop {
            // Nobody wakes up for nothing, however long a program runs.
            let patience = if trees.any() { None } else { Some(door.patience()) };
            match door.next(&mut lobby, patience, trees) {
                Visit::Program(socket, _) if trees.count() >= shared.limits.trees => drop(turn_away(socket)),
                Visit::Program(socket, thread) => greet(socket, thread, true),
                Visit::Nobody if trees.any() => {}
                Visit::Nobody => return,
                Visit::TreeEnded => trees.hush(),
                Visit::Stranger => {}
            }
        }
    });
}

/// How many trees there are; readable when one has ended.
struct Trees {
    count: AtomicUsize,
    bell: Option<Bell>,
}

impl Trees {
    fn new() -> Self {
        let bell = Bell::new().inspect_err(|error| warn!(%error, "no bell")).ok();
        Self { count: AtomicUsize::new(0), bell }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn any(&self) -> bool {
        self.count() > 0
    }

    fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(Bell::as_fd)
    }

    fn hush(&self) {
        self.bell.as_ref().map(Bell::hush);
    }
}

/// A tree, as long as it lives.
struct Present<'c>(&'c Trees);

impl<'c> Present<'c> {
    fn among(trees: &'c Trees) -> Self {
        trees.count.fetch_add(1, Ordering::AcqRel);
        Self(trees)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.bell.as_ref().map(Bell::ring);
    }
}

fn whoever_started_us(socket: Socket) -> Option<(Socket, Thread)> {
    let thread = Thread::new(socket.peer().ok()?.process);
    if thread.is_none() {
        warn!("the shim's process cannot be seen from here");
    }
    Some((socket, thread?))
}

fn greet_and_serve(shared: &Shared, greeting: Greeting<'_>) -> Result<(), HelloError> {
    let mut buffer = [0; MAX_MESSAGE];
    let (message, descriptors) = hello::receive(&greeting.socket, &mut buffer)?;
    let founded = match (Miss::decode(message), Watch::decode(message)) {
        (_, Ok(watch)) => return watch::meet(shared, greeting, watch),
        (Err(MessageError::Kind), _) => Some(greeting.greet_first(shared, message, descriptors)?),
        (miss, _) => miss::meet(shared, greeting, miss?)?,
    };
    if let Some((tree, engine)) = founded {
        answer(shared, tree, engine);
    }
    Ok(())
}

/// Takes up a tree where another worker has left it.
fn adopt(shared: &Shared, orphan: Orphan) -> Result<(), HelloError> {
    let Orphan { custody, listener, ledger, record } = orphan;
    let mut engine = SeccompEngine::new(listener, ledger);
    match hello::restore(shared, &record) {
        Ok(tree) => {
            tree.give_into(custody);
            answer(shared, tree, Box::new(engine));
            Ok(())
        }
        Err(error) => {
            // Nothing is known of it, so nothing can be provided; but its programs must not wait, nor be told lies.
            while let Some(notification) = next(&mut engine) {
                notification.let_through();
            }
            Err(error)
        }
    }
}

/// A tree, and what makes its traps.
type Founded = (Tree, Box<dyn Engine>);

/// Answers a tree's traps until its last process has ended.
fn answer(shared: &Shared, tree: Tree, mut engine: Box<dyn Engine>) {
    let tree = Arc::new(tree);
    shared.trees.add(&tree, engine.only_process());
    let _tree = tree.span.enter();
    let pool = pool::Pool::new(tree.clone());
    if tree.plans.has_news() {
        pool.submit(pool::Job::Keep);
    }
    while let Some(notification) = next(&mut *engine) {
        // A panic costs one answer, and that is given by the notification's end.
        if catch_unwind(AssertUnwindSafe(|| tree.handle(notification, &pool))).is_err() {
            error!("a load could not be handled; it went through as it was");
        }
    }
    tree.witness.sightings.end();
    tree.plans.write(&tree);
    debug!("the tree has ended");
}

/// The next trap; `None` when the tree has ended. A shortage of the machine's is waited for, though not for ever: to give
/// up fails every open of the tree's loaders from then on.
fn next(engine: &mut dyn Engine) -> Option<Notification> {
    let mut shortages = 0;
    loop {
        match engine.next() {
            Ok(next) => return next,
            Err(error) if is_shortage(&error) && shortages < MOST_SHORTAGES => {
                shortages += 1;
                warn!(%error, "no trap can be received now");
                thread::sleep(SHORTAGE);
            }
            Err(error) => {
                error!(%error, "no more traps can be received");
                return None;
            }
        }
    }
}
