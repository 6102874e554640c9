//! Datagrams with a few descriptors beside them (`SCM_RIGHTS`, unix(7)), and the socket that a shim leaves at a fixed
//! number.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept4,
    connect, getsockopt, recvmsg, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

/// As many descriptors as any message of ours has.
const MOST_DESCRIPTORS: usize = 4;

/// A `SOCK_SEQPACKET` socket between shim, supervisor and keeper.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

/// Who made the other end of a socket, as this process sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// 0 if this process cannot see it.
    pub(crate) process: u32,
    pub(crate) user: u32,
}

impl From<OwnedFd> for Socket {
    /// Whatever the descriptor is: if it is no such socket, sending and receiving will say so.
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.0
    }
}

impl Socket {
    /// Two sockets connected to each other, close-on-exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let kind = SockType::SeqPacket;
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(ours), Self(theirs)))
    }

    /// Lets in one who has connected to a listening socket.
    pub(crate) fn accept(listening: &OwnedFd) -> io::Result<Self> {
        let number = restarted(|| accept4(listening.as_raw_fd(), SockFlag::SOCK_CLOEXEC))?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Takes over the descriptor `number`, which whoever started this process left open for it; an error if
    /// nothing is open there. Must be called before anything else could take ownership of that number.
    pub(crate) fn inherited(number: i32) -> io::Result<Self> {
        // SAFETY: borrowed for one harmless call, which fails if the number is not open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        // SAFETY: it is open, and by this function's contract nobody else in this process owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Lets the next program that this process executes inherit the socket; returns its number.
    pub(crate) fn keep_on_exec(&self) -> io::Result<i32> {
        fcntl(&self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(self.0.as_raw_fd())
    }

    /// Makes [`Socket::receive`] give up after this long.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&self.0, sockopt::ReceiveTimeout, &TimeVal::new(seconds, 0))?;
        Ok(())
    }

    /// Who made the pair, or connected (`SO_PEERCRED`, unix(7)).
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        let peer = getsockopt(&self.0, sockopt::PeerCredentials)?;
        Ok(Peer { process: peer.pid().cast_unsigned(), user: peer.uid() })
    }

    /// Connects to a listening socket.
    pub(crate) fn connect(address: &UnixAddr) -> io::Result<Self> {
        let descriptor = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(descriptor.as_raw_fd(), address)?;
        Ok(Self(descriptor))
    }

    /// Sends one message.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, descriptors, MsgFlags::empty())
    }

    /// Sends one message, if that can be done without waiting for whoever is to receive it.
    pub(crate) fn send_now(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, descriptors, MsgFlags::MSG_DONTWAIT)
    }

    fn send_with(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
        let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &[][..] } else { &control };
        let vector = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_NOSIGNAL | flags;
        restarted(|| sendmsg::<()>(self.0.as_raw_fd(), &vector, control, flags, None))?;
        Ok(())
    }

    /// Receives one message into `buffer`; returns its bytes and the descriptors beside it. A message longer than the
    /// buffer is an error, and so is the end of the connection.
    pub(crate) fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<(&'b [u8], Vec<OwnedFd>)> {
        let mut control = cmsg_space!([i32; MOST_DESCRIPTORS]);
        let mut descriptors = Vec::new();
        let (length, truncated) = {
            let mut vector = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = loop {
                // With a timeout even a stop that is over ends it (signal(7)).
                match recvmsg::<()>(self.0.as_raw_fd(), &mut vector, Some(&mut control), flags) {
                    Err(Errno::EINTR) => {}
                    received => break received?,
                }
            };
            for part in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(numbers) = part {
                    // SAFETY: the kernel just made these descriptors for us.
                    descriptors.extend(numbers.into_iter().map(|n| unsafe { OwnedFd::from_raw_fd(n) }));
                }
            }
            (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC))
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if truncated {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((&buffer[..length], descriptors))
    }

    /// Has the other side gone, or sent something? Waits for it no longer than this.
    pub(crate) fn is_ready(&self, patience: PollTimeout) -> bool {
        let mut descriptors = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptors, patience).is_ok_and(|ready| ready > 0)
    }

    /// Will it take a message? Waits for that no longer than this.
    pub(crate) fn has_room(&self, patience: PollTimeout) -> bool {
        let mut descriptors = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        poll(&mut descriptors, patience).is_ok_and(|ready| ready > 0)
    }

    /// The socket as a descriptor, to be given to another process.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

/// Makes a call again that a signal has interrupted.
fn restarted<T>(call: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_descriptor_arrive_together() {
        let (a, b) = Socket::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        a.send(b"hello", &[std::os::fd::AsFd::as_fd(&file), a.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let (bytes, descriptors) = b.receive(&mut buffer).unwrap();
        assert_eq!(bytes, b"hello");
        assert_eq!(descriptors.len(), 2);
    }

    #[test]
    fn a_closed_peer_and_a_message_too_long_are_errors() {
        let (a, b) = Socket::pair().unwrap();
        a.send(&[7; 100], &[]).unwrap();
        assert_eq!(b.receive(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert_eq!(b.receive(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert!(Socket::inherited(987_654).is_err());
    }
}
