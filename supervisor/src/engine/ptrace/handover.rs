//! The long way to return a file, where the loader cannot open it by any path: in another pid namespace, or after the
//! process has changed its user. The stopped thread is made to call for a socket pair, of which we take one end, to
//! receive the file from the other, and to close both; then everything is as it was.
//!
//! Signals are blocked meanwhile, so that no handler runs with registers of ours. Whatever fails, the call is made as it
//! was meant.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tracing::debug;

use super::PtraceEngine;
use crate::guest::remote::Address;
use crate::guest::stopped::{Registers, Stopped};
use crate::sys::ptrace::{Entry, Until};
use crate::sys::scm_rights::Socket;

/// What is lent of the thread's stack: the pair's numbers, and behind them what recvmsg(2) needs (`struct iovec`, `struct
/// msghdr` and `struct cmsghdr` of x86-64, and one byte of message).
const VECTOR: u64 = 8;
const MESSAGE: u64 = 24;
const CONTROL: u64 = 80;
const BYTE: u64 = 104;
const ROOM: usize = 112;
/// A `struct cmsghdr` with one descriptor behind it.
const CONTROL_LENGTH: u64 = 24;
const CONTROL_DESCRIPTOR: u64 = 16;

/// A thread on this way.
pub(super) struct Handover {
    file: OwnedFd,
    entry: Entry,
    /// At the exit of its call, as they are to be again.
    registers: Registers,
    signals: u64,
    lent: u64,
    step: Step,
}

/// The call that the thread is in.
#[derive(Clone, Copy)]
enum Step {
    Pair,
    Receive([i32; 2]),
    Close { other: i32, received: i64 },
    CloseOther { received: i64 },
}

impl PtraceEngine {
    /// Begins at the exit of an open that has failed, with the registers as the thread left them.
    pub(super) fn hand_over(&mut self, stopped: Stopped, file: OwnedFd, entry: Entry) -> io::Result<()> {
        let registers = stopped.registers()?;
        let signals = stopped.blocked_signals()?;
        let lent = match stopped.lend(registers.stack(), &[0; ROOM]) {
            Ok(Address(lent)) => lent,
            Err(_) => return self.make_the_call_again(stopped, &registers, entry),
        };
        stopped.block_signals(u64::MAX)?;
        let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as u64;
        let pair = [libc::AF_UNIX as u64, kind, 0, lent];
        stopped.set_registers(&registers.calling(libc::SYS_socketpair, pair))?;
        let handover = Handover { file, entry, registers, signals, lent, step: Step::Pair };
        self.handovers.insert(stopped.thread(), handover);
        stopped.resume(Until::Syscall, 0)
    }

    /// Goes on at the exit of a call that we made the thread make.
    pub(super) fn go_on_handing_over(
        &mut self,
        stopped: Stopped,
        mut handover: Handover,
        result: i64,
    ) -> io::Result<()> {
        match handover.next(&stopped, result) {
            Ok(Next::Call(number, arguments)) => {
                stopped.set_registers(&handover.registers.calling(number, arguments))?;
                self.handovers.insert(stopped.thread(), handover);
                stopped.resume(Until::Syscall, 0)
            }
            Ok(Next::Done(received)) if received >= 0 => {
                stopped.set_registers(&handover.registers.returning(received))?;
                stopped.block_signals(handover.signals)?;
                stopped.resume(self.until(), 0)
            }
            other => {
                let error = other.err();
                debug!(thread = stopped.thread().id(), ?error, "a file of ours could not be handed over");
                stopped.block_signals(handover.signals)?;
                self.make_the_call_again(stopped, &handover.registers, handover.entry)
            }
        }
    }

    /// Gives up: the call is made as it was meant.
    fn make_the_call_again(
        &mut self,
        stopped: Stopped,
        registers: &Registers,
        entry: Entry,
    ) -> io::Result<()> {
        let [a, b, c, d, ..] = entry.arguments;
        let number = entry.number.cast_signed();
        stopped.set_registers(&registers.calling(number, [a, b, c, d]))?;
        self.excused.insert(stopped.thread());
        stopped.resume(self.until(), 0)
    }
}

/// What is to be done next.
enum Next {
    Call(i64, [u64; 4]),
    /// All is done; the number of the descriptor, if it is one.
    Done(i64),
}

impl Handover {
    fn next(&mut self, stopped: &Stopped, result: i64) -> io::Result<Next> {
        let close = |descriptor: i32| Next::Call(libc::SYS_close, [descriptor as u64, 0, 0, 0]);
        match self.step {
            Step::Pair if result < 0 => Ok(Next::Done(result)),
            Step::Pair => {
                let [first, second] = [0, 4].map(|offset| stopped.read_number(self.lent + offset));
                let (first, second) = (first?, second?);
                // Both are closed again, whether this works or not: what is sent is then nothing.
                let sent = stopped
                    .thread()
                    .copy_descriptor(second)
                    .and_then(|socket| Socket::from(socket).send(b"!", &[self.file.as_fd()]));
                if let Err(error) = sent {
                    debug!(%error, "a file of ours could not be sent");
                    self.step = Step::Close { other: second, received: -1 };
                    return Ok(close(first));
                }
                stopped.write(self.lent + VECTOR, &self.message())?;
                self.step = Step::Receive([first, second]);
                let close = if self.closes_on_exec() { libc::MSG_CMSG_CLOEXEC } else { 0 };
                let arguments = [first as u64, self.lent + MESSAGE, (close | libc::MSG_DONTWAIT) as u64, 0];
                Ok(Next::Call(libc::SYS_recvmsg, arguments))
            }
            Step::Receive([first, second]) => {
                let received = stopped.read_number(self.lent + CONTROL + CONTROL_DESCRIPTOR)?;
                let received = if result == 1 { i64::from(received) } else { -1 };
                self.step = Step::Close { other: second, received };
                Ok(close(first))
            }
            Step::Close { other, received } => {
                self.step = Step::CloseOther { received };
                Ok(close(other))
            }
            Step::CloseOther { received } => Ok(Next::Done(received)),
        }
    }

    /// What the loader has said in its call.
    fn closes_on_exec(&self) -> bool {
        let [_, second, third, ..] = self.entry.arguments;
        let flags = if self.entry.number == libc::SYS_open.cast_unsigned() { second } else { third };
        flags & libc::O_CLOEXEC as u64 != 0
    }

    /// Vector, message header, control buffer and byte, one behind the other.
    fn message(&self) -> Vec<u8> {
        let words = [
            self.lent + BYTE, // iov_base, iov_len
            1,
            0, // msg_name, msg_namelen
            0,
            self.lent + VECTOR, // msg_iov, msg_iovlen
            1,
            self.lent + CONTROL, // msg_control, msg_controllen, msg_flags
            CONTROL_LENGTH,
            0,
        ];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        // No descriptor has this number, should the kernel write none.
        bytes.extend([0; CONTROL_DESCRIPTOR as usize]);
        bytes.extend((-1_i64).to_le_bytes());
        bytes
    }
}
