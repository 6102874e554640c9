//! Things that belong to another process: its threads, its addresses, its view of the file system.
//!
//! An [`Address`] cannot be dereferenced and a [`Thread`] cannot be confused with a number of our own.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fstat};
use sonde_interp::site::NEAR_STACK;

use crate::sys::{pidfd, process_vm};

/// The longest path that the kernel takes, with its NUL (`PATH_MAX`, limits.h).
const PATH_MAX: usize = 4096;

/// An address in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// Does it lie on the stack that ends at `pointer`, close to its end?
    pub(crate) fn is_near(self, pointer: Self) -> bool {
        (pointer.0..pointer.0.saturating_add(NEAR_STACK as u64)).contains(&self.0)
    }
}

/// A thread of another process, by its id in our pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Thread(u32);

/// More than the kernel takes, arguments included: a quarter of the stack's limit, of which 6 MiB at most count
/// (execve(2), "Limits on size of arguments and environment").
const LARGEST_ENVIRONMENT: u64 = 6 << 20;

impl Thread {
    /// `None` for 0: a thread that lives where we cannot see it.
    pub(crate) fn new(id: u32) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    pub(crate) fn id(self) -> u32 {
        self.0
    }

    /// Reads a path out of its memory. Counts only if the thread is found to wait still, afterwards.
    pub(crate) fn read_path(self, address: Address) -> io::Result<PathBuf> {
        let bytes = process_vm::read_string(self.0, address.0, PATH_MAX)?;
        Ok(PathBuf::from(std::ffi::OsString::from(std::ffi::OsStr::from_bytes(&bytes))))
    }

    /// Writes the result of a stat(2) into its memory.
    pub(crate) fn write_stat(self, address: Address, stat: &FileStat) -> io::Result<()> {
        process_vm::write_stat(self.0, address.0, stat)
    }

    /// Does the address lie on the stack, close to where it ends now? The thread must be in a system call.
    pub(crate) fn has_on_stack(self, address: Address) -> io::Result<bool> {
        self.stack_pointer().map(|pointer| address.is_near(pointer))
    }

