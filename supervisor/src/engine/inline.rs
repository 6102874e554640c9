//! The inline engine: the shim has changed the loader, whose failed opens come as questions, each over a connection of its
//! own. What the loader can open by itself is never seen.
//!
//! A tree is one process, and whatever it forks that has not asked yet. It has ended when the process has: nobody who
//! lives holds anything of it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sonde_interp::handoff::{Answer, MAX_VERDICT};

use super::Engine;
use crate::guest::notification::{Call, Notification, Responder};
use crate::guest::remote::{Address, Thread};
use crate::sys::bell::Bell;
use crate::sys::pidfd;
use crate::sys::scm_rights::Socket;

/// The processes whose questions are answered by this supervisor.
#[derive(Default)]
pub(crate) struct Callers(Mutex<HashMap<Thread, Caller>>);

struct Caller {
    /// A process that executes something else is another tree.
    executable: Option<(u64, u64)>,
    questions: Sender<Notification>,
    bell: Arc<Bell>,
    /// Held by each question that has no answer yet.
    unanswered: Arc<()>,
}

impl Callers {
    /// Has this process an engine?
    pub(crate) fn knows(&self, process: Thread) -> bool {
        self.lock().get(&process).is_some_and(|caller| caller.executable == process.executable_identity())
    }

    /// Makes a question one of its process's; nothing, if that has so many without an answer already.
    pub(crate) fn count(&self, process: Thread, most: usize) -> Option<Counted> {
        let all = self.lock();
        let Some(caller) = all.get(&process) else { return Some(Counted(Arc::default())) };
        let counted = Counted(caller.unanswered.clone());
        (Arc::strong_count(&caller.unanswered) - 2 < most).then_some(counted)
    }

    /// Hands a question to the engine of its process; gives it back if there is none.
    pub(crate) fn pass(&self, question: Notification) -> Result<(), Notification> {
        let all = self.lock();
        let caller = question.thread().and_then(|process| all.get(&process));
        let Some(caller) = caller
            .filter(|caller| caller.executable == question.thread().and_then(Thread::executable_identity))
        else {
            return Err(question);
        };
        caller.questions.send(question).map_err(|refused| refused.0)?;
        caller.bell.ring();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Thread, Caller>> {
        // A map stays whole whatever happens between two of its methods.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is counted as long as it has no answer.
pub(crate) struct Counted(#[expect(dead_code, reason = "it counts by being there")] Arc<()>);

impl Drop for Caller {
    /// Its engine learns that there will be no more.
    fn drop(&mut self) {
        self.bell.ring();
    }
}

/// Answers the questions of one process.
pub(crate) struct InlineEngine {
    thread: Thread,
    process: OwnedFd,
    questions: Receiver<Notification>,
    bell: Arc<Bell>,
}

impl InlineEngine {
    /// For a process that may have asked already. It takes the place of the engine that the process had, if any: that was
    /// for what it executed before.
    pub(crate) fn new(callers: &Callers, process: Thread, first: Option<Notification>) -> io::Result<Self> {
        let descriptor = pidfd::open(process.id())?;
        let bell = Arc::new(Bell::new()?);
        let (sender, questions) = unbounded();
        if let Some(first) = first {
            // The receiver is here.
            let _ = sender.send(first);
        }
        let executable = process.executable_identity();
        let caller = Caller { executable, questions: sender, bell: bell.clone(), unanswered: Arc::default() };
        let mut all = callers.lock();
        // An engine that is gone has left its bell to us alone.
        all.retain(|other, caller| *other == process || Arc::strong_count(&caller.bell) > 1);
        let previous = all.insert(process, caller);
        drop(all);
        drop(previous);
        Ok(Self { thread: process, process: descriptor, questions, bell })
    }
}

impl Engine for InlineEngine {
    fn only_process(&self) -> Option<Thread> {
        Some(self.thread)
    }

    fn next(&mut self) -> io::Result<Option<Notification>> {
        loop {
            match self.questions.try_recv() {
                Ok(question) => return Ok(Some(question)),
                Err(TryRecvError::Disconnected) => return Ok(None),
                Err(TryRecvError::Empty) => {}
            }
            let descriptor = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
            let mut ready = [descriptor(self.process.as_fd()), descriptor(self.bell.as_fd())];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [ended, rung] = ready.map(|polled| polled.revents().is_some_and(|events| !events.is_empty()));
            if ended {
                return Ok(None);
            }
            if rung {
                self.bell.hush(); // somebody may have been faster
            }
        }
    }
}

/// A question as a call that waits for its answer.
pub(crate) fn question(
    socket: Socket,
    process: Thread,
    path: PathBuf,
    on_stack: bool,
    at: Address,
    counted: Counted,
) -> Notification {
    let call = Call::Missed { path, on_stack };
    Notification::new(Arc::new(Question(socket, counted)), 0, Some(process), call, at)
}

/// The connection over which a shim asks.
struct Question(Socket, #[expect(dead_code, reason = "it counts by being there")] Counted);

impl Question {
    fn answer(&self, answer: Answer<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut buffer = [0; MAX_VERDICT];
        let length = answer.encode(&mut buffer).map_err(io::Error::other)?;
        self.0.send(&buffer[..length], descriptors)
    }
}

impl Responder for Question {
    /// The kernel has answered already; it is asked once more.
    fn let_through(&self, _: u64) -> io::Result<()> {
        self.answer(Answer::Proceed, &[])
    }

    /// Close-on-exec is what the shim asks the kernel for.
    fn return_descriptor(&self, _: u64, descriptor: BorrowedFd<'_>, _: bool) -> io::Result<()> {
        self.answer(Answer::File, &[descriptor])
    }

    /// An open that has succeeded has a descriptor.
    fn return_value(&self, id: u64, _: i64) -> io::Result<()> {
        self.let_through(id)
    }

    /// The only error that is ever returned is that there is nothing.
    fn fail(&self, _: u64, _: Errno) -> io::Result<()> {
        self.answer(Answer::Absent, &[])
    }

    /// It says nothing more: whatever can be read is the end.
    fn is_waiting(&self, _: u64) -> bool {
        !self.0.is_ready(PollTimeout::ZERO)
    }
}
