//! A thread that ptrace has stopped: whatever may be asked of such a one, and nothing else, can be asked of this value.
//!
//! Letting it go on takes the value, so that no request is made of a thread that runs. An error of any of these means
//! that the thread was killed in the meantime (`ESRCH`); its end is reported like any other.

use std::io;

use super::remote::{Address, Thread};
use crate::sys::process_vm;
use crate::sys::ptrace::{self, Register, SyscallInfo, Until};

/// Bytes below the stack pointer that belong to the running function (System V ABI for AMD64, 3.2.2).
const RED_ZONE: u64 = 128;

/// The length of the `syscall` instruction.
const SYSCALL_LENGTH: u64 = 2;

/// A stopped thread.
#[derive(Debug)]
#[must_use = "a thread that is not let go stays stopped"]
pub(crate) struct Stopped(Thread);

impl Stopped {
    /// `thread` must just have been reported as stopped, to this thread of ours.
    pub(crate) fn new(thread: Thread) -> Self {
        Self(thread)
    }

    /// Which thread it is.
    pub(crate) fn thread(&self) -> Thread {
        self.0
    }

    /// The system call that it is about to make, or has made.
    pub(crate) fn syscall(&self) -> io::Result<SyscallInfo> {
        ptrace::syscall_info(self.0.id())
    }

    /// At the stop after an execve(2): the id that the thread had before it.
    pub(crate) fn former(&self) -> io::Result<u32> {
        ptrace::event_message(self.0.id()).and_then(|id| u32::try_from(id).map_err(io::Error::other))
    }

    /// Before a call: it is not made, and returns this.
    pub(crate) fn skip_call(&self, result: i64) -> io::Result<()> {
        // The kernel makes no call of number -1, and leaves the result as it is (syscall_enter_from_user_mode, and
        // before 5.10 do_syscall_64).
        ptrace::set_register(self.0.id(), Register::Number, u64::MAX)?;
        ptrace::set_register(self.0.id(), Register::Result, result.cast_unsigned())
    }

    /// Changes a register.
    pub(crate) fn set(&self, register: Register, value: u64) -> io::Result<()> {
        ptrace::set_register(self.0.id(), register, value)
    }

    /// Writes bytes below the stack, where they stay until the thread runs on; returns where.
    pub(crate) fn lend(&self, stack: u64, bytes: &[u8]) -> io::Result<Address> {
        let room = RED_ZONE + bytes.len() as u64;
        let address = stack.checked_sub(room).ok_or(io::ErrorKind::InvalidInput)? & !15;
        process_vm::write(self.0.id(), address, bytes)?;
        Ok(Address(address))
    }

    /// After a call: it is made once more, as if nothing had happened. `instruction` is the one behind the call.
    pub(crate) fn call_again(&self, number: u64, instruction: u64) -> io::Result<()> {
        // No call has this number, so that the kernel does not take the result for a call to be restarted.
        self.set(Register::Number, u64::MAX)?;
        self.set(Register::Result, number)?;
        self.set(Register::Instruction, instruction.wrapping_sub(SYSCALL_LENGTH))
    }

    /// Goes on; with this signal, or 0.
    pub(crate) fn resume(self, until: Until, signal: i32) -> io::Result<()> {
        ptrace::resume(self.0.id(), until, signal)
    }

    /// Stays in the stop of its process until that ends.
    pub(crate) fn listen(self) -> io::Result<()> {
        ptrace::listen(self.0.id())
    }

    /// Goes on and is nobody's any more.
    pub(crate) fn release(self) -> io::Result<()> {
        ptrace::detach(self.0.id())
    }
}
