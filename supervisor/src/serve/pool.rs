//! Threads for what takes time, so that a download never holds up another open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tracing::{error, warn};

use super::tree::{Tree, Waiting};
use crate::guest::remote::Thread;
use crate::store::{StoreError, StorePath};
use crate::sys::scm_rights::Socket;

/// Downloads at once, and greetings.
const WORKERS: usize = 8;

/// All that can be given to the pool. As many jobs may wait as the tree has threads, since each of those is blocked until
/// its job is done: the tree slows itself down and nobody else. The receiving thread never waits, because under ptrace
/// the tree's threads need it to get anywhere at all.
pub(crate) enum Job {
    /// A path that somebody waits for, and who was the first.
    Realise(StorePath, Option<Thread>),
    /// A load whose package cannot be had, but may be built.
    Rebuild(Box<Waiting>, StoreError),
    /// A process of the tree that has called the supervisor.
    Greet(Socket, Thread),
    /// Plans that are to be written.
    Keep,
}

/// The workers; started when there is something to do, since most starts need none.
pub(crate) struct Pool {
    tree: Arc<Tree>,
    sender: Sender<Job>,
    receiver: Receiver<Job>,
    /// How many workers there are, once there should be some.
    started: OnceLock<usize>,
}

impl Pool {
    pub(crate) fn new(tree: Arc<Tree>) -> Self {
        let (sender, receiver) = unbounded();
        Self { tree, sender, receiver, started: OnceLock::new() }
    }

    /// Hands a job to the next free worker.
    pub(crate) fn submit(&self, job: Job) {
        if *self.started.get_or_init(|| self.start()) == 0 {
            return self.tree.work(job); // slow beats never
        }
        // The receiver lives as long as we do.
        let _ = self.sender.send(job);
    }

    fn start(&self) -> usize {
        let mut started = 0;
        for number in 0..WORKERS {
            let (tree, receiver) = (self.tree.clone(), self.receiver.clone());
            let worker = move || {
                let _tree = tree.span.enter();
                for job in receiver {
                    if catch_unwind(AssertUnwindSafe(|| tree.work(job))).is_err() {
                        error!("a job could not be finished");
                    }
                }
            };
            match thread::Builder::new().name(format!("worker-{number}")).spawn(worker) {
                Ok(_) => started += 1,
                Err(error) => warn!(%error, "no thread for a worker"),
            }
        }
        started
    }
}
