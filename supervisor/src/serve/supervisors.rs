//! The supervisors of this user that run now, and where each can be talked to.
//!
//! The user's own door has a path that is known; a supervisor that serves one program alone has one of which only that
//! program is told. Both are sockets that a process called as this one holds open, as /proc says.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use nix::sys::socket::UnixAddr;
use nix::unistd::Uid;

use crate::guest::remote::Thread;
use crate::sys::scm_rights::Socket;

/// Type and flags of a listening `SOCK_SEQPACKET` socket in /proc/net/unix (`__SO_ACCEPTCON`, proc(5)).
const SEQPACKET: &str = "0005";
const LISTENS: &str = "00010000";

/// Connects to each of them that lets us in.
pub(crate) fn connections() -> impl Iterator<Item = Socket> {
    let listening = listening();
    let mut seen = HashSet::new();
    let addresses = own_processes().into_iter().flat_map(move |process| {
        let sockets = sockets_of(process).into_iter().filter(|inode| seen.insert(*inode));
        let names: Vec<String> = sockets.filter_map(|inode| listening.get(&inode).cloned()).collect();
        names.into_iter().filter_map(move |name| address(process, &name))
    });
    addresses.filter_map(|address| Socket::connect(&address).ok()).filter(|socket| {
        // Somebody else may have taken the name in this moment.
        socket.peer().is_ok_and(|peer| Uid::from_raw(peer.user) == Uid::effective())
    })
}

/// Inode and name of each listening socket that could be one.
fn listening() -> HashMap<u64, String> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let table = String::from_utf8_lossy(&table);
    let sockets = table.lines().skip(1).filter_map(|line| {
        // Address, references, protocol, flags, type, state, inode, name.
        let mut words = line.split_whitespace();
        let flags = words.nth(3)?;
        let kind = words.next()?;
        let inode = words.nth(1)?.parse().ok()?;
        (flags == LISTENS && kind == SEQPACKET).then_some((inode, words.next()?.to_owned()))
    });
    sockets.collect()
}

/// Processes of this user whose program has the name of ours; it may be an earlier version of it.
fn own_processes() -> Vec<Thread> {
    let name_of = |path: &Path| {
        let name = fs::read_link(path).ok()?.file_name()?.to_string_lossy().into_owned();
        Some(name.trim_end_matches(" (deleted)").to_owned())
    };
    let own = name_of(Path::new("/proc/self/exe"));
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| Thread::new(entry.file_name().to_str()?.parse().ok()?));
    let is_ours = |thread: &Thread| {
        name_of(Path::new(&format!("/proc/{}/exe", thread.id()))) == own
            && thread.id() != std::process::id()
            && thread.user().is_ok_and(|user| Uid::from_raw(user) == Uid::effective())
    };
    let mut ours: Vec<Thread> = numbers.filter(is_ours).collect();
    // Those that see what we see are the likeliest; the sort is stable.
    let sees = |thread: &str| fs::read_link(format!("/proc/{thread}/ns/mnt")).ok();
    let here = sees("self");
    ours.sort_by_key(|thread| sees(&thread.id().to_string()) != here);
    ours
}

/// The inodes of a process's sockets (proc_pid_fd(5)).
fn sockets_of(process: Thread) -> Vec<u64> {
    let all = fs::read_dir(format!("/proc/{}/fd", process.id())).into_iter().flatten().flatten();
    let links = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |link: &Path| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    links.filter_map(|link| inode(&link)).collect()
}

/// The address of a name in /proc/net/unix, where `@` stands for the NUL of an abstract one (unix(7)). A path is as the
/// process sees it.
fn address(process: Thread, name: &str) -> Option<UnixAddr> {
    match name.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()).ok(),
        None => UnixAddr::new(&*format!("/proc/{}/root{name}", process.id())).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_inode() {
        let door = crate::serve::Door::open_own().unwrap();
        let name = door.address().unwrap();
        let sockets = sockets_of(Thread::new(std::process::id()).unwrap());
        let listening = listening();
        let names: Vec<&String> = sockets.iter().filter_map(|inode| listening.get(inode)).collect();
        let own = format!("@{}", std::str::from_utf8(&name[1..]).unwrap());
        assert!(names.contains(&&own), "{own} is not in {names:?}");
        let address = address(Thread::new(std::process::id()).unwrap(), &own).unwrap();
        assert!(Socket::connect(&address).is_ok());
    }
}
