//! One datagram with at most one descriptor beside it (`SCM_RIGHTS`, unix(7)), and the socket that a shim
//! leaves at a fixed number.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt, recvmsg,
    sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;

/// A `SOCK_SEQPACKET` socket between shim and supervisor.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl From<OwnedFd> for Socket {
    /// Whatever the descriptor is: if it is no such socket, sending and receiving will say so.
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl Socket {
    /// Two sockets connected to each other, close-on-exec.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let kind = SockType::SeqPacket;
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(ours), Self(theirs)))
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

    /// The process that made the pair, as this process sees it (`SO_PEERCRED`, unix(7)); 0 if it cannot.
    pub(crate) fn peer(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.0, sockopt::PeerCredentials)?.pid().cast_unsigned())
    }

    /// Sends one message.
    pub(crate) fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let numbers = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
        let control: Vec<_> =
            numbers.iter().map(|numbers| ControlMessage::ScmRights(numbers.as_slice())).collect();
        let vector = [IoSlice::new(bytes)];
        sendmsg::<()>(self.0.as_raw_fd(), &vector, &control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Receives one message into `buffer`; returns its bytes and the descriptor beside it. A message longer
    /// than the buffer is an error, and so is the end of the connection. Surplus descriptors are closed.
    pub(crate) fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<(&'b [u8], Option<OwnedFd>)> {
        let mut control = cmsg_space!([i32; 4]);
        let (length, descriptors, truncated) = {
            let mut vector = [IoSliceMut::new(buffer)];
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let message = recvmsg::<()>(self.0.as_raw_fd(), &mut vector, Some(&mut control), flags)?;
            let mut descriptors = Vec::new();
            for part in message.cmsgs()? {
                if let ControlMessageOwned::ScmRights(numbers) = part {
                    // SAFETY: the kernel just made these descriptors for us.
                    descriptors.extend(numbers.into_iter().map(|n| unsafe { OwnedFd::from_raw_fd(n) }));
                }
            }
            (message.bytes, descriptors, message.flags.contains(MsgFlags::MSG_TRUNC))
        };
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if truncated {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((&buffer[..length], descriptors.into_iter().next()))
    }

    /// The socket as a descriptor, to be given to another process.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_descriptor_arrive_together() {
        let (a, b) = Socket::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        a.send(b"hello", Some(std::os::fd::AsFd::as_fd(&file))).unwrap();
        let mut buffer = [0; 64];
        let (bytes, descriptor) = b.receive(&mut buffer).unwrap();
        assert_eq!(bytes, b"hello");
        assert!(descriptor.is_some());
    }

    #[test]
    fn a_closed_peer_and_a_message_too_long_are_errors() {
        let (a, b) = Socket::pair().unwrap();
        a.send(&[7; 100], None).unwrap();
        assert_eq!(b.receive(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert_eq!(b.receive(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert!(Socket::inherited(987_654).is_err());
    }
}
