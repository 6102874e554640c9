//! The system calls that the shim makes, as functions that cannot be given a wrong pointer.
//!
//! Errors are errno numbers. Everything is restarted after a signal where that is harmless: handlers do not
//! exist this early, but a stop and continue can interrupt a call (signal(7)).

use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::ptr;

use linux_raw_sys::errno::{EACCES, EINTR, EINVAL, ENAMETOOLONG, EPERM};
use linux_raw_sys::general::{
    __NR_clone, __NR_close, __NR_close_range, __NR_dup2, __NR_execve, __NR_exit_group, __NR_faccessat,
    __NR_fcntl, __NR_fstat, __NR_geteuid, __NR_getpid, __NR_getrandom, __NR_mmap, __NR_mprotect, __NR_mremap,
    __NR_munmap, __NR_openat, __NR_prctl, __NR_pread64, __NR_readlink, __NR_seccomp, __NR_setsid, __NR_stat,
    __NR_time, __NR_wait4, __NR_write, __WALL, AT_FDCWD, CLONE_VFORK, F_DUPFD_CLOEXEC, F_SETFD,
    GRND_NONBLOCK, MREMAP_FIXED, MREMAP_MAYMOVE, O_CLOEXEC, O_RDONLY, X_OK, stat,
};
use linux_raw_sys::prctl::{
    PR_GET_CHILD_SUBREAPER, PR_GET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_MM, PR_SET_MM_MAP, PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS, PR_SET_PTRACER, prctl_mm_map,
};

use sonde_interp::plan::Stamp;

use crate::arch::{self, syscall};

mod as_asked;
mod socket;
pub(crate) use as_asked::{look, open_by_path, open_raw};
pub(crate) use socket::{Address, Received, connect, receive, send, send_parts, socket_pair};

/// An errno (errno(3)).
pub(crate) type Errno = u32;

/// `SECCOMP_SET_MODE_FILTER`, linux/seccomp.h.
const SECCOMP_SET_MODE_FILTER: usize = 1;

/// A descriptor of this process, closed when dropped.
#[derive(Debug)]
pub(crate) struct Descriptor(i32);

impl Descriptor {
    /// Takes over a descriptor that this process inherited.
    pub(crate) fn inherited(number: i32) -> Self {
        Self(number)
    }

    pub(crate) fn number(&self) -> i32 {
        self.0
    }

    /// Gives it away, open.
    pub(crate) fn into_number(self) -> i32 {
        let number = self.0;
        core::mem::forget(self);
        number
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: no pointers.
        let _ = unsafe { call(__NR_close, [self.0 as usize, 0, 0, 0, 0, 0]) };
    }
}

/// # Safety
/// That of the system call.
unsafe fn call(number: u32, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: the caller's.
    match unsafe { syscall(number, arguments) } {
        error @ -4095..=-1 => Err(error.unsigned_abs() as Errno),
        value => Ok(value as usize),
    }
}

fn restarted(mut attempt: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match attempt() {
            Err(EINTR) => {}
            result => return result,
        }
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &CStr) -> Result<Descriptor, Errno> {
    open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC)
}