    /// Where its stack ends now. The thread must be in a system call (`/proc/TID/syscall`, proc(5)).
    pub(crate) fn stack_pointer(self) -> io::Result<Address> {
        // A thread that has trapped may need a moment until it sleeps; meanwhile the kernel says `running`.
        const TRIES: usize = 32;
        for _ in 0..TRIES {
            let text = fs::read_to_string(self.proc("syscall"))?;
            // Number, six arguments, stack pointer, instruction pointer.
            if let Some(pointer) = text.split_whitespace().nth(7) {
                let pointer = pointer.strip_prefix("0x").unwrap_or(pointer);
                return u64::from_str_radix(pointer, 16).map(Address).map_err(io::Error::other);
            }
            std::thread::yield_now();
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The process that the thread belongs to (`Tgid` of proc_pid_status(5)).
    pub(crate) fn process(self) -> io::Result<u32> {
        self.status("Tgid:")
    }

    /// The process that has started its own (`PPid` of proc_pid_status(5)); 0 if that lives where we cannot see it.
    pub(crate) fn parent(self) -> io::Result<u32> {
        self.status("PPid:")
    }

    /// Whether system calls of its are filtered, and how (`Seccomp` of proc_pid_status(5)); 2 stands for a filter.
    pub(crate) fn filter_mode(self) -> io::Result<u32> {
        self.status("Seccomp:")
    }

    /// Its arguments.
    pub(crate) fn arguments(self) -> io::Result<Vec<String>> {
        let words = fs::read(self.proc("cmdline"))?;
        let words = words.strip_suffix(b"\0").unwrap_or(&words).split(|byte| *byte == 0);
        Ok(words.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    fn status(self, field: &str) -> io::Result<u32> {
        let status = self.text("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|text| text.trim().parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The file that it executes.
    pub(crate) fn executable(self) -> io::Result<File> {
        File::open(self.proc("exe"))
    }

    /// The path of the file that it executes, in its own root. The kernel says it as seen from ours, which differs where
    /// the thread, or who started it, has called chroot(2).
    pub(crate) fn executable_path(self) -> io::Result<PathBuf> {
        self.inside("exe")
    }

    /// The path of its working directory, in its own root.
    pub(crate) fn working_directory(self) -> io::Result<PathBuf> {
        self.inside("cwd")
    }

    fn inside(self, link: &str) -> io::Result<PathBuf> {
        let path = fs::read_link(self.proc(link))?;
        let root = fs::read_link(self.proc("root")).unwrap_or_else(|_| "/".into());
        Ok(path.strip_prefix(root).map_or(path.clone(), |inside| Path::new("/").join(inside)))
    }

    /// Does it have any of a file mapped? The path is as seen from our root (proc_pid_maps(5)).
    pub(crate) fn maps(self, path: &Path) -> io::Result<bool> {
        let maps = fs::read(self.proc("maps"))?;
        let path = path.as_os_str().as_bytes();
        Ok(maps.split(|byte| *byte == b'\n').any(|line| line.ends_with(path)))
    }

    /// The files that it has mapped as code, by their paths (proc_pid_maps(5)); the highest address first.
    pub(crate) fn mapped_files(self) -> io::Result<Vec<PathBuf>> {
        let maps = self.text("maps")?;
        let code =
            maps.lines().rev().filter(|line| line.split(' ').nth(1).is_some_and(|it| it.contains('x')));
        Ok(code.filter_map(|line| line.find('/').and_then(|at| line.get(at..)).map(PathBuf::from)).collect())
    }

    /// Where the first part of a file is mapped.
    pub(crate) fn start_of(self, path: &Path) -> Option<u64> {
        let maps = self.text("maps").ok()?;
        let line = maps
            .lines()
            .find(|line| line.find('/').and_then(|at| line.get(at..)).map(Path::new) == Some(path))?;
        u64::from_str_radix(line.split_once('-')?.0, 16).ok()
    }

    /// The user that it runs as (`Uid` of proc_pid_status(5)): the effective one.
    pub(crate) fn user(self) -> io::Result<u32> {
        let status = self.text("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let user = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        user.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Its environment as it was at the start of the program, each variable with a NUL behind it (proc_pid_environ(5)).
    pub(crate) fn environment(self) -> io::Result<Vec<u8>> {
        // Its size is not known before; most fit at once.
        let mut environment = Vec::with_capacity(16 << 10);
        File::open(self.proc("environ"))?.take(LARGEST_ENVIRONMENT).read_to_end(&mut environment)?;
        Ok(environment)
    }

    /// Its file system: root and working directory may be others than ours.
    pub(crate) fn root(self) -> io::Result<GuestRoot> {
        File::open(self.proc("root")).map(|root| GuestRoot(root.into()))
    }

    /// The part of its loader that this instruction belongs to, and where the loader lies in its root. `None` for any
    /// other instruction. The kernel tells a program where it has put the loader (`AT_BASE`, getauxval(3)).
    pub(crate) fn loader_at(self, instruction: Address) -> Option<(Range<u64>, PathBuf)> {
        const AT_BASE: u64 = 7; // linux/auxvec.h
        let auxiliary = fs::read(self.proc("auxv")).ok()?;
        let (pairs, _) = auxiliary.as_chunks::<16>();
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
        let base = pairs.iter().find(|pair| word(&pair[..8]) == Some(AT_BASE))?;
        let base = word(&base[8..])?;
        let (range, path) = self.mapping_at(instruction)?;
        (self.mapping_at(Address(base))?.1 == path).then_some((range, path))
    }

    /// The file that is mapped at an address, and where that part of it begins and ends.
    pub(crate) fn mapping_at(self, address: Address) -> Option<(Range<u64>, PathBuf)> {
        let maps = self.text("maps").ok()?;
        maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
            let path = rest.find('/').and_then(|at| rest.get(at..))?;
            range.contains(&address.0).then(|| (range, path.into()))
        })
    }

    /// What the kernel calls the file that it executes, by device and inode, whatever its path has become.
    pub(crate) fn executable_identity(self) -> Option<(u64, u64)> {
        let data = fs::metadata(self.proc("exe")).ok()?;
        Some((data.dev(), data.ino()))
    }

    /// A copy of its standard error.
    pub(crate) fn standard_error(self) -> io::Result<File> {
        self.copy_descriptor(2).map(File::from)
    }

    /// A copy of one of its descriptors.
    pub(crate) fn copy_descriptor(self, number: i32) -> io::Result<OwnedFd> {
        pidfd::copy_descriptor(self.process()?, number)
    }

    /// What /proc says; names of files and programs need be no text.
    fn text(self, entry: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.proc(entry))?).into_owned())
    }

    fn proc(self, entry: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{entry}", self.0))
    }
}

/// The value of a variable in an environment whose entries have a NUL behind each.
pub(crate) fn variable_in<'e>(environment: &'e [u8], name: &str) -> Option<&'e [u8]> {
    let mut entries = environment.split(|byte| *byte == 0);
    entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// What there is at a path in the Nix store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing.
    Absent,
    /// Something that Nix may still be writing.
    Unfinished,
    /// The whole file.
    Complete,
}

impl Presence {
    /// Reads it from what stat(2) said.
    pub(crate) fn of(stat: io::Result<Metadata>) -> Self {
        match stat {
            Ok(data) if is_finished(&data) => Self::Complete,
            Ok(_) => Self::Unfinished,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Self::Absent,
            // No permission, no descriptors left: it may well be there, and the loader is to see for itself.
            Err(_) => Self::Complete,
        }
    }
}

/// Has Nix finished writing it?
///
/// Nix unpacks a substitute at its final place and, when all of it is written, sets every time stamp to 1
/// (`canonicalisePathMetaData`, unchanged from Nix 2.3 on): a file with another one may be half of itself.
pub(crate) fn is_finished(data: &Metadata) -> bool {
    data.mtime() == 1
}

/// The names in a folder, in no order.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}

/// How often a path with `..` in it is walked anew before it is given up.
const MOST_ATTEMPTS: usize = 1000;

/// Another process's root directory; absolute paths and symbolic links are resolved inside of it.
#[derive(Debug)]
pub(crate) struct GuestRoot(OwnedFd);

impl GuestRoot {
    /// Our own.
    pub(crate) fn own() -> io::Result<Self> {
        Self::at(Path::new("/"))
    }

