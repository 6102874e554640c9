//! A pending call of the loader: a value that is consumed by exactly one answer.
//!
//! Dropping it unanswered would leave a thread waiting for ever, so dropping lets the call continue, which is
//! also what happens when a worker panics over it.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use sonde_interp::handoff::{CALL_DIRFD, OFFER_ERRNO};
use tracing::debug;

use super::remote::{Address, Thread};
use crate::sys::scm_rights::Socket;

/// What an engine can do about a trapped call. Each call consumes the trap `id`; an error means that the thread
/// is gone, or was interrupted by a signal and will call again.
pub(crate) trait Responder: Send + Sync {
    /// Executes the call as if it had not been trapped.
    fn let_through(&self, id: u64) -> io::Result<()>;
    /// Makes it return a copy of a descriptor.
    fn return_descriptor(&self, id: u64, descriptor: BorrowedFd<'_>, close_on_exec: bool) -> io::Result<()>;
    /// Makes it return a value.
    fn return_value(&self, id: u64, value: i64) -> io::Result<()>;
    /// Makes it fail.
    fn fail(&self, id: u64, errno: Errno) -> io::Result<()>;
    /// Does the thread still wait?
    fn is_waiting(&self, id: u64) -> bool;
    /// Can [`Responder::return_descriptor`] be given a socket?
    fn returns_sockets(&self) -> bool {
        true
    }
}

/// What was called, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// `open`, `openat` or `openat2` with this path, for reading.
    Open { path: Address, close_on_exec: bool },
    /// An open of a loader that has failed; who called says by itself which path it was, and whether it lies on the stack.
    Missed { path: PathBuf, on_stack: bool },
    /// `newfstatat` with this path, into this buffer.
    Stat { path: Address, buffer: Address },
    /// A call to the supervisor. Where no socket can be returned, the shim offers one of its own.
    Supervisor { offered: Option<i32> },
    /// Anything else: relative to a folder, for writing, or not for us.
    Other,
}

impl Call {
    /// Reads the registers of a system call on x86-64.
    pub(crate) fn from_registers(syscall: i32, arguments: &[u64; 6]) -> Self {
        let [first, second, third, fourth, ..] = *arguments;
        let directory = first as u32 as i32;
        let open = |path, flags: u64| {
            let flags = flags as u32 as i32;
            let path = Address(path);
            match flags & libc::O_ACCMODE {
                libc::O_RDONLY => Self::Open { path, close_on_exec: flags & libc::O_CLOEXEC != 0 },
                _ => Self::Other,
            }
        };
        match i64::from(syscall) {
            libc::SYS_openat if directory == CALL_DIRFD => {
                let offered = (fourth as u32 as i32).checked_sub(1);
                Self::Supervisor { offered: offered.filter(|descriptor| *descriptor >= 0) }
            }
            libc::SYS_openat if directory == libc::AT_FDCWD => open(second, third),
            libc::SYS_open => open(first, second),
            libc::SYS_newfstatat if directory == libc::AT_FDCWD && fourth == 0 => {
                Self::Stat { path: Address(second), buffer: Address(third) }
            }
            _ => Self::Other,
        }
    }
}

/// A trapped call that waits for its answer.
pub(crate) struct Notification {
    responder: Arc<dyn Responder>,
    id: u64,
    thread: Option<Thread>,
    call: Call,
    instruction: Address,
    answered: bool,
}

impl Notification {
    pub(crate) fn new(
        responder: Arc<dyn Responder>,
        id: u64,
        thread: Option<Thread>,
        call: Call,
        instruction: Address,
    ) -> Self {
        Self { responder, id, thread, call, instruction, answered: false }
    }

    /// The instruction that made the call.
    pub(crate) fn instruction(&self) -> Address {
        self.instruction
    }

