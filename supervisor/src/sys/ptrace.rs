//! ptrace(2), request by request, and waitpid(2) as a tracer needs it.
//!
//! nix's wrappers are not used: they know signals as an enumeration without the real-time ones, and a wait status with
//! one of those would be lost. When a request may be made is not known here; `guest::stopped` sees to that.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::ptr;

/// What a tracee reports; options of `PTRACE_SEIZE`. `EXITKILL` is not among them: a tree outlives its supervisor.
const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP;

/// `PTRACE_EVENT_STOP`, linux/ptrace.h.
const EVENT_STOP: i32 = 128;

/// `AUDIT_ARCH_X86_64`, linux/audit.h.
pub(crate) const X86_64: u32 = 0xc000_003e;

/// What waitpid(2) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// This thread has stopped.
    Stopped(u32, Stop),
    /// This thread has ended and is gone; with its wait status.
    Ended(u32, i32),
    /// Nothing has happened that was not told yet.
    Nothing,
    /// There is neither tracee nor child.
    Nobody,
}

/// Why a tracee has stopped (ptrace(2), "Stopped states").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A filter says `SECCOMP_RET_TRACE`.
    Seccomp,
    /// Entry to a system call, or its exit.
    Syscall,
    /// This signal is about to be delivered.
    Signal(i32),
    /// The process was stopped, by a signal or from its terminal.
    Group,
    /// It has executed a program.
    Exec,
    /// It has made a process or thread, is a new one itself, was interrupted, or its group goes on.
    Passing,
}

/// How a tracee goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// To whatever stops it next by itself.
    Event,
    /// Also to the next entry to or exit from a system call.
    Syscall,
}

/// A register of a system call on x86-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    /// The number of the call (`orig_rax`).
    Number,
    /// Its result (`rax`).
    Result,
    /// Its first argument (`rdi`).
    First,
    /// Its second (`rsi`).
    Second,
}

/// A system call at which a tracee has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyscallInfo {
    pub(crate) moment: Moment,
    /// `AUDIT_ARCH_…` of the calling convention.
    pub(crate) architecture: u32,
    pub(crate) instruction: u64,
    pub(crate) stack: u64,
}

/// Where in the call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before it is made.
    Entry(Entry),
    /// Before it is made, and a filter asks; with the filter's data.
    Seccomp(Entry, u32),
    /// It has returned this.
    Exit(i64),
    /// In none.
    None,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) arguments: [u64; 6],
}

/// Becomes the tracer of a thread, without stopping it, and of all that it makes from then on (`PTRACE_SEIZE`, Linux
/// 3.4). `EPERM`: somebody else traces it, or it may not be traced.
pub(crate) fn seize(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, thread, 0, OPTIONS as usize)
}

/// Stops it at once; this is reported as [`Stop::Passing`].
pub(crate) fn interrupt(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, thread, 0, 0)
}

/// Lets it go on, with this signal or, for 0, without.
pub(crate) fn resume(thread: u32, until: Until, signal: i32) -> io::Result<()> {
    let how = match until {
        Until::Event => libc::PTRACE_CONT,
        Until::Syscall => libc::PTRACE_SYSCALL,
    };
    request(how, thread, 0, signal as usize)
}

/// Leaves it in a stop of its process, and hears when that ends (`PTRACE_LISTEN`, Linux 3.4).
pub(crate) fn listen(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_LISTEN, thread, 0, 0)
}

/// Lets go of it for good.
pub(crate) fn detach(thread: u32) -> io::Result<()> {
    request(libc::PTRACE_DETACH, thread, 0, 0)
}

/// The number that comes with an event: of [`Stop::Exec`], the id that the thread had before.
pub(crate) fn event_message(thread: u32) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, thread, 0, (&raw mut message) as usize)?;
    Ok(message)
}

/// The system call at which it has stopped (`PTRACE_GET_SYSCALL_INFO`, Linux 5.3).
pub(crate) fn syscall_info(thread: u32) -> io::Result<SyscallInfo> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        thread,
        size_of::<libc::ptrace_syscall_info>(),
        info.as_mut_ptr() as usize,
    )?;
    // SAFETY: all of it is integers, zeroed or filled in by the kernel.
    let info = unsafe { info.assume_init() };
    let moment = match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says which part of the union was filled in; here and below.
            let entry = unsafe { info.u.entry };
            Moment::Entry(Entry { number: entry.nr, arguments: entry.args })
        }
        libc::PTRACE_SYSCALL_INFO_SECCOMP => {
            // SAFETY: as above.
            let seccomp = unsafe { info.u.seccomp };
            Moment::Seccomp(Entry { number: seccomp.nr, arguments: seccomp.args }, seccomp.ret_data)
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: as above.
            Moment::Exit(unsafe { info.u.exit }.sval)
        }
        _ => Moment::None,
    };
    Ok(SyscallInfo {
        moment,
        architecture: info.arch,
        instruction: info.instruction_pointer,
        stack: info.stack_pointer,
    })
}

