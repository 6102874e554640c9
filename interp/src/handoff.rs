//! The whole contract between the shim and the supervisor: messages, constants, and nothing else.
//!
//! They talk over one `SOCK_SEQPACKET` socket, one message a datagram, little-endian:
//!
//! ```text
//! shim ── Hello [program]? ──────────► supervisor      who I am
//! shim ◄─ Welcome [loader] [keeper]? ─ supervisor       what to load, where, and the filter to install
//!      ◄─ Refusal                                      … or why not
//!      ◄─ Private                                      … or that another one is to be started
//! shim ── Listener [listener]? ──────► supervisor      the filter stands
//! ```
//!
//! With that, or if a member has no filter to install, all is said. Else the supervisor has another word:
//!
//! ```text
//! shim ── Listener: errno ───────────► supervisor      the filter was refused
//! shim ◄─ Welcome ─────────────────── supervisor       then by another engine
//!      ◄─ Refusal                                      … or not at all
//!
//! shim ── Listener ──────────────────► supervisor      engine ptrace: you may trace me now
//! shim ◄─ Proceed ─────────────────── supervisor       I do
//! shim ── Listener: errno? ──────────► supervisor      the filter stands (or was refused)
//! shim ◄─ Proceed ─────────────────── supervisor       then go
//! ```
//!
//! Under the engine inline the shim's code stays in the process, and asks at the door that the Welcome names, over a
//! connection for each question:
//!
//! ```text
//! shim ── Miss ──────────────────────► supervisor      this path could not be opened
//! shim ◄─ File [file] ─────────────── supervisor       this is what the open returns
//!      ◄─ Proceed                                      … or it may be opened again
//!      ◄─ Absent                                       … or it is not there
//!      ◄─ Private                                      … or another one is to be started and asked
//! ```
//!
//! `sonde trace --pid` comes to the door as well:
//!
//! ```text
//! sonde ── Watch ────────────────────► supervisor      what does the tree of this process load?
//! sonde ◄─ Proceed ─────────────────── supervisor      you will see; what follows is no message of this kind
//!       ◄─ Absent                                      … or it is in no tree of mine
//!       ◄─ Refusal                                     … or why not
//! ```
//!
//! Brackets mark descriptors that travel beside a message (`SCM_RIGHTS`, unix(7)).
//! Both sides treat what they receive as hostile: every read is checked, unknown versions are refused.

use core::fmt;

mod engine;
mod watch;
mod wire;

pub use engine::{Engine, Wish};
pub use watch::{FORM, Watch};
use wire::{Reader, Writer};

use crate::site::Sites;

/// Raised whenever a message changes its layout; the other side refuses what it does not know.
pub const PROTOCOL: u32 = 3;

/// The `dirfd` of a *call to the supervisor*: `openat(CALL_DIRFD, CALL_PATH)` from a supervised process is
/// trapped and answered with a socket. Unsupervised, the kernel answers `EBADF`, since a negative number
/// other than `AT_FDCWD` is never a descriptor (openat(2)).
pub const CALL_DIRFD: i32 = -0x534f_4e44;

/// The path of a call to the supervisor; relative, because the kernel ignores `dirfd` for absolute ones.
pub const CALL_PATH: &core::ffi::CStr = c"sonde:call";

/// The errno of a call to the supervisor that cannot be answered with a socket: the engine cannot put descriptors into
/// another process. The shim calls once more and offers one of its own in the fourth argument, `mode`: its number plus
/// one. The supervisor takes a copy, and returns 0. (`EREMOTE`, which openat(2) never returns by itself.)
pub const OFFER_ERRNO: u32 = 66;

/// The descriptor at which a supervisor started by the shim finds its socket.
pub const SUPERVISOR_FD: i32 = 3;

/// The hidden subcommand with which the shim starts a supervisor.
pub const SUPERVISE: &core::ffi::CStr = c"supervise";

/// In a supervisor's environment only: a shim that meets it is interpreting the supervisor itself, and must
/// not start another one. The supervisor removes it before it starts anything.
pub const GUARD_VARIABLE: &str = "SONDE_STARTING_SUPERVISOR";

/// The longest message in bytes; a path of `PATH_MAX` and a filter of a few hundred rows fit.
pub const MAX_MESSAGE: usize = 8192;

/// The longest filter that a [`Welcome`] carries, in `struct sock_filter` rows of 8 bytes each.
pub const MAX_FILTER_ROWS: usize = 256;

