//! Sockets that keep datagrams whole, and the descriptors that travel beside these (unix(7), cmsg(3)).

use core::ffi::CStr;
use core::ptr;

use linux_raw_sys::ctypes::c_int;
use linux_raw_sys::errno::{EACCES, EINVAL, EMSGSIZE, ENOTCONN};
use linux_raw_sys::general::{
    __NR_connect, __NR_geteuid, __NR_getsockopt, __NR_recvmsg, __NR_sendmsg, __NR_socket, __NR_socketpair,
    iovec,
};
use linux_raw_sys::net::{
    AF_UNIX, MSG_CMSG_CLOEXEC, MSG_NOSIGNAL, SCM_RIGHTS, SO_PEERCRED, SOCK_SEQPACKET, SOL_SOCKET, cmsghdr,
    msghdr, sockaddr_un,
};

use super::{Descriptor, Errno, call, restarted};

const SOCK_CLOEXEC: u32 = 0o2_000_000;

/// A connected pair of sockets that keep datagrams whole and in order.
pub(crate) fn socket_pair() -> Result<(Descriptor, Descriptor), Errno> {
    let mut pair = [0_i32; 2];
    let kind = (SOCK_SEQPACKET | SOCK_CLOEXEC) as usize;
    // SAFETY: the kernel writes two descriptors to `pair`.
    unsafe { call(__NR_socketpair, [AF_UNIX as usize, kind, 0, pair.as_mut_ptr() as usize, 0, 0]) }?;
    Ok((Descriptor(pair[0]), Descriptor(pair[1])))
}

/// Where a socket listens.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    address: sockaddr_un,
    length: usize,
}

impl Address {
    /// A path, or a name that begins with a NUL (unix(7)).
    pub(crate) fn of(bytes: impl Iterator<Item = u8>) -> Result<Self, Errno> {
        let mut address = sockaddr_un { sun_family: AF_UNIX as u16, sun_path: [0; 108] };
        let mut length = size_of::<u16>();
        for (index, byte) in bytes.enumerate() {
            // The last byte stays 0.
            *address.sun_path[..107].get_mut(index).ok_or(EINVAL)? = byte as _;
            length += 1;
        }
        // A path counts with its NUL.
        length += usize::from(address.sun_path[0] != 0);
        Ok(Self { address, length })
    }

    /// A name in a folder.
    pub(crate) fn inside(folder: &CStr, name: &str) -> Result<Self, Errno> {
        Self::of(folder.to_bytes().iter().chain(b"/").chain(name.as_bytes()).copied())
    }
}

/// Connects to a socket that this user listens on. Anybody else's is `EACCES`.
pub(crate) fn connect(address: &Address) -> Result<Descriptor, Errno> {
    let kind = (SOCK_SEQPACKET | SOCK_CLOEXEC) as usize;
    // SAFETY: no pointers.
    let socket = unsafe { call(__NR_socket, [AF_UNIX as usize, kind, 0, 0, 0, 0]) }?;
    let socket = Descriptor(socket as i32);
    let arguments = [socket.0 as usize, (&raw const address.address) as usize, address.length, 0, 0, 0];
    // SAFETY: the kernel reads the address.
    restarted(|| unsafe { call(__NR_connect, arguments) })?;
    let mut peer = [0_u32; 3]; // struct ucred: process, user, group
    let mut length = size_of_val(&peer) as u32;
    let arguments = [
        socket.0 as usize,
        SOL_SOCKET as usize,
        SO_PEERCRED as usize,
        peer.as_mut_ptr() as usize,
        (&raw mut length) as usize,
        0,
    ];
    // SAFETY: the kernel writes at most `length` bytes to `peer`.
    unsafe { call(__NR_getsockopt, arguments) }?;
    // SAFETY: no arguments.
    let own = unsafe { call(__NR_geteuid, [0; 6]) }?;
    if peer[1] as usize == own { Ok(socket) } else { Err(EACCES) }
}

/// What comes beside a message, in order.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) first: Option<Descriptor>,
    pub(crate) second: Option<Descriptor>,
}

/// Space for two descriptors beside a message, aligned as `struct cmsghdr` wants it (cmsg(3)).
#[repr(C)]
struct RightsBuffer {
    header: cmsghdr,
    descriptors: [c_int; 2],
}

/// What `cmsg_len` is with so many descriptors.
const fn rights_length(descriptors: usize) -> usize {
    size_of::<cmsghdr>() + descriptors * size_of::<c_int>()
}

fn message(vector: &mut [iovec], control: Option<&mut RightsBuffer>) -> msghdr {
    let control_length = if control.is_some() { size_of::<RightsBuffer>() } else { 0 };
    msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: vector.as_mut_ptr().cast(),
        msg_iovlen: vector.len() as _,
        msg_control: control.map_or(ptr::null_mut(), |control| (&raw mut *control).cast()),
        msg_controllen: control_length,
        msg_flags: 0,
    }
}

/// Sends one message, with a descriptor if there is one.
pub(crate) fn send(socket: &Descriptor, bytes: &[u8], descriptor: Option<&Descriptor>) -> Result<(), Errno> {
    send_parts(socket, [bytes], descriptor)
}

/// Sends one message that lies in several places.
pub(crate) fn send_parts<const N: usize>(
    socket: &Descriptor,
    parts: [&[u8]; N],
    descriptor: Option<&Descriptor>,
) -> Result<(), Errno> {
    let mut vector =
        parts.map(|part| iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() as _ });
    let mut control = RightsBuffer {
        header: cmsghdr {
            cmsg_len: rights_length(1),
            cmsg_level: SOL_SOCKET as c_int,
            cmsg_type: SCM_RIGHTS as c_int,
        },
        descriptors: [descriptor.map_or(-1, Descriptor::number), -1],
    };
    let header = message(&mut vector, descriptor.is_some().then_some(&mut control));
    let arguments = [socket.0 as usize, (&raw const header) as usize, MSG_NOSIGNAL as usize, 0, 0, 0];
    // SAFETY: header, vector, control and parts outlive the call and are only read.
    restarted(|| unsafe { call(__NR_sendmsg, arguments) }).map(drop)
}

/// Receives one message and what comes beside it. A closed socket is `ENOTCONN`.
pub(crate) fn receive<'b>(socket: &Descriptor, buffer: &'b mut [u8]) -> Result<(&'b [u8], Received), Errno> {
    let mut vector = [iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() as _ }];
    let mut control =
        RightsBuffer { header: cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 }, descriptors: [-1; 2] };
    let mut header = message(&mut vector, Some(&mut control));
    let arguments = [socket.0 as usize, (&raw mut header) as usize, MSG_CMSG_CLOEXEC as usize, 0, 0, 0];
    // SAFETY: the kernel writes to header, control and buffer only, within the lengths given.
    let length = restarted(|| unsafe { call(__NR_recvmsg, arguments) })?;
    let rights =
        control.header.cmsg_type == SCM_RIGHTS as c_int && control.header.cmsg_level == SOL_SOCKET as c_int;
    let attached = |count: usize| rights && control.header.cmsg_len >= rights_length(count);
    let descriptor = |index: usize| attached(index + 1).then(|| Descriptor(control.descriptors[index]));
    let received = Received { first: descriptor(0), second: descriptor(1) };
    match length {
        0 => Err(ENOTCONN),
        _ if header.msg_flags & linux_raw_sys::net::MSG_TRUNC != 0 => Err(EMSGSIZE),
        _ => Ok((&buffer[..length], received)),
    }
}
