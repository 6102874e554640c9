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
//! Brackets mark descriptors that travel beside a message (`SCM_RIGHTS`, unix(7)).
//! Both sides treat what they receive as hostile: every read is checked, unknown versions are refused.

use core::fmt;

/// Raised whenever a message changes its layout; the other side refuses what it does not know.
pub const PROTOCOL: u32 = 2;

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

/// Where a user's supervisor can be reached, below `$XDG_RUNTIME_DIR`.
pub const DOOR: &str = "sonde/socket";

/// What makes traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A filter with a listener (seccomp_unotify(2)).
    Seccomp,
    /// The supervisor as a tracer (ptrace(2)).
    Ptrace,
}

/// Which engine somebody asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nobody has said anything.
    #[default]
    Unsaid,
    /// Whichever works.
    Auto,
    /// This one, or none.
    Only(Engine),
}

impl Wish {
    /// What `--engine` takes.
    pub const WORDS: [&'static str; 3] = ["auto", "seccomp", "ptrace"];

    /// Understands a word of the command line or the configuration.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        match word {
            b"auto" => Some(Self::Auto),
            b"seccomp" => Some(Self::Only(Engine::Seccomp)),
            b"ptrace" => Some(Self::Only(Engine::Ptrace)),
            _ => None,
        }
    }

    fn to_number(self) -> u32 {
        match self {
            Self::Unsaid => 0,
            Self::Auto => 1,
            Self::Only(engine) => 2 + engine.to_number(),
        }
    }

    fn from_number(number: u32) -> Result<Self, MessageError> {
        match number {
            0 => Ok(Self::Unsaid),
            1 => Ok(Self::Auto),
            number => Engine::from_number(number - 2).map(Self::Only),
        }
    }
}

impl Engine {
    fn to_number(self) -> u32 {
        match self {
            Self::Seccomp => 0,
            Self::Ptrace => 1,
        }
    }

    fn from_number(number: u32) -> Result<Self, MessageError> {
        match number {
            0 => Ok(Self::Seccomp),
            1 => Ok(Self::Ptrace),
            _ => Err(MessageError::Kind),
        }
    }
}

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
    /// The address at which the loader must be mapped: the filter recognises it by this.
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

/// What the shim may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Join the tree.
    Welcome(Welcome<'a>),
    /// Do not.
    Refusal(Refusal<'a>),
    /// Engine ptrace: the supervisor has done its part.
    Proceed,
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
            }),
            REFUSAL => Self::Refusal(Refusal {
                exit_code: u8::try_from(reader.u32()?).map_err(|_| MessageError::Kind)?,
                message: reader.bytes()?,
            }),
            PROCEED => Self::Proceed,
            PRIVATE => Self::Private,
            _ => return Err(MessageError::Kind),
        };
        reader.end()?;
        Ok(answer)
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

struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    fn start(buffer: &'a mut [u8], kind: u32) -> Result<Self, MessageError> {
        let mut writer = Self { buffer, length: 0 };
        writer.u32(kind)?;
        writer.u32(PROTOCOL)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        let end = self.length.checked_add(bytes.len()).ok_or(MessageError::Length)?;
        self.buffer.get_mut(self.length..end).ok_or(MessageError::Length)?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    fn u32(&mut self, value: u32) -> Result<(), MessageError> {
        self.put(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> Result<(), MessageError> {
        self.put(&value.to_le_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        self.u32(u32::try_from(bytes.len()).map_err(|_| MessageError::Length)?)?;
        self.put(bytes)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn start(message: &'a [u8]) -> Result<(u32, Self), MessageError> {
        let mut reader = Self { rest: message };
        let kind = reader.u32()?;
        match reader.u32()? {
            PROTOCOL => Ok((kind, reader)),
            _ if ![HELLO, WELCOME, REFUSAL, LISTENER, PROCEED, PRIVATE].contains(&kind) => {
                Err(MessageError::Kind)
            }
            other => Err(MessageError::Protocol(other)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(MessageError::Length)?;
        self.rest = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], MessageError> {
        let length = usize::try_from(self.u32()?).map_err(|_| MessageError::Length)?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(MessageError::Length)?;
        self.rest = rest;
        Ok(head)
    }

    fn end(&self) -> Result<(), MessageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(MessageError::Length) }
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
        for answer in [welcome(), refusal, Answer::Proceed, Answer::Private] {
            let length = answer.encode(&mut buffer).unwrap();
            assert_eq!(Answer::decode(&buffer[..length]), Ok(answer));
        }

        let listener = Listener { errno: 16 };
        let length = listener.encode(&mut buffer).unwrap();
        assert_eq!(Listener::decode(&buffer[..length]), Ok(listener));
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