    /// What was called.
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    /// Who called; `None` where we cannot see it.
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.thread
    }

    /// The path that is to be opened or looked at. Until [`Notification::is_waiting`] has confirmed it, it may be another
    /// process's that got the thread's id in the meantime: good enough to let the call through, and for nothing else.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        match &self.call {
            Call::Missed { path, .. } => Ok(path.clone()),
            Call::Open { path, .. } | Call::Stat { path, .. } => {
                self.thread.ok_or(io::ErrorKind::NotFound)?.read_path(*path)
            }
            Call::Supervisor { .. } | Call::Other => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Where the caller has the path; 0 where only the caller knows.
    pub(crate) fn address(&self) -> Address {
        match &self.call {
            Call::Open { path, .. } | Call::Stat { path, .. } => *path,
            Call::Missed { .. } | Call::Supervisor { .. } | Call::Other => Address(0),
        }
    }

    /// Has the caller put the path together on its stack? The thread must be waiting.
    pub(crate) fn has_path_on_stack(&self) -> io::Result<bool> {
        match &self.call {
            Call::Missed { on_stack, .. } => Ok(*on_stack),
            Call::Open { path, .. } => self.thread.ok_or(io::ErrorKind::NotFound)?.has_on_stack(*path),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Does the thread still wait for this answer? Then what was read before was its own.
    pub(crate) fn is_waiting(&self) -> bool {
        self.responder.is_waiting(self.id)
    }

    /// Writes to where a `stat` wants its result, if the call still waits.
    pub(crate) fn write_stat(&self, address: Address, stat: &FileStat) -> io::Result<()> {
        let thread = self.thread.ok_or(io::ErrorKind::NotFound)?;
        if !self.is_waiting() {
            return Err(io::ErrorKind::NotFound.into());
        }
        thread.write_stat(address, stat)
    }

    /// Answers a call to the supervisor; returns our end of a socket pair and the thread at the other, if that worked.
    pub(crate) fn connect(mut self) -> Option<(Socket, Thread)> {
        let Call::Supervisor { offered } = self.call else { return None };
        let thread = self.thread?;
        let Some(descriptor) = offered else {
            if !self.responder.returns_sockets() {
                self.answer(|responder, id| responder.fail(id, Errno::from_raw(OFFER_ERRNO.cast_signed())));
                return None;
            }
            let (ours, theirs) = Socket::pair().ok()?;
            self.return_descriptor(theirs.as_fd());
            return Some((ours, thread));
        };
        let socket = thread.copy_descriptor(descriptor).map(Socket::from);
        let socket = socket.inspect_err(|error| debug!(%error, "an offered socket cannot be had")).ok()?;
        self.succeed();
        Some((socket, thread))
    }

    /// The kernel is to execute the call as it is.
    pub(crate) fn let_through(mut self) {
        self.answer(|responder, id| responder.let_through(id));
    }

    /// The call is to return this file.
    pub(crate) fn return_descriptor(mut self, descriptor: BorrowedFd<'_>) {
        let close = !matches!(self.call, Call::Open { close_on_exec: false, .. });
        self.answer(|responder, id| responder.return_descriptor(id, descriptor, close));
    }

    /// The call has succeeded.
    pub(crate) fn succeed(mut self) {
        self.answer(|responder, id| responder.return_value(id, 0));
    }

    /// There is no such file. No other error may be returned: with any but `ENOENT` and `EACCES` glibc's loader
    /// stops searching (`open_path`, elf/dl-load.c).
    pub(crate) fn not_there(mut self) {
        self.answer(|responder, id| responder.fail(id, Errno::ENOENT));
    }

    fn answer(&mut self, give: impl FnOnce(&dyn Responder, u64) -> io::Result<()>) {
        self.answered = true;
        let Err(error) = give(self.responder.as_ref(), self.id) else { return };
        // ENOENT: the thread is gone, or a signal made it call again; then this answer is not wanted any more.
        // Whatever else it is, the thread must not be left waiting.
        if error.raw_os_error() != Some(libc::ENOENT) {
            debug!(id = self.id, %error, "an answer was refused; letting the call through");
            let _ = self.responder.let_through(self.id);
        }
    }
}

impl Drop for Notification {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(|responder, id| responder.let_through(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Remembers what it was told.
    #[derive(Default)]
    struct Recorder {
        answers: Mutex<Vec<String>>,
        refuses_descriptors: bool,
        wants_offers: bool,
    }

    impl Recorder {
        fn note(&self, what: &str) -> io::Result<()> {
            self.answers.lock().unwrap().push(what.to_owned());
            Ok(())
        }
    }

    impl Responder for Recorder {
        fn let_through(&self, _: u64) -> io::Result<()> {
            self.note("through")
        }
        fn return_descriptor(&self, _: u64, _: BorrowedFd<'_>, close: bool) -> io::Result<()> {
            self.note(if close { "descriptor, closed on exec" } else { "descriptor" })?;
            if self.refuses_descriptors { Err(Errno::EMFILE.into()) } else { Ok(()) }
        }
        fn return_value(&self, _: u64, value: i64) -> io::Result<()> {
            self.note(&value.to_string())
        }
        fn fail(&self, _: u64, errno: Errno) -> io::Result<()> {
            self.note(&errno.to_string())
        }
        fn is_waiting(&self, _: u64) -> bool {
            true
        }
        fn returns_sockets(&self) -> bool {
            !self.wants_offers
        }
    }

    fn with(recorder: Recorder, use_it: impl FnOnce(Notification)) -> Vec<String> {
        let recorder = Arc::new(recorder);
        let call = Call::Open { path: Address(1), close_on_exec: true };
        use_it(Notification::new(recorder.clone(), 1, None, call, Address(0)));
        recorder.answers.lock().unwrap().clone()
    }

    #[test]
    fn a_notification_that_is_dropped_continues() {
        assert_eq!(with(Recorder::default(), drop), ["through"]);
    }

    #[test]
    fn an_answer_is_given_once() {
        assert_eq!(with(Recorder::default(), Notification::let_through), ["through"]);
        assert_eq!(with(Recorder::default(), Notification::succeed), ["0"]);
    }

    #[test]
    fn a_full_descriptor_table_lets_the_call_continue() {
        let recorder = Recorder { refuses_descriptors: true, ..Recorder::default() };
        let null = std::fs::File::open("/dev/null").unwrap();
        let answers = with(recorder, |it| it.return_descriptor(std::os::fd::AsFd::as_fd(&null)));
        assert_eq!(answers, ["descriptor, closed on exec", "through"]);
    }

    /// What a call to the supervisor is answered with, and whether there is a socket then.
    fn connected(wants_offers: bool, offered: Option<i32>) -> (Vec<String>, bool) {
        let recorder = Arc::new(Recorder { wants_offers, ..Recorder::default() });
        let this = Thread::new(std::process::id());
        let connected =
            Notification::new(recorder.clone(), 1, this, Call::Supervisor { offered }, Address(0))
                .connect()
                .is_some();
        let answers = recorder.answers.lock().unwrap().clone();
        (answers, connected)
    }

    #[test]
    fn a_call_to_the_supervisor_gets_a_socket_or_is_asked_for_one() {
        assert_eq!(connected(false, None), (vec!["descriptor, closed on exec".to_owned()], true));
        assert_eq!(connected(true, None), (vec![Errno::EREMOTE.to_string()], false));
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(connected(true, Some(number)), (vec!["0".to_owned()], true));
        assert_eq!(connected(true, Some(987_654)), (vec!["through".to_owned()], false), "not open");
    }

    #[test]
    fn registers_say_what_was_called() {
        let cwd = u64::from(libc::AT_FDCWD.cast_unsigned());
        let call = |number: i64, arguments: [u64; 4]| {
            let [a, b, c, d] = arguments;
            Call::from_registers(number as i32, &[a, b, c, d, 0, 0])
        };
        let cloexec = libc::O_CLOEXEC as u64;
        let open = Call::Open { path: Address(9), close_on_exec: true };
        assert_eq!(call(libc::SYS_openat, [cwd, 9, cloexec, 0]), open);
        assert_eq!(call(libc::SYS_open, [9, cloexec, 0, 0]), open);
        assert_eq!(call(libc::SYS_openat, [cwd, 9, 1, 0]), Call::Other);
        assert_eq!(call(libc::SYS_openat, [5, 9, 0, 0]), Call::Other);
        assert_eq!(call(libc::SYS_openat2, [cwd, 9, 8, 24]), Call::Other);
        let magic = u64::from(CALL_DIRFD.cast_unsigned());
        assert_eq!(call(libc::SYS_openat, [magic, 9, 0, 0]), Call::Supervisor { offered: None });
        assert_eq!(call(libc::SYS_openat, [magic, 9, 0, 4]), Call::Supervisor { offered: Some(3) });
        let stat = Call::Stat { path: Address(9), buffer: Address(7) };
        assert_eq!(call(libc::SYS_newfstatat, [cwd, 9, 7, 0]), stat);
    }
}
