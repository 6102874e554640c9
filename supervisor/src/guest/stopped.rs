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

/// The registers of a thread at the exit of a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers(libc::user_regs_struct);

impl Registers {
    pub(crate) fn stack(&self) -> u64 {
        self.0.rsp
    }

    /// With these the thread makes another call, by the instruction that has made the one that it comes from.
    pub(crate) fn calling(&self, number: i64, arguments: [u64; 4]) -> Self {
        let [rdi, rsi, rdx, r10] = arguments;
        let mut registers = self.0;
        // No call has this number, so that the kernel does not take the result for a call to be restarted.
        registers.orig_rax = u64::MAX;
        registers.rax = number.cast_unsigned();
        registers.rip = registers.rip.wrapping_sub(SYSCALL_LENGTH);
        Self(libc::user_regs_struct { rdi, rsi, rdx, r10, ..registers })
    }

    /// With these the call has returned this.
    pub(crate) fn returning(&self, result: i64) -> Self {
        Self(libc::user_regs_struct { rax: result.cast_unsigned(), orig_rax: u64::MAX, ..self.0 })
    }
}

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

    /// Writes to what was lent.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        process_vm::write(self.0.id(), address, bytes)
    }

    /// Reads an `int` there.
    pub(crate) fn read_number(&self, address: u64) -> io::Result<i32> {
        process_vm::read_number(self.0.id(), address)
    }

    /// All its registers.
    pub(crate) fn registers(&self) -> io::Result<Registers> {
        ptrace::registers(self.0.id()).map(Registers)
    }

    /// Changes all its registers.
    pub(crate) fn set_registers(&self, registers: &Registers) -> io::Result<()> {
        ptrace::set_registers(self.0.id(), &registers.0)
    }

    /// The signals that it blocks, a bit each.
    pub(crate) fn blocked_signals(&self) -> io::Result<u64> {
        ptrace::blocked_signals(self.0.id())
    }

    /// Has it block these.
    pub(crate) fn block_signals(&self, mask: u64) -> io::Result<()> {
        ptrace::block_signals(self.0.id(), mask)
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
