//! Finds a supervisor or starts one, and asks it how this program is to be started.

use core::ffi::{CStr, c_char};
use core::slice;

use linux_raw_sys::errno::{EBADF, EPIPE, EPROTO};
use linux_raw_sys::general::{
    MAP_ANONYMOUS, MAP_PRIVATE, O_CLOEXEC, O_RDONLY, O_RDWR, PROT_READ, PROT_WRITE,
};
use sonde_interp::command::Supervisor;
use sonde_interp::handoff::{
    Answer, CALL_DIRFD, CALL_PATH, DOOR, GUARD_VARIABLE, Hello, Listener, MAX_MESSAGE, OFFER_ERRNO,
    SUPERVISE, SUPERVISOR_FD, Wish,
};
use sonde_interp::stack::InitialStack;

use crate::sys::{self, Address, Descriptor, Errno, Fork, NullTerminated, Received};

/// A message and what came with it; the buffer outlives what is read from it.
pub(crate) struct Mailbox {
    buffer: [u8; MAX_MESSAGE],
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self { buffer: [0; MAX_MESSAGE] }
    }
}

/// The path at which a supervisor is looked for unless one is there already.
pub(crate) fn path<'a>(stack: &InitialStack, asked: Supervisor<'a>) -> &'a CStr {
    const COMPILED_IN: &CStr = nul_terminated(concat!(env!("SONDE_DEFAULT_SUPERVISOR"), "\0"));
    match asked {
        Supervisor::Path(path) => path,
        _ => stack.variable("SONDE_SUPERVISOR").unwrap_or(COMPILED_IN),
    }
}

pub(crate) const fn nul_terminated(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a compiled-in path holds a NUL"),
    }
}

/// Which supervisor will do.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// As the command line says.
    pub(crate) asked: Supervisor<'a>,
    /// May it be one that serves others?
    pub(crate) shared: bool,
    /// May it fetch nothing?
    pub(crate) offline: bool,
}

impl Wanted<'_> {
    /// Does the command line leave it open whether there is a supervisor at all?
    pub(crate) fn may_ask_nobody(&self) -> bool {
        !self.offline && !matches!(self.asked, Supervisor::Socket(_))
    }
}

/// A way to a supervisor.
pub(crate) struct Connection {
    pub(crate) socket: Descriptor,
    /// It is the user's, which serves others too: whatever is wrong with it, another one may be started.
    pub(crate) shared: bool,
}

/// Connects to the supervisor: the one that was named by descriptor, the one whose tree this process belongs
/// to already, the user's, if that will do, or else a new one.
pub(crate) fn connect(stack: &InitialStack, wanted: Wanted<'_>) -> Result<Connection, Errno> {
    let Wanted { asked, shared, offline } = wanted;
    let only = |socket| Connection { socket, shared: false };
    if let Supervisor::Socket(number) = asked {
        // A copy with close-on-exec; the inherited one goes when `inherited` does.
        let inherited = Descriptor::inherited(number);
        return sys::duplicate_above(&inherited, 0).map(only);
    }
    match call() {
        Ok(socket) => return Ok(only(socket)),
        Err(OFFER_ERRNO) => return offer().map(only),
        // EBADF is the kernel's own answer: this process is in no tree. ENOSYS: the tree's supervisor is gone
        // (seccomp_unotify(2)); its filter stays, but a new listener may be had.
        Err(_) => {}
    }
    if stack.variable(GUARD_VARIABLE).is_some() {
        // This *is* a supervisor, or one of its helpers, that needs an interpreter.
        return Err(EBADF);
    }
    let door = users_door(stack).filter(|_| shared && !offline);
    match door.and_then(|door| sys::connect(&door).ok()) {
        Some(socket) => Ok(Connection { socket, shared: true }),
        None => start(stack.environment(), path(stack, asked), offline).map(only),
    }
}

/// Calls the supervisor of the tree that this process belongs to.
fn call() -> Result<Descriptor, Errno> {
    sys::open_at(CALL_DIRFD, CALL_PATH, O_RDONLY | O_CLOEXEC)
}

/// Does this process belong to nobody's tree? `EBADF` is the kernel's own answer.
pub(crate) fn is_alone() -> bool {
    matches!(call(), Err(EBADF))
}

/// The user's door.
pub(crate) fn users_door(stack: &InitialStack) -> Option<Address> {
    stack.variable("XDG_RUNTIME_DIR").and_then(|folder| Address::inside(folder, DOOR).ok())
}

/// Calls the supervisor where it cannot give us a socket, but can take one of ours.
fn offer() -> Result<Descriptor, Errno> {
    let (ours, theirs) = sys::socket_pair()?;
    sys::call_with_offer(CALL_DIRFD, CALL_PATH, O_RDONLY | O_CLOEXEC, &theirs)?;
    Ok(ours)
}