/// openat(2), with any directory descriptor.
pub(crate) fn open_at(directory: i32, path: &CStr, flags: u32) -> Result<Descriptor, Errno> {
    let arguments = [directory as usize, path.as_ptr() as usize, flags as usize, 0, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read.
    restarted(|| unsafe { call(__NR_openat, arguments) }).map(|number| Descriptor(number as i32))
}

/// A call to the supervisor that offers a descriptor (`handoff::OFFER_ERRNO`). Whoever is not the supervisor opens no
/// file by it: the directory is none.
pub(crate) fn call_with_offer(
    directory: i32,
    path: &CStr,
    flags: u32,
    offered: &Descriptor,
) -> Result<(), Errno> {
    let mode = offered.0 as usize + 1;
    let arguments = [directory as usize, path.as_ptr() as usize, flags as usize, mode, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read.
    restarted(|| unsafe { call(__NR_openat, arguments) }).map(drop)
}

/// May this file be executed by this process?
pub(crate) fn executable(path: &CStr) -> Result<(), Errno> {
    let arguments = [AT_FDCWD as usize, path.as_ptr() as usize, X_OK as usize, 0, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read.
    unsafe { call(__NR_faccessat, arguments) }.map(drop)
}

/// Reads from `offset` until `buffer` is full or the file ends; returns the number of bytes.
pub(crate) fn read_at(file: &Descriptor, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        let arguments =
            [file.0 as usize, rest.as_mut_ptr() as usize, rest.len(), offset as usize + filled, 0, 0];
        // SAFETY: the kernel writes at most `rest.len()` bytes to `rest`.
        match restarted(|| unsafe { call(__NR_pread64, arguments) })? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// What stat(2) says of an open file.
pub(crate) struct Status {
    /// In bytes.
    pub(crate) length: u64,
    /// In seconds since 1970.
    pub(crate) modified: u64,
    pub(crate) owner: u32,
    /// Kind and permissions (inode(7)).
    pub(crate) mode: u32,
}

/// What is at a path, as plans have it; what cannot be looked at is not there.
pub(crate) fn stamp_at(path: &CStr) -> Stamp {
    let mut data = MaybeUninit::<stat>::uninit();
    let arguments = [path.as_ptr() as usize, data.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read; the kernel writes the structure, and all of it if it succeeds.
    let looked = unsafe { call(__NR_stat, arguments).map(|_| data.assume_init()) };
    looked.map_or(Stamp::ABSENT, |data| Stamp {
        device: data.st_dev,
        inode: data.st_ino,
        size: data.st_size as u64,
        modified: data.st_mtime as i64,
        changed: data.st_ctime as i64,
        modified_nanoseconds: data.st_mtime_nsec as u32,
        changed_nanoseconds: data.st_ctime_nsec as u32,
    })
}

/// Where a symbolic link leads, without a NUL; an error if that does not fit.
pub(crate) fn read_link<'b>(path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let arguments = [path.as_ptr() as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: `path` is NUL-terminated and only read; the kernel writes at most `buffer.len()` bytes.
    let length = unsafe { call(__NR_readlink, arguments) }?;
    buffer.get(..length).filter(|text| text.len() < buffer.len()).ok_or(ENAMETOOLONG)
}

/// The time, in seconds since 1970; 0 if it cannot be had.
pub(crate) fn now() -> u64 {
    // SAFETY: a null pointer asks for the value alone (time(2)).
    unsafe { call(__NR_time, [0; 6]) }.map_or(0, |time| time as u64)
}

/// The user that this process acts as.
pub(crate) fn user() -> u32 {
    // SAFETY: no arguments.
    unsafe { call(__NR_geteuid, [0; 6]) }.map_or(u32::MAX, |user| user as u32)
}

/// Looks at an open file.
pub(crate) fn status_of(file: &Descriptor) -> Result<Status, Errno> {
    let mut data = MaybeUninit::<stat>::uninit();
    let arguments = [file.0 as usize, data.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes the structure, and all of it if it succeeds.
    let data = unsafe {
        call(__NR_fstat, arguments)?;
        data.assume_init()
    };
    Ok(Status {
        length: data.st_size as u64,
        modified: data.st_mtime,
        owner: data.st_uid,
        mode: data.st_mode,
    })
}

/// Writes to a descriptor; short writes and errors are nobody's business any more.
pub(crate) fn write(descriptor: i32, bytes: &[u8]) {
    let arguments = [descriptor as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the kernel reads at most `bytes.len()` bytes.
    let _ = restarted(|| unsafe { call(__NR_write, arguments) });
}

/// mmap(2); returns the address.
///
/// # Safety
/// With `MAP_FIXED` nothing that is still used may lie in the range.
pub(crate) unsafe fn map(
    address: u64,
    length: u64,
    protection: u32,
    flags: u32,
    file: Option<(&Descriptor, u64)>,
) -> Result<u64, Errno> {
    let (number, offset) = file.map_or((-1, 0), |(file, offset)| (file.0, offset));
    let arguments = [
        address as usize,
        length as usize,
        protection as usize,
        flags as usize,
        number as usize,
        offset as usize,
    ];
    // SAFETY: the caller's.
    unsafe { call(__NR_mmap, arguments) }.map(|address| address as u64)
}

/// Changes the protection of pages.
///
/// # Safety
/// Nobody may rely on the protection that they had.
pub(crate) unsafe fn protect(address: u64, length: u64, protection: u32) -> Result<(), Errno> {
    // SAFETY: the caller's.
    unsafe { call(__NR_mprotect, [address as usize, length as usize, protection as usize, 0, 0, 0]) }
        .map(drop)
}

/// Gives pages back.
///
/// # Safety
/// Nobody may use them any more.
pub(crate) unsafe fn unmap(address: u64, length: u64) {
    // SAFETY: the caller's.
    let _ = unsafe { call(__NR_munmap, [address as usize, length as usize, 0, 0, 0, 0]) };
}

/// Moves pages over others in one step (`MREMAP_FIXED`, mremap(2)).
///
/// # Safety
/// The pages at `to` must not be missed.
pub(crate) unsafe fn move_pages(from: u64, length: u64, to: u64) -> Result<(), Errno> {
    let flags = (MREMAP_MAYMOVE | MREMAP_FIXED) as usize;
    let arguments = [from as usize, length as usize, length as usize, flags, to as usize, 0];
    // SAFETY: the caller's.
    unsafe { call(__NR_mremap, arguments) }.map(drop)
}

/// A random number for addresses; 0 where the kernel has none to give without waiting.
pub(crate) fn random() -> u64 {
    let mut value = 0_u64;
    let arguments = [(&raw mut value) as usize, size_of::<u64>(), GRND_NONBLOCK as usize, 0, 0, 0];
    // SAFETY: the kernel writes 8 bytes to `value`.
    let _ = unsafe { call(__NR_getrandom, arguments) };
    value
}

/// This process's id.
pub(crate) fn process_id() -> u32 {
    // SAFETY: no arguments.
    unsafe { call(__NR_getpid, [0; 6]) }.map_or(0, |id| id as u32)
}

/// `struct sock_fprog`, linux/filter.h.
#[repr(C)]
struct FilterProgram {
    rows: u16,
    filter: *const u8,
}

/// Installs a filter given as `struct sock_filter` rows; returns what the kernel does, which is the listener if the flags
/// ask for one. `no_new_privs` is set only when the kernel insists (seccomp(2): without `CAP_SYS_ADMIN`), since it takes
/// privilege from setuid children; and not if it must not be.
fn install(rows: &[u8], flags: u32, may_set_no_new_privs: bool) -> Result<usize, Errno> {
    let rows_count = u16::try_from(rows.len() / 8).map_err(|_| EINVAL)?;
    let program = FilterProgram { rows: rows_count, filter: rows.as_ptr() };
    let arguments = [SECCOMP_SET_MODE_FILTER, flags as usize, (&raw const program) as usize, 0, 0, 0];
    // SAFETY: the kernel copies the rows, whose number is given beside them.
    let install = || unsafe { call(__NR_seccomp, arguments) };
    match install() {
        Err(EACCES) if may_set_no_new_privs => {
            // SAFETY: no pointers.
            unsafe { call(__NR_prctl, [PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0]) }?;
            install()
        }
        result => result,
    }
}

/// Installs a filter that has a listener, and returns that.
pub(crate) fn install_filter(
    rows: &[u8],
    flags: u32,
    may_set_no_new_privs: bool,
) -> Result<Descriptor, Errno> {
    install(rows, flags, may_set_no_new_privs).map(|number| Descriptor(number as i32))
}

/// Installs a filter for this process's tracer.
pub(crate) fn install_traced_filter(rows: &[u8], may_set_no_new_privs: bool) -> Result<(), Errno> {
    install(rows, 0, may_set_no_new_privs).map(drop)
}

/// Does a seccomp filter stand over this process?
pub(crate) fn is_filtered() -> bool {
    // SAFETY: no pointers.
    let mode = unsafe { call(__NR_prctl, [PR_GET_SECCOMP as usize, 0, 0, 0, 0, 0]) };
    mode != Ok(0)
}

/// Lets the supervisor read this process's memory where Yama restricts that to ancestors (prctl(2)); where
/// there is no Yama the kernel says `EINVAL`, and nothing is lost.
pub(crate) fn permit_reader(process: u32) {
    // SAFETY: no pointers.
    let _ = unsafe { call(__NR_prctl, [PR_SET_PTRACER as usize, process as usize, 0, 0, 0, 0]) };
}

/// Sets the name that `ps` shows: at most 15 bytes of the program's file name, as execve(2) does.
pub(crate) fn set_name(name: &CStr) {
    // SAFETY: the kernel reads up to 16 bytes or the NUL, whichever comes first.
    let _ = unsafe { call(__NR_prctl, [PR_SET_NAME as usize, name.as_ptr() as usize, 0, 0, 0, 0]) };
}

/// The `exe_fd` that leaves `/proc/self/exe` as it is.
pub(crate) const NO_FILE: u32 = u32::MAX;

/// Tells the kernel what this process's memory holds now, `/proc/self/exe` included if `exe_fd` is a descriptor.
///
/// Another `exe_fd` than -1 needs `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN` in the process's own user namespace
/// (`prctl_set_mm_map`, kernel/sys.c): an ordinary user has neither, but may make a user namespace in which a child
/// that shares this memory has them.
///
/// # Safety
/// `map` must be truthful.
pub(crate) unsafe fn set_memory_map(map: &prctl_mm_map) -> Result<(), Errno> {
    let arguments = [
        PR_SET_MM as usize,
        PR_SET_MM_MAP as usize,
        ptr::from_ref(map) as usize,
        size_of::<prctl_mm_map>(),
        0,
        0,
    ];
    // SAFETY: the kernel reads the structure; that it is truthful is the caller's promise, also below.
    match unsafe { call(__NR_prctl, arguments) } {
        Err(EPERM) if map.exe_fd != NO_FILE => {}
        result => return result.map(drop),
    }
    // SAFETY: as above.
    let child = unsafe { arch::set_memory_map_from_namespace(map) };
    if child < 0 {
        return Err(child.unsigned_abs() as Errno);
    }
    match wait(child as usize)? {
        0 => Ok(()),
        status => Err((status >> 8) & 0xff),
    }
}

/// In which of the two processes after a [`fork`] this is.
pub(crate) enum Fork {
    Parent(usize),
    Child,
}

/// Makes a copy of this process whose end raises no signal in this one.
pub(crate) fn fork() -> Result<Fork, Errno> {
    copy(0)
}

/// The same, and this process sleeps until the copy is gone. To a debugger it is a process (`PTRACE_EVENT_VFORK`, of
/// which gdb lets go), where it would take a copy that raises no signal for a thread, and follow what it executes.
pub(crate) fn fork_and_sleep() -> Result<Fork, Errno> {
    copy(CLONE_VFORK)
}

fn copy(flags: u32) -> Result<Fork, Errno> {
    // SAFETY: without CLONE_VM the child has its own copy of everything, the stack included.
    match unsafe { call(__NR_clone, [flags as usize, 0, 0, 0, 0, 0]) }? {
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent(child)),
    }
}

/// Waits for a child made by [`fork`]; returns its wait status.
pub(crate) fn wait(child: usize) -> Result<u32, Errno> {
    let mut status = 0_u32;
    let arguments = [child, (&raw mut status) as usize, __WALL as usize, 0, 0, 0];
    // SAFETY: the kernel writes the status.
    restarted(|| unsafe { call(__NR_wait4, arguments) })?;
    Ok(status)
}

/// Ends this process.
pub(crate) fn exit(status: i32) -> ! {
    loop {
        // SAFETY: no pointers; does not return.
        let _ = unsafe { call(__NR_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Runs `work` while this process adopts no orphans, so that the grandchild of a double fork becomes
/// somebody else's (`PR_SET_CHILD_SUBREAPER`, prctl(2)).
pub(crate) fn without_adopting<T>(work: impl FnOnce() -> T) -> T {
    let mut adopts = 0_i32;
    // SAFETY: the kernel writes an int.
    let _ = unsafe {
        call(__NR_prctl, [PR_GET_CHILD_SUBREAPER as usize, (&raw mut adopts) as usize, 0, 0, 0, 0])
    };
    if adopts == 0 {
        return work();
    }
    let set = |value: usize| {
        // SAFETY: no pointers.
        let _ = unsafe { call(__NR_prctl, [PR_SET_CHILD_SUBREAPER as usize, value, 0, 0, 0, 0]) };
    };
    set(0);
    let result = work();
    set(1);
    result
}

/// Leaves the session, so that the terminal's signals do not reach this process.
pub(crate) fn leave_session() {
    // SAFETY: no pointers.
    let _ = unsafe { call(__NR_setsid, [0; 6]) };
}

/// Makes `to` refer to what `from` refers to, without close-on-exec.
pub(crate) fn duplicate_to(from: i32, to: i32) -> Result<(), Errno> {
    if from == to {
        // dup2 onto itself would keep close-on-exec.
        // SAFETY: no pointers.
        return unsafe { call(__NR_fcntl, [from as usize, F_SETFD as usize, 0, 0, 0, 0]) }.map(drop);
    }
    // SAFETY: no pointers.
    unsafe { call(__NR_dup2, [from as usize, to as usize, 0, 0, 0, 0]) }.map(drop)
}

/// A copy of a descriptor with a number of at least `least`.
pub(crate) fn duplicate_above(descriptor: &Descriptor, least: i32) -> Result<Descriptor, Errno> {
    // SAFETY: no pointers.
    unsafe { call(__NR_fcntl, [descriptor.0 as usize, F_DUPFD_CLOEXEC as usize, least as usize, 0, 0, 0]) }
        .map(|number| Descriptor(number as i32))
}

/// Closes every descriptor from `first` on (close_range(2), Linux 5.9).
pub(crate) fn close_from(first: i32) {
    // SAFETY: no pointers.
    let _ = unsafe { call(__NR_close_range, [first as usize, u32::MAX as usize, 0, 0, 0, 0]) };
}

/// Becomes another program; returns only the error.
pub(crate) fn execute(
    path: &CStr,
    arguments: &NullTerminated<'_>,
    environment: &NullTerminated<'_>,
) -> Errno {
    let call_arguments =
        [path.as_ptr() as usize, arguments.0.as_ptr() as usize, environment.0.as_ptr() as usize, 0, 0, 0];
    // SAFETY: both vectors end with a null pointer and hold NUL-terminated strings (`NullTerminated`).
    unsafe { call(__NR_execve, call_arguments) }.err().unwrap_or(0)
}

/// A vector of C strings as execve(2) wants it.
pub(crate) struct NullTerminated<'a>(&'a [*const c_char]);

impl<'a> NullTerminated<'a> {
    /// # Safety
    /// The last element must be null, all others valid C strings.
    pub(crate) unsafe fn new(pointers: &'a [*const c_char]) -> Self {
        Self(pointers)
    }
}
