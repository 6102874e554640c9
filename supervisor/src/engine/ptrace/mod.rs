//! The ptrace engine: every thread of the tree is a tracee of ours, and stops at the calls that we want to see.
//!
//! It is for where no listener can be had. It costs more, and more can be noticed, than with the seccomp engine;
//! `docs/decisions/0004-ptrace-engine.md` says what. All requests come from one thread, the one that receives traps, as
//! ptrace(2) demands: answers of other threads reach it through [`answers`].

mod answers;
mod handover;
mod stops;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::debug;

use super::Engine;
use crate::guest::filter::Scope;
use crate::guest::notification::Notification;
use crate::guest::remote::Thread;
use crate::guest::stopped::Stopped;
use crate::sys::child_bell::ChildBell;
use crate::sys::ptrace::{self, Entry, Until, Waited};
use crate::sys::reaped;
use answers::Answers;
use handover::Handover;

/// What chooses the calls at which the tree stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stops {
    /// A filter that returns `SECCOMP_RET_TRACE`.
    Filtered,
    /// Nothing: every call of every thread stops twice, and it is chosen here.
    All,
}

/// The tracer of a tree. Not `Send`: to the kernel the tracer is the thread that made it.
pub(crate) struct PtraceEngine {
    _thread: PhantomData<*const ()>,
    answers: Arc<Answers>,
    /// Readable when something has happened to a tracee or child.
    children: ChildBell,
    stops: Stops,
    /// What the filter would know.
    scope: Scope,
    /// Threads that wait for an answer.
    trapped: HashMap<Thread, Trapped>,
    /// Threads that make an open with a path of ours.
    redirected: HashMap<Thread, Redirected>,
    /// Threads that are being given a file without a path.
    handovers: HashMap<Thread, Handover>,
    /// Threads whose next call is made as it is.
    excused: HashSet<Thread>,
    /// Traps that nobody has been told of.
    ready: VecDeque<Notification>,
    last_id: u64,
}

/// A thread before its call.
struct Trapped {
    id: u64,
    stopped: Stopped,
    entry: Entry,
    stack: u64,
}

/// A thread in a call whose path we have exchanged.
struct Redirected {
    entry: Entry,
    /// What it opens; kept open so long.
    file: OwnedFd,
}

impl PtraceEngine {
    /// Makes this thread the tracer of a process that has one thread, which is in a call that nobody wants to see.
    ///
    /// # Errors
    /// `EPERM`: it is traced by somebody else, or Yama or a security module forbids it. `ESRCH`: it is gone.
    pub(crate) fn seize(thread: Thread, scope: Scope) -> io::Result<Self> {
        let children = ChildBell::new()?;
        let answers = Arc::new(Answers::new()?);
        ptrace::seize(thread.id())?;
        Ok(Self {
            _thread: PhantomData,
            answers,
            children,
            stops: Stops::Filtered,
            scope,
            trapped: HashMap::new(),
            redirected: HashMap::new(),
            handovers: HashMap::new(),
            excused: HashSet::new(),
            ready: VecDeque::new(),
            last_id: 0,
        })
    }

    /// From now on every call stops, since there is no filter.
    pub(crate) fn stop_at_all_calls(&mut self, thread: Thread) -> io::Result<()> {
        self.stops = Stops::All;
        // It is told how to go on when it has stopped; a process that waits for us in recvmsg(2) makes that call again.
        ptrace::interrupt(thread.id())
    }

    /// What chooses where the tree stops.
    pub(crate) fn stops(&self) -> Stops {
        self.stops
    }

    /// Attends to the tree until a descriptor is readable, or there is no tree any more. Whoever talks to a tracee must
    /// wait for its words in this way: it may be stopped by a signal.
    pub(crate) fn attend_until(&mut self, readable: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            match self.attend()? {
                Attended::Stop => {}
                Attended::Nobody => return Ok(()),
                Attended::Nothing => {
                    if self.sleep(Some(readable))? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Gives the answers that there are, and deals with one thread that has stopped or ended.
    fn attend(&mut self) -> io::Result<Attended> {
        self.give_answers();
        // With the lock held nobody believes in a thread whose id is about to become somebody else's.
        let waited = self.answers.while_locked(|waiting| {
            let waited = ptrace::wait_any();
            if let Ok(Waited::Ended(thread, _)) = waited {
                waiting.remove(&thread);
            }
            waited
        })?;
        match waited {
            Waited::Nothing => return Ok(Attended::Nothing),
            Waited::Nobody => return Ok(Attended::Nobody),
            Waited::Ended(thread, status) => {
                reaped::tell(thread, status);
                if let Some(thread) = Thread::new(thread) {
                    self.forget(thread);
                }
            }
            Waited::Stopped(thread, stop) => {
                if let Some(thread) = Thread::new(thread)
                    && let Err(error) = self.stopped(Stopped::new(thread), stop)
                {
                    self.unstick(thread, &error);
                }
            }
        }
        Ok(Attended::Stop)
    }

    /// After a request that failed. The thread should have been killed in the meantime (`ESRCH`); then its end is what
    /// comes next. Whatever else it is, the thread must not be left standing.
    fn unstick(&self, thread: Thread, error: &io::Error) {
        debug!(thread = thread.id(), %error, "a stopped thread could not be dealt with");
        if error.raw_os_error() != Some(libc::ESRCH) {
            let _ = Stopped::new(thread).resume(self.until(), 0);
        }
    }

    /// Waits until something has happened; is it that the descriptor is readable?
    fn sleep(&self, readable: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let descriptor = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut descriptors = vec![descriptor(self.children.as_fd()), descriptor(self.answers.as_fd())];
        descriptors.extend(readable.map(descriptor));
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let happened = |index: usize| {
            descriptors.get(index).and_then(PollFd::revents).is_some_and(|events| !events.is_empty())
        };
        let (children, answers, done) = (happened(0), happened(1), happened(2));
        // Emptied before everything is looked at, so that whatever happens from now on wakes us again.
        if children {
            self.children.hush();
        }
        if answers {
            self.answers.be_awake();
        }
        Ok(done)
    }

    fn forget(&mut self, thread: Thread) {
        self.trapped.remove(&thread);
        self.redirected.remove(&thread);
        self.handovers.remove(&thread);
        self.excused.remove(&thread);
    }

    /// How a thread goes on that we want nothing of.
    fn until(&self) -> Until {
        match self.stops {
            Stops::Filtered => Until::Event,
            Stops::All => Until::Syscall,
        }
    }
}

/// What there was to attend to.
enum Attended {
    /// A thread.
    Stop,
    /// No thread, for now.
    Nothing,
    /// No thread, for ever.
    Nobody,
}

impl Engine for PtraceEngine {
    fn next(&mut self) -> io::Result<Option<Notification>> {
        loop {
            self.give_answers();
            if let Some(notification) = self.ready.pop_front() {
                return Ok(Some(notification));
            }
            match self.attend()? {
                Attended::Stop => {}
                Attended::Nothing => {
                    self.sleep(None)?;
                }
                Attended::Nobody => return Ok(None),
            }
        }
    }
}