/// Does this kernel know [`syscall_info`]? One that does looks for the process first and finds none (`ESRCH`); one that
/// does not says so only of a tracee, so the call that came with it is asked (Linux 5.3: pidfd_open(2)).
pub(crate) fn is_supported() -> bool {
    // SAFETY: no pointers; flags that do not exist are refused, so no descriptor is made.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), u32::MAX) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

/// Changes a register.
pub(crate) fn set_register(thread: u32, register: Register, value: u64) -> io::Result<()> {
    let offset = match register {
        Register::Number => offset_of!(libc::user_regs_struct, orig_rax),
        Register::Result => offset_of!(libc::user_regs_struct, rax),
        Register::First => offset_of!(libc::user_regs_struct, rdi),
        Register::Second => offset_of!(libc::user_regs_struct, rsi),
    };
    // `struct user` begins with the registers (sys/user.h).
    request(libc::PTRACE_POKEUSER, thread, offset, value as usize)
}

/// All general registers (`PTRACE_GETREGS`).
pub(crate) fn registers(thread: u32) -> io::Result<libc::user_regs_struct> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    request(libc::PTRACE_GETREGS, thread, 0, registers.as_mut_ptr() as usize)?;
    // SAFETY: all of it is integers, zeroed or filled in by the kernel.
    Ok(unsafe { registers.assume_init() })
}

/// Changes all general registers.
pub(crate) fn set_registers(thread: u32, registers: &libc::user_regs_struct) -> io::Result<()> {
    request(libc::PTRACE_SETREGS, thread, 0, ptr::from_ref(registers) as usize)
}

/// The signals that are blocked, a bit each (`PTRACE_GETSIGMASK`, Linux 3.11).
pub(crate) fn blocked_signals(thread: u32) -> io::Result<u64> {
    let mut mask = 0_u64;
    request(libc::PTRACE_GETSIGMASK, thread, size_of::<u64>(), (&raw mut mask) as usize)?;
    Ok(mask)
}

/// Blocks these signals and no others.
pub(crate) fn block_signals(thread: u32, mask: u64) -> io::Result<()> {
    request(libc::PTRACE_SETSIGMASK, thread, size_of::<u64>(), (&raw const mask) as usize)
}

/// Asks what has happened to the tracees and children of *this thread*, without waiting. Those of other threads, such
/// as the commands that workers run, are theirs (`__WNOTHREAD`).
pub(crate) fn wait_any() -> io::Result<Waited> {
    let mut status = 0;
    // SAFETY: the kernel writes the status.
    let thread =
        unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL | libc::__WNOTHREAD) };
    match thread {
        0 => Ok(Waited::Nothing),
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(Waited::Nobody),
            error if error.raw_os_error() == Some(libc::EINTR) => Ok(Waited::Nothing),
            error => Err(error),
        },
        thread => Ok(understand(thread.cast_unsigned(), status)),
    }
}

fn understand(thread: u32, status: i32) -> Waited {
    if !libc::WIFSTOPPED(status) {
        return Waited::Ended(thread, status);
    }
    let signal = libc::WSTOPSIG(status);
    let stop = match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        EVENT_STOP if signal != libc::SIGTRAP => Stop::Group,
        libc::PTRACE_EVENT_SECCOMP => Stop::Seccomp,
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        _ => Stop::Passing,
    };
    Waited::Stopped(thread, stop)
}

fn request(request: libc::c_uint, thread: u32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: whatever a request does, it does to the other process, but for those that are given a pointer, to a
    // variable of theirs that is as large as the kernel expects.
    let result = unsafe {
        libc::ptrace(
            request,
            thread.cast_signed(),
            ptr::without_provenance_mut::<libc::c_void>(address),
            ptr::with_exposed_provenance_mut::<libc::c_void>(data),
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_understood() {
        let stopped = |status: i32| understand(7, status << 8 | 0x7f);
        let is = |stop| Waited::Stopped(7, stop);
        assert_eq!(stopped(libc::SIGTRAP | 0x80), is(Stop::Syscall));
        assert_eq!(stopped(libc::SIGSTOP), is(Stop::Signal(libc::SIGSTOP)));
        assert_eq!(stopped(64), is(Stop::Signal(64)), "a real-time signal");
        assert_eq!(stopped(libc::SIGTSTP | 128 << 8), is(Stop::Group));
        assert_eq!(stopped(libc::SIGTRAP | 128 << 8), is(Stop::Passing));
        assert_eq!(stopped(libc::SIGTRAP | 7 << 8), is(Stop::Seccomp));
        assert_eq!(stopped(libc::SIGTRAP | 4 << 8), is(Stop::Exec));
        assert_eq!(stopped(libc::SIGTRAP | 1 << 8), is(Stop::Passing));
        assert_eq!(understand(7, 42 << 8), Waited::Ended(7, 42 << 8));
        assert_eq!(understand(7, 9), Waited::Ended(7, 9));
    }

    #[test]
    fn whoever_has_no_tracees_is_told_so() {
        let here = std::thread::spawn(|| wait_any().unwrap()).join().unwrap();
        assert_eq!(here, Waited::Nobody);
        assert!(is_supported());
    }

    #[test]
    fn nobody_traces_itself() {
        assert!(seize(std::process::id()).is_err());
    }
}