    /// A folder of ours that is to be seen as one.
    pub(crate) fn at(folder: &Path) -> io::Result<Self> {
        File::open(folder).map(|root| Self(root.into()))
    }

    /// Is there a file at this absolute path?
    pub(crate) fn contains(&self, path: &Path) -> bool {
        self.open_with(path, OFlag::O_PATH).is_ok()
    }

    /// What there is at a path.
    pub(crate) fn presence(&self, path: &Path) -> Presence {
        Presence::of(self.metadata(path))
    }

    /// What stat(2) says of a path, as the standard library has it.
    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.open_with(path, OFlag::O_PATH).map(File::from).and_then(|file| file.metadata())
    }

    /// Opens a regular file for reading.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        // O_NONBLOCK: a FIFO must not keep us waiting.
        let file = File::from(self.open_with(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// What stat(2) says of a path.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<FileStat> {
        Ok(fstat(self.open_with(path, OFlag::O_PATH)?)?)
    }

    /// Is the folder at this path the same as ours? What we cannot see, or do not have ourselves, is not told apart.
    pub(crate) fn shares(&self, folder: &Path) -> bool {
        let Ok(own) = nix::sys::stat::stat(folder) else { return true };
        match self.stat(folder) {
            Ok(stat) => (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino),
            Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)),
        }
    }

    /// The path, in this root, at which a file really lies.
    pub(crate) fn real_path(&self, path: &Path) -> io::Result<PathBuf> {
        let real = fs::read_link(link_to(&self.open_with(path, OFlag::O_PATH)?))?;
        let inside = real.strip_prefix(fs::read_link(link_to(&self.0))?).map_err(io::Error::other)?;
        Ok(Path::new("/").join(inside))
    }

    /// The names in a folder, in no order.
    pub(crate) fn names_in(&self, folder: &Path) -> io::Result<Vec<String>> {
        names(&link_to(&self.open_with(folder, OFlag::O_PATH | OFlag::O_DIRECTORY)?))
    }

    fn open_with(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        for _ in 0..MOST_ATTEMPTS {
            match openat2(&self.0, path, how) {
                // Something was renamed or mounted, anywhere on the machine, while a `..` was walked (openat2(2)).
                Err(Errno::EAGAIN) => std::thread::yield_now(),
                result => return Ok(result?),
            }
        }
        Ok(openat2(&self.0, path, how)?)
    }
}

