//! What a service manager holds for the keeper, so that a tree outlives both keeper and worker: of each tree the
//! listener, the ledger and the record, under names that say which tree they are of.
//!
//! The manager lets go of a listener by itself when the tree has ended. Where there is no manager nothing is held.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::warn;

use crate::sys::notify::Manager;

/// How the names of ours begin.
const PREFIX: &str = "tree-";

/// The manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Deposit(Option<Manager>);

/// A tree that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) listener: OwnedFd,
    pub(super) ledger: OwnedFd,
    pub(super) record: OwnedFd,
    /// Which record of the tree it is.
    pub(super) edition: u32,
}

/// Is a descriptor of this name one that was held?
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Listener and ledger.
fn name(id: u64) -> String {
    format!("{PREFIX}{id:016x}")
}

/// The record has a name of its own, because a new one is held before the old one is let go.
fn name_of_record(id: u64, edition: u32) -> String {
    format!("{}-{edition}", name(id))
}

/// The tree, and the edition if it is a record.
fn parse(name: &str) -> Option<(u64, Option<u32>)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (id, edition) = rest.split_once('-').map_or((rest, None), |(id, edition)| (id, Some(edition)));
    let id = u64::from_str_radix(id, 16).ok()?;
    Some((id, edition.map(str::parse).transpose().ok()?))
}

impl Deposit {
    /// With the manager that has started this process, if one has.
    pub(crate) fn of_environment() -> Self {
        Self(Manager::of_environment())
    }

    /// A tree has begun to live.
    pub(super) fn put(&self, id: u64, whole: [BorrowedFd<'_>; 2], (edition, record): (u32, BorrowedFd<'_>)) {
        // In this order: a tree without a record would be of no use.
        self.tell(|manager| manager.hold(&name_of_record(id, edition), &[record]));
        self.tell(|manager| manager.hold(&name(id), &whole));
    }

    /// Its record has become another one.
    pub(super) fn renew(&self, id: u64, (edition, record): (u32, BorrowedFd<'_>)) {
        self.tell(|manager| manager.hold(&name_of_record(id, edition), &[record]));
        self.tell(|manager| manager.let_go(&name_of_record(id, edition.wrapping_sub(1))));
    }

    /// It has ended.
    pub(super) fn withdraw(&self, id: u64, edition: u32) {
        self.tell(|manager| manager.let_go(&name(id)));
        self.tell(|manager| manager.let_go(&name_of_record(id, edition)));
    }

    /// Sorts what was held for a keeper that is gone. What is of no use is let go: of a tree that has ended the listener
    /// is missing.
    pub(super) fn recover(&self, stored: Vec<(String, OwnedFd)>) -> Vec<Held> {
        let mut trees: BTreeMap<u64, Parts> = BTreeMap::new();
        for (name, descriptor) in stored {
            let Some((id, edition)) = parse(&name) else {
                self.tell(|manager| manager.let_go(&name));
                continue;
            };
            let parts = trees.entry(id).or_default();
            match edition {
                Some(edition) => drop(parts.records.insert(edition, descriptor)),
                None if is_file(&descriptor) => parts.ledger = Some(descriptor),
                None => parts.listener = Some(descriptor),
            }
        }
        let held = |(id, mut parts): (u64, Parts)| {
            let latest = parts.records.pop_last();
            for edition in parts.records.keys() {
                self.tell(|manager| manager.let_go(&name_of_record(id, *edition)));
            }
            match (parts.listener, parts.ledger, latest) {
                (Some(listener), Some(ledger), Some((edition, record))) => {
                    Some(Held { id, listener, ledger, record, edition })
                }
                (.., latest) => {
                    self.withdraw(id, latest.map_or(0, |(edition, _)| edition));
                    None
                }
            }
        };
        trees.into_iter().filter_map(held).collect()
    }

    fn tell(&self, tell: impl Fn(&Manager) -> io::Result<()>) {
        if let Some(Err(error)) = self.0.as_ref().map(tell) {
            warn!(%error, "the service manager cannot be told of a tree");
        }
    }
}

/// Of one tree.
#[derive(Default)]
struct Parts {
    listener: Option<OwnedFd>,
    ledger: Option<OwnedFd>,
    records: BTreeMap<u32, OwnedFd>,
}

/// A ledger is one, and a listener is none.
fn is_file(descriptor: &OwnedFd) -> bool {
    let file = descriptor.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|data| data.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::UnixAddr;

    /// A manager's end, and a deposit with it.
    fn manager() -> (tempfile::TempDir, UnixDatagram, Deposit) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let deposit = Deposit(Some(Manager::at(&UnixAddr::new(&path).unwrap()).unwrap()));
        (folder, manager, deposit)
    }

