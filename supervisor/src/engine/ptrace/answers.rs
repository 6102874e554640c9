//! Answers, given by any thread and carried out by the tracer's.
//!
//! ptrace has no way to put a descriptor into another process. A file is returned by having the loader open it itself:
//! its path is exchanged for the file's own, or for `/proc/SUPERVISOR/fd/N`, while the call is made.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::fstat;
use tracing::debug;

use super::stops::path_of;
use super::{PtraceEngine, Redirected, Trapped};
use crate::guest::notification::Responder;
use crate::guest::remote::Thread;
use crate::sys::bell::Bell;
use crate::sys::ptrace::Until;

/// What a trapped thread is to do.
enum Answer {
    LetThrough,
    Return(i64),
    Open(OwnedFd),
}

/// Where answers wait for the tracer.
pub(super) struct Answers {
    state: Mutex<State>,
    /// Wakes the tracer.
    bell: Bell,
    /// The tracer's own thread, which needs no waking.
    tracer: std::thread::ThreadId,
}

#[derive(Default)]
struct State {
    /// Threads that wait, and the id of the trap in which they do.
    waiting: HashMap<u32, u64>,
    given: Vec<(u32, u64, Answer)>,
}

impl Answers {
    /// For the tracer that is this thread.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { state: Mutex::default(), bell: Bell::new()?, tracer: std::thread::current().id() })
    }

    /// Does something while nobody can ask or answer.
    pub(super) fn while_locked<T>(&self, act: impl FnOnce(&mut HashMap<u32, u64>) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }

    /// Readable when an answer was given by another thread.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes note of having been woken.
    pub(super) fn be_awake(&self) {
        self.bell.hush();
    }

    fn take(&self) -> Vec<(u32, u64, Answer)> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).given)
    }

    /// `ENOENT`, as of the seccomp engine: nobody waits for this answer any more.
    fn give(&self, id: u64, answer: Answer) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = state.waiting.iter().find(|(_, waiting)| **waiting == id).map(|(thread, _)| *thread);
        let thread = thread.ok_or(Errno::ENOENT)?;
        state.waiting.remove(&thread);
        state.given.push((thread, id, answer));
        drop(state);
        if std::thread::current().id() != self.tracer {
            self.bell.ring();
        }
        Ok(())
    }
}

impl Responder for Answers {
    fn let_through(&self, id: u64) -> io::Result<()> {
        self.give(id, Answer::LetThrough)
    }

    /// What close-on-exec is to be, the loader has said in its call, which it makes by itself.
    fn return_descriptor(&self, id: u64, descriptor: BorrowedFd<'_>, _: bool) -> io::Result<()> {
        self.give(id, Answer::Open(descriptor.try_clone_to_owned()?))
    }

    fn return_value(&self, id: u64, value: i64) -> io::Result<()> {
        self.give(id, Answer::Return(value))
    }

    fn fail(&self, id: u64, errno: Errno) -> io::Result<()> {
        self.give(id, Answer::Return(-i64::from(errno as i32)))
    }

    fn is_waiting(&self, id: u64) -> bool {
        self.while_locked(|waiting| waiting.values().any(|waiting| *waiting == id))
    }

    /// A socket cannot be opened by path.
    fn returns_sockets(&self) -> bool {
        false
    }
}

impl PtraceEngine {
    /// Carries out what was given so far.
    pub(super) fn give_answers(&mut self) {
        for (thread, id, answer) in Arc::clone(&self.answers).take() {
            let Some(thread) = Thread::new(thread) else { continue };
            // Somebody else may have got the thread's id since.
            let Some(trapped) = self.trapped.remove(&thread).filter(|trapped| trapped.id == id) else {
                continue;
            };
            if let Err(error) = self.carry_out(trapped, answer) {
                self.unstick(thread, &error);
            }
        }
    }

    fn carry_out(&mut self, trapped: Trapped, answer: Answer) -> io::Result<()> {
        let Trapped { stopped, entry, stack, .. } = trapped;
        let thread = stopped.thread();
        match answer {
            Answer::LetThrough => stopped.resume(self.until(), 0),
            Answer::Return(value) => {
                stopped.skip_call(value)?;
                stopped.resume(self.until(), 0)
            }
            Answer::Open(file) => {
                let exchanged = path_for(thread, &file).and_then(|path| {
                    let address = stopped.lend(stack, &path)?;
                    stopped.set(path_of(&entry).0, address.0)
                });
                if let Err(error) = exchanged {
                    // Not made, it has failed; at its exit that is seen.
                    debug!(thread = thread.id(), %error, "a file of ours has no path there");
                    stopped.skip_call(-i64::from(Errno::ENOENT as i32))?;
                }
                self.redirected.insert(thread, Redirected { entry, file });
                stopped.resume(Until::Syscall, 0)
            }
        }
    }
}

/// The path, with its NUL, by which a thread can open a file of ours: the file's own, or that of our descriptor. It must
/// lead to the same file in the thread's own view: in another pid namespace, or where another one's /proc is mounted, our
/// number means somebody else.
fn path_for(thread: Thread, file: &OwnedFd) -> io::Result<Vec<u8>> {
    let ours = fstat(file)?;
    let descriptor = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    let own = fs::read_link(&descriptor).ok();
    for path in own.into_iter().chain([descriptor]) {
        let Ok(inside) = path.strip_prefix("/") else { continue };
        let theirs = fs::metadata(Path::new(&format!("/proc/{}/root", thread.id())).join(inside));
        if theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (ours.st_dev, ours.st_ino)) {
            let mut path = path.into_os_string().into_vec();
            path.push(0);
            return Ok(path);
        }
    }
    Err(io::Error::other("it is not to be seen from there"))
}
