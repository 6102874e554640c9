//! The traps of a tree that were received and not answered yet, in memory that outlives the process which received
//! them.
//!
//! The kernel hands out a notification once: if its receiver dies, nobody is told of it again, and its thread would wait
//! for ever. So the kernel writes each one straight into a slot here (there is no moment in which it is received and
//! not in the ledger), and the slot is freed when the answer was given. Whoever takes the tree over finds what is still
//! open.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// More threads of one tree cannot wait at once; the next is received when one of them has its answer.
const SLOTS: usize = 4096;

/// How often it is looked whether a slot has become free.
const PAUSE: Duration = Duration::from_millis(1);

/// A trapped system call as the kernel reports it; answered by its `id` (`struct seccomp_notif`, linux/seccomp.h).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trap {
    pub(crate) id: u64,
    /// The calling thread; 0 where it lives in a pid namespace that this process cannot see.
    pub(crate) thread: u32,
    flags: u32,
    /// Number of the system call on x86-64.
    pub(crate) syscall: i32,
    architecture: u32,
    /// Where it was made.
    pub(crate) instruction: u64,
    pub(crate) arguments: [u64; 6],
}

nix::ioctl_readwrite!(receive, b'!', 0, Trap);

/// The open traps of one tree. One thread receives, any thread may settle.
#[derive(Debug)]
pub(crate) struct Ledger {
    memory: MmapRaw,
    file: OwnedFd,
    /// No slot before this one is free, unless it has just become so.
    first: AtomicUsize,
    /// No slot from this one on was ever used: looking at it would make the kernel find memory for it.
    end: AtomicUsize,
    /// How many slots are given out.
    most: usize,
}

impl Ledger {
    /// An empty one, in which no more than `most` are open at once; the kernel has the others wait.
    pub(crate) fn new(most: usize) -> io::Result<Self> {
        let file = memfd_create("traps", MFdFlags::MFD_CLOEXEC)?;
        let file = File::from(file);
        file.set_len((SLOTS * size_of::<Trap>()) as u64)?;
        let ledger = Self::open(file.into())?;
        ledger.end.store(0, Ordering::Release);
        Ok(Self { most: most.clamp(1, SLOTS), ..ledger })
    }

    /// That of a process which is gone.
    pub(crate) fn open(file: OwnedFd) -> io::Result<Self> {
        let length = SLOTS * size_of::<Trap>();
        let file = File::from(file);
        if file.metadata()?.len() != length as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let memory = MmapOptions::new().len(length).map_raw(&file)?;
        Ok(Self {
            memory,
            file: file.into(),
            first: AtomicUsize::new(0),
            end: AtomicUsize::new(SLOTS),
            most: SLOTS,
        })
    }

    /// The descriptor by which another process opens it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Lets the kernel write the next trap of a listener into a free slot.
    pub(super) fn receive(&self, listener: RawFd) -> Result<Trap, Errno> {
        let slot = self.free_slot();
        let trap = self.slot(slot);
        // SAFETY: the slot is free, so that nobody reads or writes it but this thread (there is one receiver), and is
        // zero, as the kernel demands. The kernel writes one `struct seccomp_notif`.
        unsafe { receive(listener, trap) }?;
        // SAFETY: as above; the slot is settled by nobody before this function has returned its id.
        Ok(unsafe { trap.read() })
    }

    /// Frees the slot of a trap that has been answered.
    pub(crate) fn settle(&self, id: u64) {
        if let Some(slot) = self.slots().find(|slot| self.id(*slot).load(Ordering::Acquire) == id) {
            self.free(slot);
        }
    }

    /// What a receiver that is gone has left open.
    pub(crate) fn open_traps(&self) -> Vec<Trap> {
        let used = self.slots().filter(|slot| self.id(*slot).load(Ordering::Acquire) != 0);
        // SAFETY: whoever wrote the slot is gone, and all bytes make a `Trap`.
        used.map(|slot| unsafe { self.slot(slot).read() }).collect()
    }