/// Leads to what a descriptor is of (proc_pid_fd(5)).
fn link_to(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this() -> Thread {
        Thread::new(std::process::id()).unwrap()
    }

    #[test]
    fn our_own_process_can_be_looked_at_like_any_other() {
        assert_eq!(this().process().unwrap(), std::process::id());
        assert!(this().executable_path().unwrap().is_absolute());
        assert!(!this().environment().unwrap().is_empty());
        assert!(this().root().unwrap().contains(Path::new("/etc/passwd")));
    }

    #[test]
    fn a_path_is_read_up_to_its_nul() {
        let text = c"/lib/libz.so.1";
        let path = this().read_path(Address(text.as_ptr() as u64)).unwrap();
        assert_eq!(path, Path::new("/lib/libz.so.1"));
        assert!(this().read_path(Address(16)).is_err());
    }

    #[test]
    fn what_lies_on_a_stack_is_told_from_what_does_not() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn(move || {
            let mut bytes = [0; 16];
            let here = Address((&raw const bytes) as u64);
            sender.send((nix::unistd::gettid().as_raw().cast_unsigned(), here)).unwrap();
            io::Read::read(&mut reader, &mut bytes).unwrap()
        });
        let (thread, here) = receiver.recv().unwrap();
        let thread = Thread::new(thread).unwrap();
        let elsewhere = Box::new(0_u8);
        // It may not have got as far as its read.
        while thread.has_on_stack(here).is_err() {}
        assert!(thread.has_on_stack(here).unwrap());
        assert!(!thread.has_on_stack(Address((&raw const *elsewhere) as u64)).unwrap());
        drop(writer);
        assert_eq!(waiting.join().unwrap(), 0);
    }

    #[test]
    fn another_roots_folder_is_told_from_ours() {
        assert!(GuestRoot::own().unwrap().shares(Path::new("/usr")));
        let other = tempfile::tempdir().unwrap();
        let root = GuestRoot::at(other.path()).unwrap();
        assert!(!root.shares(Path::new("/usr")));
        fs::create_dir(other.path().join("usr")).unwrap();
        assert!(!root.shares(Path::new("/usr")));
        assert!(root.shares(Path::new("/no/such/folder")));
    }

    #[test]
    fn a_path_is_walked_whatever_is_renamed_meanwhile() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(&one, "").unwrap();
        let root = GuestRoot::at(folder.path()).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    fs::rename(&one, &other).unwrap();
                    fs::rename(&other, &one).unwrap();
                }
            });
            let all = (0..20_000).all(|_| root.contains(Path::new("/a/b/../../a/b/../b")));
            over.store(true, Ordering::Relaxed);
            assert!(all);
        });
    }

    #[test]
    fn only_regular_files_are_opened() {
        let root = GuestRoot::own().unwrap();
        assert!(root.open(Path::new("/proc/self/status")).is_ok());
        assert!(root.open(Path::new("/dev/null")).is_err());
        assert!(root.open(Path::new("/tmp")).is_err());
    }
}