const HELLO: u32 = u32::from_le_bytes(*b"SNDH");
const WELCOME: u32 = u32::from_le_bytes(*b"SNDW");
const REFUSAL: u32 = u32::from_le_bytes(*b"SNDR");
const LISTENER: u32 = u32::from_le_bytes(*b"SNDL");
const PROCEED: u32 = u32::from_le_bytes(*b"SNDP");
const PRIVATE: u32 = u32::from_le_bytes(*b"SNDX");
const MISS: u32 = u32::from_le_bytes(*b"SNDM");
const FILE: u32 = u32::from_le_bytes(*b"SNDF");
const ABSENT: u32 = u32::from_le_bytes(*b"SNDA");
const WATCH: u32 = u32::from_le_bytes(*b"SNDT");
const KINDS: [u32; 10] = [HELLO, WELCOME, REFUSAL, LISTENER, PROCEED, PRIVATE, MISS, FILE, ABSENT, WATCH];

/// How long a [`Miss`] is without its path, in bytes.
pub const MISS_HEAD: usize = 24;

/// The longest answer to a [`Miss`], in bytes.
pub const MAX_VERDICT: usize = 8;

/// Where a user's supervisor can be reached, below `$XDG_RUNTIME_DIR`.
pub const DOOR: &str = "sonde/socket";

/// The first message: a program is about to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The program's process id, in its own pid namespace; a hint for reports, never trusted.
    pub pid: u32,
    /// The shim maps the program itself (it was run as a command); the program's descriptor is attached.
    pub direct: bool,
    /// The engine that the command line asks for; a member gets its tree's.
    pub wish: Wish,
    /// The supervisor that the shim would start: one that is running already serves nobody who means another.
    pub supervisor: &'a [u8],
    /// The path by which the program was executed, as the kernel or the command line gave it.
    pub program: &'a [u8],
}

/// The answer that makes a process part of a tree. The loader's descriptor is attached, and behind it, if the tree is to
/// survive its supervisor, a socket on which the listener is wanted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The address at which the loader must be mapped: the filter recognises it by this. Of no meaning to the engine
    /// inline.
    pub loader_base: u64,
    /// What makes traps in the tree; of no meaning to a member.
    pub engine: Engine,
    /// May `no_new_privs` be set, if the kernel wants that for the filter?
    pub no_new_privs: bool,
    /// Flags for `seccomp(SECCOMP_SET_MODE_FILTER)`, as probed by the supervisor.
    pub filter_flags: u32,
    /// The supervisor's process id, for `PR_SET_PTRACER` (Yama's `ptrace_scope=1`, prctl(2)).
    pub supervisor_pid: u32,
    /// `struct sock_filter` rows in memory order; empty for a member, which inherits the filter or the tracer.
    pub filter: &'a [u8],
    /// Engine inline: where the loader is changed.
    pub sites: Sites,
    /// Engine inline: the path at which the loader looks for its cache, and the file that is to be opened in its place.
    /// Empty where there is none to be had without asking.
    pub cache: [&'a [u8]; 2],
    /// Engine inline: where misses are told, a path or the name of an abstract socket with its leading NUL (unix(7)).
    pub door: &'a [u8],
}

/// The answer to a program that must not, or cannot, be started under supervision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The exit status to end with, or 0: go on with the fallback loader.
    pub exit_code: u8,
    /// One line for people without a newline; empty: say nothing.
    pub message: &'a [u8],
}

/// What the shim has done with a [`Welcome`]; on success the listener is attached unless it was inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// 0, or the errno with which the kernel refused the filter.
    pub errno: u32,
}

/// A loader could not open a path that could be a library's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss<'a> {
    /// Where the loader has made the call.
    pub instruction: u64,
    /// Does the path lie on the stack? The loader puts the paths of a search together there.
    pub on_stack: bool,
    /// What it wanted to open.
    pub path: &'a [u8],
}

/// What the shim may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Join the tree.
    Welcome(Welcome<'a>),
    /// Do not.
    Refusal(Refusal<'a>),
    /// Engine ptrace: the supervisor has done its part. To a miss: the call may be made again.
    Proceed,
    /// To a miss: the descriptor that is attached is what the call returns.
    File,
    /// To a miss: there is no such file.
    Absent,
    /// The supervisor serves others, whose environment says something else; start one for this program.
    Private,
}

/// Why a message was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageError {
    /// Fewer bytes than the message announces, or more.
    Length,
    /// Not a message of ours, or not the one expected now.
    Kind,
    /// The other side was built from another version of Sonde; its protocol number.
    Protocol(u32),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the message has the wrong length"),
            Self::Kind => f.write_str("the message is of another kind"),
            Self::Protocol(other) => write!(
                f,
                "the other side speaks protocol {other}, this one {PROTOCOL}: shim and supervisor are of different versions"
            ),
        }
    }
}

