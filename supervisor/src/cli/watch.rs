//! `sonde trace --pid`: asks the supervisor of a program that runs already what its tree loads from now on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::Sender;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Uid, User};
use sonde_interp::handoff::{Answer, FORM, MAX_MESSAGE, Watch};

use super::{complain, exit_code};
use crate::guest::remote::Thread;
use crate::plan::loader::Loader;
use crate::report::event::{Event, What};
use crate::report::{errors, watcher};
use crate::serve::supervisors;
use crate::sys::process_vm;
use crate::sys::scm_rights::Socket;
use crate::sys::signals::Stop;

/// A supervisor that does not answer in this time is passed over.
const PATIENCE: Duration = Duration::from_secs(5);

/// More ancestors than this are not looked at.
const GENERATIONS: usize = 64;

/// A jump, as the engine inline puts one into the loader (`e9`, Intel's manual, "JMP").
const JUMP: u8 = 0xe9;

/// A process that is to be watched, and the way to its supervisor.
pub(super) struct Watched {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    socket: Socket,
    stop: Stop,
}

impl Watched {
    /// Finds the supervisor of a process. Must be called while this process has one thread.
    ///
    /// # Errors
    /// The exit status, when it has been said what is the matter.
    pub(super) fn find(process: u32) -> Result<Self, ExitCode> {
        Self::connect(process).map_err(|sentence| {
            complain(&sentence);
            exit_code::code(exit_code::FAILURE)
        })
    }

    fn connect(process: u32) -> Result<Self, String> {
        let gone = || errors::no_process(process);
        let thread = Thread::new(process).ok_or_else(gone)?;
        let user = Uid::from_raw(thread.user().map_err(|_| gone())?);
        if user != Uid::effective() {
            let name = User::from_uid(user).ok().flatten().map(|user| user.name);
            return Err(errors::others_process(process, &name.unwrap_or_else(|| format!("user {user}"))));
        }
        let program = thread.executable_path().map_err(|_| gone())?;
        let socket = match ask(process)? {
            Some(socket) => socket,
            None => return Err(why_nobody(thread, &program)),
        };
        let stop = Stop::prepare().map_err(|error| format!("signals cannot be received: {error}"))?;
        let arguments = thread.arguments().unwrap_or_default().into_iter().skip(1).collect();
        Ok(Self { program, arguments, socket, stop })
    }

    /// Passes on what the supervisor tells, until the tree has ended, or this process is told to.
    pub(super) fn hear(&self, sender: &Sender<Event>) {
        let mut buffer = vec![0; watcher::LONGEST];
        let mut last = Duration::ZERO;
        let over = |at| Event { at, process: 0, what: What::Over { status: None, signal: None } };
        loop {
            if !self.wait() {
                break;
            }
            let Ok((message, descriptors)) = self.socket.receive(&mut buffer) else {
                complain(&errors::WATCH_CUT_OFF);
                break;
            };
            let unreadable = Event { at: last, process: 0, what: What::Lost(1) };
            let event = watcher::read(message, descriptors).unwrap_or(unreadable);
            last = event.at;
            let is_over = matches!(event.what, What::Over { .. });
            if sender.send(event).is_err() || is_over {
                return;
            }
        }
        // Nobody listens any more if this fails.
        let _ = sender.send(over(last));
    }

    /// Waits for the supervisor; `false` when it is time to stop.
    fn wait(&self) -> bool {
        loop {
            let sources = [self.stop.as_fd(), self.socket.as_fd()];
            let mut ready = sources.map(|source| PollFd::new(source, PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return false,
                Ok(_) => {
                    let [stop, _] = ready.map(|one| one.revents().is_some_and(|events| !events.is_empty()));
                    return !stop;
                }
            }
        }
    }
}

/// Asks all supervisors of this user; the one that has the process will tell of it.
fn ask(process: u32) -> Result<Option<Socket>, String> {
    let question = Watch { form: FORM, process }.encode().map_err(|error| error.to_string())?;
    let mut refused = None;
    for socket in supervisors::connections() {
        let mut buffer = [0; MAX_MESSAGE];
        let asked = socket.set_patience(PATIENCE).and_then(|()| socket.send(&question, &[]));
        let answer = asked.and_then(|()| socket.receive(&mut buffer));
        match answer.and_then(|(message, _)| Answer::decode(message).map_err(io::Error::other)) {
            Ok(Answer::Proceed) => {
                socket.set_patience(Duration::ZERO).map_err(|error| error.to_string())?;
                return Ok(Some(socket));
            }
            // Whoever does not know the question refuses, too, and says nothing of the process.
            Ok(Answer::Refusal(refusal)) if refusal.exit_code != 0 => {
                refused = Some(String::from_utf8_lossy(refusal.message).into_owned());
            }
            // It serves others.
            Ok(_) | Err(_) => {}
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Why no supervisor knows of a process.
fn why_nobody(thread: Thread, program: &Path) -> String {
    let process = thread.id();
    let line = std::iter::successors(Some(thread), |one| Thread::new(one.parent().ok()?));
    let is_trace = |one: &Thread| {
        one.executable_path().ok().zip(std::env::current_exe().ok()).is_some_and(|(one, own)| one == own)
            && one.arguments().is_ok_and(|words| words.get(1).is_some_and(|word| word == "trace"))
    };
    if let Some(tracer) = line.take(GENERATIONS).find(is_trace) {
        return errors::is_traced(process, tracer.id());
    }
    if is_inline(thread) {
        return errors::no_supervisor_inline(process, program);
    }
    let is_filtered = thread.filter_mode().is_ok_and(|mode| mode == 2);
    if is_filtered {
        errors::supervisor_out_of_reach(process, program)
    } else {
        errors::not_supervised(process, program)
    }
}

/// Does the process have a loader that was changed to ask for what it cannot open?
fn is_inline(thread: Thread) -> bool {
    let Ok(files) = thread.mapped_files() else { return false };
    let mut loaders = files
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-")));
    loaders.any(|path| {
        let site = || {
            let file = thread.root().and_then(|root| root.open(path)).ok()?;
            let site = Some(Loader::new(path, file).ok()?.sites().open).filter(|site| *site != 0)?;
            thread.start_of(path)?.checked_add(site.into())
        };
        let mut code = [0];
        site().is_some_and(|at| process_vm::read(thread.id(), at, &mut code).is_ok() && code == [JUMP])
    })
}