    fn free(&self, slot: usize) {
        let trap = self.slot(slot);
        // SAFETY: the slot is in use and its one trap was answered, so that nobody else touches it. The id, by which a
        // slot counts as used, is left for last.
        unsafe {
            ptr::write_bytes(trap.cast::<u8>().add(size_of::<u64>()), 0, size_of::<Trap>() - size_of::<u64>())
        };
        self.id(slot).store(0, Ordering::Release);
        self.first.fetch_min(slot, Ordering::AcqRel);
    }

    /// Those that may be in use.
    fn slots(&self) -> Range<usize> {
        0..self.end.load(Ordering::Acquire)
    }

    fn free_slot(&self) -> usize {
        loop {
            let first = self.first.load(Ordering::Acquire);
            let free = (first..self.most).find(|slot| self.id(*slot).load(Ordering::Acquire) == 0);
            if let Some(slot) = free {
                // Whoever has freed an earlier one meanwhile has said so.
                let _ = self.first.compare_exchange(first, slot, Ordering::AcqRel, Ordering::Relaxed);
                self.end.fetch_max(slot + 1, Ordering::AcqRel);
                return slot;
            }
            self.first.store(0, Ordering::Release);
            thread::sleep(PAUSE);
        }
    }

    fn slot(&self, slot: usize) -> *mut Trap {
        debug_assert!(slot < SLOTS);
        // SAFETY: within the mapping, which has SLOTS traps and is aligned to a page.
        unsafe { self.memory.as_mut_ptr().cast::<Trap>().add(slot) }
    }

    fn id(&self, slot: usize) -> &AtomicU64 {
        // SAFETY: the first field of a slot, aligned to 8 bytes and valid as long as the mapping. The kernel writes it
        // as a whole, and everybody else through this.
        unsafe { AtomicU64::from_ptr(self.slot(slot).cast::<u64>()) }
    }
}

// SAFETY: what is shared is reached through atomics, or by the one who owns a slot (see the methods).
unsafe impl Sync for Ledger {}
// SAFETY: a mapping belongs to no thread.
unsafe impl Send for Ledger {}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(ledger: &Ledger, id: u64) {
        let slot = ledger.free_slot();
        // SAFETY: the slot is free.
        unsafe { (*ledger.slot(slot)).thread = 7 };
        ledger.id(slot).store(id, Ordering::Release);
    }

    #[test]
    fn what_was_not_settled_is_found_by_the_next_one() {
        let ledger = Ledger::new(SLOTS).unwrap();
        (1..=5).for_each(|id| put(&ledger, id));
        ledger.settle(2);
        ledger.settle(4);
        ledger.settle(99);
        let file = ledger.as_fd().try_clone_to_owned().unwrap();
        drop(ledger);
        let ledger = Ledger::open(file).unwrap();
        let open: Vec<u64> = ledger.open_traps().iter().map(|trap| trap.id).collect();
        assert_eq!(open, [1, 3, 5]);
        put(&ledger, 6);
        let open: Vec<u64> = ledger.open_traps().iter().map(|trap| trap.id).collect();
        assert_eq!(open, [1, 6, 3, 5], "the first free slot is taken");
    }

    #[test]
    fn a_full_ledger_waits_for_a_slot() {
        let ledger = Ledger::new(SLOTS).unwrap();
        (1..=SLOTS as u64).for_each(|id| put(&ledger, id));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                ledger.settle(77);
            });
            assert_eq!(ledger.free_slot(), 76);
        });
    }

    #[test]
    fn a_limit_is_the_end_of_the_slots() {
        let ledger = Ledger::new(2).unwrap();
        put(&ledger, 1);
        put(&ledger, 2);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                ledger.settle(1);
            });
            assert_eq!(ledger.free_slot(), 0);
        });
    }

    #[test]
    fn a_file_of_another_size_is_none() {
        assert!(Ledger::open(File::open("/dev/null").unwrap().into()).is_err());
    }
}