impl core::error::Error for MessageError {}

impl<'a> Hello<'a> {
    /// Writes the message into `buffer` and returns its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError> {
        let mut writer = Writer::start(buffer, HELLO)?;
        writer.u32(self.pid)?;
        writer.u32(u32::from(self.direct))?;
        writer.u32(self.wish.to_number())?;
        writer.bytes(self.supervisor)?;
        writer.bytes(self.program)?;
        Ok(writer.length)
    }

    /// Reads a message; the paths borrow from `message`.
    pub fn decode(message: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, mut reader) = Reader::start(message)?;
        if kind != HELLO {
            return Err(MessageError::Kind);
        }
        let hello = Self {
            pid: reader.u32()?,
            direct: reader.u32()? != 0,
            wish: Wish::from_number(reader.u32()?)?,
            supervisor: reader.bytes()?,
            program: reader.bytes()?,
        };
        reader.end()?;
        Ok(hello)
    }
}

impl<'a> Answer<'a> {
    /// Writes the message into `buffer` and returns its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError> {
        match self {
            Self::Welcome(welcome) => {
                let mut writer = Writer::start(buffer, WELCOME)?;
                writer.u64(welcome.loader_base)?;
                writer.u32(welcome.engine.to_number())?;
                writer.u32(u32::from(welcome.no_new_privs))?;
                writer.u32(welcome.filter_flags)?;
                writer.u32(welcome.supervisor_pid)?;
                writer.bytes(welcome.filter)?;
                writer.u32(welcome.sites.open)?;
                writer.u32(welcome.sites.look)?;
                writer.bytes(welcome.cache[0])?;
                writer.bytes(welcome.cache[1])?;
                writer.bytes(welcome.door)?;
                Ok(writer.length)
            }
            Self::Refusal(refusal) => {
                let mut writer = Writer::start(buffer, REFUSAL)?;
                writer.u32(u32::from(refusal.exit_code))?;
                writer.bytes(refusal.message)?;
                Ok(writer.length)
            }
            Self::Proceed => Ok(Writer::start(buffer, PROCEED)?.length),
            Self::Private => Ok(Writer::start(buffer, PRIVATE)?.length),
            Self::File => Ok(Writer::start(buffer, FILE)?.length),
            Self::Absent => Ok(Writer::start(buffer, ABSENT)?.length),
        }
    }

    /// Reads a message; slices borrow from `message`.
    pub fn decode(message: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, mut reader) = Reader::start(message)?;
        let answer = match kind {
            WELCOME => Self::Welcome(Welcome {
                loader_base: reader.u64()?,
                engine: Engine::from_number(reader.u32()?)?,
                no_new_privs: reader.u32()? != 0,
                filter_flags: reader.u32()?,
                supervisor_pid: reader.u32()?,
                filter: reader.bytes()?,
                sites: Sites { open: reader.u32()?, look: reader.u32()? },
                cache: [reader.bytes()?, reader.bytes()?],
                door: reader.bytes()?,
            }),
            REFUSAL => Self::Refusal(Refusal {
                exit_code: u8::try_from(reader.u32()?).map_err(|_| MessageError::Kind)?,
                message: reader.bytes()?,
            }),
            PROCEED => Self::Proceed,
            PRIVATE => Self::Private,
            FILE => Self::File,
            ABSENT => Self::Absent,
            _ => return Err(MessageError::Kind),
        };
        reader.end()?;
        Ok(answer)
    }
}

impl<'a> Miss<'a> {
    /// The message up to its path, which follows it.
    pub fn head(&self) -> Result<[u8; MISS_HEAD], MessageError> {
        let mut buffer = [0; MISS_HEAD];
        let mut writer = Writer::start(&mut buffer, MISS)?;
        writer.u64(self.instruction)?;
        writer.u32(u32::from(self.on_stack))?;
        writer.u32(u32::try_from(self.path.len()).map_err(|_| MessageError::Length)?)?;
        Ok(buffer)
    }

