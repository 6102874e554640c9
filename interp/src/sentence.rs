//! What the shim says to people, each sentence once: what it is about, the cause, and a way out. What the supervisor has
//! to say reaches the shim as a whole ([`crate::handoff::Refusal`]).

/// Of so many pieces a sentence is put together at most.
pub const PIECES: usize = 13;

/// One line on standard error.
#[derive(Debug, Clone, Copy)]
pub enum Sentence<'a> {
    /// It was run as a command, without one to run.
    NoProgram,
    /// An option that there is not, or one without its value.
    BadOption(&'a [u8]),
    /// The program cannot be started by anybody.
    CannotRun {
        /// Its path.
        program: &'a [u8],
        /// What the kernel or its file says.
        reason: &'a [u8],
    },
    /// It starts without what Sonde would have provided.
    NoSupervisor {
        /// Where one was looked for.
        supervisor: &'a [u8],
        /// Why there is none.
        reason: &'a [u8],
        /// The program's path.
        program: &'a [u8],
        /// What it runs under.
        loader: &'a [u8],
    },
    /// It cannot start, because there is no loader either.
    NoLoader {
        /// The program's path.
        program: &'a [u8],
        /// The loader that is named to us.
        loader: &'a [u8],
        /// What is the matter with that.
        reason: &'a [u8],
        /// Where a supervisor was looked for, and why there is none; nothing, if there was one.
        supervisor: Option<(&'a [u8], &'a [u8])>,
    },
    /// The kernel allows neither a filter nor a tracer.
    NotSupervised {
        /// What the kernel says.
        reason: &'a [u8],
    },
    /// A mistake of ours.
    Impossible,
}

impl<'a> Sentence<'a> {
    /// The sentence, in pieces of which some are empty.
    pub fn pieces(&self) -> [&'a [u8]; PIECES] {
        let mut all: [&[u8]; PIECES] = [b""; PIECES];
        let mut put = |pieces: &[&'a [u8]]| {
            for (place, piece) in all.iter_mut().zip(pieces) {
                *place = piece;
            }
        };
        match *self {
            Self::NoProgram => put(&[b"no program to run; try sonde-interp --help"]),
            Self::BadOption(option) => {
                put(&[option, b": no such option, or its value is missing; try sonde-interp --help"]);
            }
            Self::CannotRun { program, reason } => put(&[
                b"cannot run ",
                program,
                b": ",
                reason,
                b"; `sonde doctor ",
                program,
                b"` says more about it",
            ]),
            Self::NoSupervisor { supervisor, reason, program, loader } => put(&[
                b"no supervisor at ",
                supervisor,
                b" (",
                reason,
                b"); ",
                program,
                b" runs under ",
                loader,
                b", without the libraries that Sonde would provide; `sonde doctor` says what is the matter",
            ]),
            Self::NoLoader { program, loader, reason, supervisor } => {
                let (at, why) = supervisor.unwrap_or_default();
                let [no, open, and]: [&[u8]; 3] =
                    if supervisor.is_some() { [b"no supervisor at ", b" (", b") and "] } else { [b""; 3] };
                put(&[
                    b"cannot run ",
                    program,
                    b": ",
                    no,
                    at,
                    open,
                    why,
                    and,
                    b"no loader at ",
                    loader,
                    b" (",
                    reason,
                    b"); set NIX_LD to an ld-linux-x86-64.so.2, or install sonde",
                ]);
            }
            Self::NotSupervised { reason } => put(&[
                b"the kernel refused supervision (",
                reason,
                b"): libraries that are missing are not provided; `sonde doctor` says what this kernel has",
            ]),
            Self::Impossible => put(&[
                b"the interpreter met a condition that it holds impossible, and ends the program; please report this",
            ]),
        }
        all
    }
}