/// Says hello and waits for the answer, which may take as long as a download.
pub(crate) fn ask<'m>(
    socket: &Descriptor,
    program: &CStr,
    file: Option<&Descriptor>,
    wish: Wish,
    supervisor: &CStr,
    mailbox: &'m mut Mailbox,
) -> Result<(Answer<'m>, Received), Errno> {
    // Paths longer than a message can only be a lie: execve(2) takes at most PATH_MAX bytes.
    let (program, supervisor) = (program.to_bytes(), supervisor.to_bytes());
    let hello = Hello { pid: sys::process_id(), direct: file.is_some(), wish, supervisor, program };
    let length = hello.encode(&mut mailbox.buffer).map_err(|_| EPROTO)?;
    match sys::send(socket, &mailbox.buffer[..length], file) {
        // Who was turned away before it has spoken finds the answer there, and nobody who listens.
        Ok(()) | Err(EPIPE) => answer(socket, mailbox),
        Err(errno) => Err(errno),
    }
}

/// Waits for the supervisor's next word.
pub(crate) fn answer<'m>(
    socket: &Descriptor,
    mailbox: &'m mut Mailbox,
) -> Result<(Answer<'m>, Received), Errno> {
    let (message, received) = sys::receive(socket, &mut mailbox.buffer)?;
    let answer = Answer::decode(message).map_err(|_| EPROTO)?;
    Ok((answer, received))
}

/// Tells the supervisor what became of the filter; hands the listener over.
pub(crate) fn report(socket: &Descriptor, result: &Result<Option<Descriptor>, Errno>) -> Result<(), Errno> {
    let mut buffer = [0; 64];
    let (errno, listener) = match result {
        Ok(listener) => (0, listener.as_ref()),
        Err(errno) => (*errno, None),
    };
    let length = Listener { errno }.encode(&mut buffer).map_err(|_| EPROTO)?;
    sys::send(socket, &buffer[..length], listener)
}

/// Starts a supervisor by double fork: the program must never meet a child that it did not make. `environment` is the
/// program's.
pub(crate) fn start(environment: &[*const c_char], path: &CStr, offline: bool) -> Result<Descriptor, Errno> {
    sys::executable(path)?;
    let (ours, theirs) = sys::socket_pair()?;
    sys::without_adopting(|| match sys::fork_and_sleep()? {
        Fork::Parent(child) => sys::wait(child).map(drop),
        Fork::Child => {
            if let Ok(Fork::Child) = sys::fork() {
                become_supervisor(environment, path, &theirs, offline);
            }
            sys::exit(0)
        }
    })?;
    Ok(ours)
}

/// In the grandchild: keeps nothing of the program's but its environment, and executes the supervisor.
/// The end of the socket tells the parent when that fails.
fn become_supervisor(environment: &[*const c_char], path: &CStr, socket: &Descriptor, offline: bool) {
    const GUARD: &CStr = c"SONDE_STARTING_SUPERVISOR=1";
    const _: () = assert!(GUARD.count_bytes() == GUARD_VARIABLE.len() + 2);
    sys::leave_session();
    // Out of the way of the numbers below, which may be open or not.
    let Ok(socket) = sys::duplicate_above(socket, SUPERVISOR_FD + 1) else { return };
    if sys::duplicate_to(socket.number(), SUPERVISOR_FD).is_err() {
        return;
    }
    if let Ok(null) = sys::open_at(0, c"/dev/null", O_RDWR | O_CLOEXEC) {
        for standard in 0..SUPERVISOR_FD {
            let _ = sys::duplicate_to(null.number(), standard);
        }
        core::mem::forget(null); // it may have got a number that is standard now
    }
    sys::close_from(SUPERVISOR_FD + 1);

    let arguments = [c"sonde".as_ptr(), SUPERVISE.as_ptr(), core::ptr::null()];
    let offline = offline.then_some(c"SONDE_OFFLINE=1");
    let Ok(environment) = supervisor_environment(environment, GUARD, offline) else { return };
    // SAFETY: both vectors were just built with a null at their end.
    unsafe {
        sys::execute(path, &NullTerminated::new(&arguments), &NullTerminated::new(environment));
    }
}

/// The program's environment without what is meant for its loader (`LD_*`), and with the guard. Of two settings of a
/// variable the first counts (getenv(3)).
fn supervisor_environment(
    environment: &[*const c_char],
    guard: &'static CStr,
    offline: Option<&'static CStr>,
) -> Result<&'static [*const c_char], Errno> {
    let room = environment.len() + 3;
    let bytes = (room * size_of::<*const c_char>()) as u64;
    let (protection, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping anywhere replaces nothing; zeroed memory is an array of null pointers.
    let vector: &'static mut [*const c_char] = unsafe {
        let address = sys::map(0, bytes, protection, flags, None)?;
        slice::from_raw_parts_mut(address as *mut *const c_char, room)
    };
    // SAFETY: an environment is of C strings, which stay (`InitialStack::new`, or the copy that engine inline keeps).
    let variables = environment.iter().map(|entry| unsafe { CStr::from_ptr::<'static>(*entry) });
    let kept = variables.filter(|entry| !entry.to_bytes().starts_with(b"LD_"));
    let mut length = 0;
    for entry in offline.into_iter().chain(kept).chain([guard]) {
        vector[length] = entry.as_ptr();
        length += 1;
    }
    Ok(&vector[..=length])
}
