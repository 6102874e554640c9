//! The service manager that has started this process, and the descriptors that it holds for the next one (sd_notify(3),
//! `FDSTORE`).

use std::env;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

/// A manager that takes no message for so long is not waited for, in seconds.
const PATIENCE: i64 = 1;

/// A line to the manager.
#[derive(Debug)]
pub(crate) struct Manager(OwnedFd);

impl Manager {
    /// The one that the environment names; none, if it names none, or nobody is there.
    pub(crate) fn of_environment() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET")?;
        let address = match name.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name),
            path @ [b'/', ..] => UnixAddr::new(path),
            _ => return None,
        };
        Self::at(&address.ok()?).ok()
    }

    /// The one that listens here.
    pub(crate) fn at(address: &UnixAddr) -> io::Result<Self> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(PATIENCE, 0))?;
        connect(socket.as_raw_fd(), address)?;
        Ok(Self(socket))
    }

    /// Has descriptors held under a name, beside what is held under it already.
    pub(crate) fn hold(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let numbers: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        self.send(&format!("FDSTORE=1\nFDNAME={name}\n"), &[ControlMessage::ScmRights(&numbers)])
    }

    /// What is held under a name need not be any more.
    pub(crate) fn let_go(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])
    }

    fn send(&self, text: &str, control: &[ControlMessage<'_>]) -> io::Result<()> {
        let vector = [IoSlice::new(text.as_bytes())];
        sendmsg::<()>(self.0.as_raw_fd(), &vector, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}