    /// Reads a message; the path borrows from it.
    pub fn decode(message: &'a [u8]) -> Result<Self, MessageError> {
        let (kind, mut reader) = Reader::start(message)?;
        if kind != MISS {
            return Err(MessageError::Kind);
        }
        let miss = Self { instruction: reader.u64()?, on_stack: reader.u32()? != 0, path: reader.bytes()? };
        reader.end()?;
        Ok(miss)
    }
}

impl Listener {
    /// Writes the message into `buffer` and returns its length in bytes.
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, MessageError> {
        let mut writer = Writer::start(buffer, LISTENER)?;
        writer.u32(self.errno)?;
        Ok(writer.length)
    }

    /// Reads a message.
    pub fn decode(message: &[u8]) -> Result<Self, MessageError> {
        let (kind, mut reader) = Reader::start(message)?;
        if kind != LISTENER {
            return Err(MessageError::Kind);
        }
        let listener = Self { errno: reader.u32()? };
        reader.end()?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> Answer<'static> {
        Answer::Welcome(Welcome {
            loader_base: 0x7e12_3456_7000,
            engine: Engine::Ptrace,
            no_new_privs: true,
            filter_flags: 0x28,
            supervisor_pid: 77,
            filter: &[1, 2, 3, 4, 5, 6, 7, 8],
            sites: Sites { open: 0x20b16, look: 0x2638c },
            cache: [b"/etc/ld.so.cache", b"/home/alice/.cache/sonde/served/x.cache"],
            door: b"/run/user/1000/sonde/socket",
        })
    }

    #[test]
    fn every_message_survives_the_wire() {
        let mut buffer = [0; MAX_MESSAGE];
        let wishes = Wish::WORDS.map(|word| Wish::from_word(word.as_bytes()).unwrap());
        for wish in wishes.into_iter().chain([Wish::Unsaid]) {
            let (supervisor, program) = (b"/bin/sonde", b"/opt/app/bin/app");
            let hello = Hello { pid: 4242, direct: true, wish, supervisor, program };
            let length = hello.encode(&mut buffer).unwrap();
            assert_eq!(Hello::decode(&buffer[..length]), Ok(hello));
        }

        let refusal = Answer::Refusal(Refusal { exit_code: 126, message: b"no" });
        for answer in [welcome(), refusal, Answer::Proceed, Answer::Private, Answer::File, Answer::Absent] {
            let length = answer.encode(&mut buffer).unwrap();
            assert_eq!(Answer::decode(&buffer[..length]), Ok(answer));
        }

        let listener = Listener { errno: 16 };
        let length = listener.encode(&mut buffer).unwrap();
        assert_eq!(Listener::decode(&buffer[..length]), Ok(listener));

        let miss = Miss { instruction: 0x7f12_3456_7000, on_stack: true, path: b"/usr/lib/libz.so.1" };
        let message = [&miss.head().unwrap()[..], miss.path].concat();
        assert_eq!(Miss::decode(&message), Ok(miss));
        assert_eq!(Miss::decode(&message[..message.len() - 1]), Err(MessageError::Length));
    }

    #[test]
    fn a_cut_or_padded_message_is_refused_at_every_length() {
        let mut buffer = [0; MAX_MESSAGE];
        let length = welcome().encode(&mut buffer).unwrap();
        for cut in 0..length {
            assert!(Answer::decode(&buffer[..cut]).is_err(), "{cut} of {length} bytes were accepted");
        }
        assert_eq!(Answer::decode(&buffer[..=length]), Err(MessageError::Length));
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut buffer = [0; 64];
        let hello = Hello { pid: 1, direct: false, wish: Wish::Unsaid, supervisor: b"s", program: b"x" };
        let length = hello.encode(&mut buffer).unwrap();
        buffer[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Hello::decode(&buffer[..length]), Err(MessageError::Length));
    }

    #[test]
    fn another_version_is_named() {
        let mut buffer = [0; 64];
        let length = Listener { errno: 0 }.encode(&mut buffer).unwrap();
        buffer[4] = 9;
        assert_eq!(Listener::decode(&buffer[..length]), Err(MessageError::Protocol(9)));
        assert_eq!(Listener::decode(b"GET / HTTP/1.1\r\n"), Err(MessageError::Kind));
    }

    #[test]
    fn a_message_too_long_for_the_buffer_is_refused_by_the_writer() {
        let program = [b'x'; 100];
        let hello = Hello { pid: 1, direct: false, wish: Wish::Unsaid, supervisor: b"s", program: &program };
        assert_eq!(hello.encode(&mut [0; 64]), Err(MessageError::Length));
    }
}