    fn messages(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 200];
        let next = || manager.recv(&mut buffer).ok().map(|length| (length, buffer));
        let all = std::iter::from_fn(next);
        all.map(|(length, bytes)| String::from_utf8_lossy(&bytes[..length]).replace('\n', " ")).collect()
    }

    fn file(text: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        file.into()
    }

    /// What a listener is here: no file.
    fn listener() -> OwnedFd {
        UnixDatagram::unbound().unwrap().into()
    }

    #[test]
    fn the_manager_is_told_of_the_whole_life_of_a_tree() {
        let (_folder, manager, deposit) = manager();
        let (listener, ledger, record) = (listener(), file(""), file(""));
        deposit.put(0xab, [listener.as_fd(), ledger.as_fd()], (0, record.as_fd()));
        deposit.renew(0xab, (1, record.as_fd()));
        deposit.withdraw(0xab, 1);
        let (tree, store, remove) = ("tree-00000000000000ab", "FDSTORE=1 FDNAME=", "FDSTOREREMOVE=1 FDNAME=");
        let expected = [
            format!("{store}{tree}-0 "),
            format!("{store}{tree} "),
            format!("{store}{tree}-1 "),
            format!("{remove}{tree}-0 "),
            format!("{remove}{tree} "),
            format!("{remove}{tree}-1 "),
        ];
        assert_eq!(messages(&manager), expected);
    }

    #[test]
    fn what_is_whole_is_recovered_with_its_latest_record_and_the_rest_let_go() {
        let (_folder, manager, deposit) = manager();
        let named = |name: &str, descriptor| (name.to_owned(), descriptor);
        let stored = vec![
            named("tree-0000000000000001-9", file("old")),
            named("tree-0000000000000001-10", file("new")),
            named("tree-0000000000000001", file("ledger")),
            named("tree-0000000000000001", listener()),
            // It has ended: the manager has seen that the listener hangs up.
            named("tree-0000000000000002", file("ledger")),
            named("tree-0000000000000002-3", file("record")),
            named("tree-nonsense", file("")),
        ];
        assert!(stored.iter().all(|(name, _)| is_ours(name)));
        let held = deposit.recover(stored);
        let [tree] = held.as_slice() else { panic!("{held:?}") };
        assert_eq!((tree.id, tree.edition), (1, 10));
        let mut record = String::new();
        File::from(tree.record.try_clone().unwrap()).read_to_string(&mut record).unwrap();
        assert_eq!(record, "new");
        let told = messages(&manager).join("");
        for gone in ["0001-9 ", "0002 ", "0002-3 ", "nonsense "] {
            assert!(told.contains(gone), "{gone} is still held: {told}");
        }
        assert!(!told.contains("0001-10 ") && !told.contains("0001 "), "{told}");
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        let (listener, ledger) = (listener(), file(""));
        Deposit::default().put(1, [listener.as_fd(), ledger.as_fd()], (0, ledger.as_fd()));
        let (_folder, manager, deposit) = manager();
        drop(manager);
        deposit.withdraw(1, 0);
    }
}
