//! What is done at each kind of stop, so that the tree does not notice: signals arrive, stops of the shell stop, new
//! processes and threads run on, and calls of the loader become traps.

use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use tracing::debug;

use super::{PtraceEngine, Redirected, Stops, Trapped};
use crate::guest::filter;
use crate::guest::notification::{Call, Notification};
use crate::guest::privileged;
use crate::guest::remote::{Address, Thread};
use crate::guest::stopped::Stopped;
use crate::sys::ptrace::{Entry, Moment, Register, Stop, SyscallInfo, Until, X86_64};

impl PtraceEngine {
    /// Deals with a thread that has stopped.
    pub(super) fn stopped(&mut self, stopped: Stopped, stop: Stop) -> io::Result<()> {
        match stop {
            Stop::Seccomp | Stop::Syscall => self.at_call(stopped),
            // Delivered as it would have been; the kernel has kept what came with it.
            Stop::Signal(signal) => {
                let until = self.until_for(&stopped);
                stopped.resume(until, signal)
            }
            // Stopped it stays, and its parent has been told; SIGCONT makes it pass by here again.
            Stop::Group => stopped.listen(),
            Stop::Exec => {
                // Whatever its threads waited for, they are gone; the one that called has got the process's id.
                let threads = [Some(stopped.thread()), stopped.former().ok().and_then(Thread::new)];
                for thread in threads.into_iter().flatten() {
                    self.answers.while_locked(|waiting| waiting.remove(&thread.id()));
                    self.forget(thread);
                }
                stopped.resume(self.until(), 0)
            }
            Stop::Passing => {
                let until = self.until_for(&stopped);
                stopped.resume(until, 0)
            }
        }
    }

    /// A thread in a call of ours must be met again at that call's exit, whatever stops it in between.
    fn until_for(&self, stopped: &Stopped) -> Until {
        let thread = stopped.thread();
        let in_ours = self.redirected.contains_key(&thread) || self.handovers.contains_key(&thread);
        if in_ours { Until::Syscall } else { self.until() }
    }

    fn at_call(&mut self, stopped: Stopped) -> io::Result<()> {
        let SyscallInfo { moment, architecture, instruction, stack } = stopped.syscall()?;
        match moment {
            Moment::Entry(_) if self.handovers.contains_key(&stopped.thread()) => {
                stopped.resume(Until::Syscall, 0)
            }
            Moment::Seccomp(_, data) if data != u32::from(filter::TRACE_DATA) => {
                // A filter of the program's own, for a tracer that there is not: so says the kernel then.
                stopped.skip_call(-i64::from(Errno::ENOSYS as i32))?;
                stopped.resume(self.until(), 0)
            }
            Moment::Seccomp(entry, _) => self.trap(stopped, entry, instruction, stack),
            Moment::Entry(entry) if self.stops == Stops::All && architecture == X86_64 => {
                if self.scope.wants(entry.number, instruction, &entry.arguments) {
                    self.trap(stopped, entry, instruction, stack)
                } else if privileged::is_raised(stopped.thread(), entry.number, &entry.arguments) {
                    // Under a tracer the program would not get what it is for. It is none that we could serve.
                    debug!(
                        thread = stopped.thread().id(),
                        "let go: it executes a program that raises privileges"
                    );
                    stopped.release()
                } else {
                    stopped.resume(self.until(), 0)
                }
            }
            Moment::Exit(result) => self.at_exit(stopped, result),
            Moment::Entry(_) | Moment::None => {
                let until = self.until_for(&stopped);
                stopped.resume(until, 0)
            }
        }
    }

    /// The loader, or a shim, waits for an answer.
    fn trap(&mut self, stopped: Stopped, entry: Entry, instruction: u64, stack: u64) -> io::Result<()> {
        let thread = stopped.thread();
        if self.excused.remove(&thread) {
            return stopped.resume(self.until(), 0);
        }
        self.last_id += 1;
        let id = self.last_id;
        let number = i32::try_from(entry.number).unwrap_or(-1);
        let call = Call::from_registers(number, &entry.arguments);
        self.answers.while_locked(|waiting| waiting.insert(thread.id(), id));
        self.trapped.insert(thread, Trapped { id, stopped, entry, stack });
        let responder = Arc::clone(&self.answers) as _;
        self.ready.push_back(Notification::new(responder, id, Some(thread), call, Address(instruction)));
        Ok(())
    }

    /// A call of ours has been made: nobody is to notice.
    fn at_exit(&mut self, stopped: Stopped, result: i64) -> io::Result<()> {
        if let Some(handover) = self.handovers.remove(&stopped.thread()) {
            return self.go_on_handing_over(stopped, handover, result);
        }
        if let Some(Redirected { entry, file }) = self.redirected.remove(&stopped.thread()) {
            let (register, path) = path_of(&entry);
            stopped.set(register, path)?;
            if result < 0 {
                debug!(
                    thread = stopped.thread().id(),
                    result, "no path leads to a file of ours; handing it over"
                );
                return self.hand_over(stopped, file, entry);
            }
        }
        stopped.resume(self.until(), 0)
    }
}

/// The register with an open's path, and the path's address.
pub(super) fn path_of(entry: &Entry) -> (Register, u64) {
    if entry.number == libc::SYS_open.cast_unsigned() {
        (Register::First, entry.arguments[0])
    } else {
        (Register::Second, entry.arguments[1])
    }
}
