//! One start of one program, from the kernel's jump to the loader's first instruction.
//!
//! Whatever fails on the way, the program is started as it would have been without Sonde if that can be done
//! at all; and if it cannot, one plain line says why.

use core::ffi::CStr;

use linux_raw_sys::auxvec::{AT_BASE, AT_EXECFN, AT_SECURE};
use linux_raw_sys::errno::{EACCES, ECONNRESET, ENOENT, ENOEXEC, ENOTCONN, EPIPE, EPROTO};
use sonde_interp::command::{Command, HELP, Supervisor, VERSION};
use sonde_interp::contents::Contents;
use sonde_interp::handoff::{Answer, Engine, Welcome, Wish};
use sonde_interp::sentence::Sentence;
use sonde_interp::stack::InitialStack;

use crate::executable;
use crate::inline;
use crate::map::{self, Head, Loader, Place};
use crate::say::{complain, describe};
use crate::supervisor::{self, Mailbox, Wanted, nul_terminated};
use crate::sys::{self, Address, Descriptor, Errno, NullTerminated, Received};
use crate::warm;

/// As a shell reports a command that was not found, and one that could not be run (POSIX, 2.8.2).
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// So many supervisors may die, one after the other, before the program runs without.
const ATTEMPTS: usize = 4;

const COMPILED_IN_LOADER: &CStr = nul_terminated(concat!(env!("SONDE_DEFAULT_LOADER"), "\0"));

/// Starts the program; `top` is the stack pointer at entry.
pub(crate) fn launch(mut stack: InitialStack) -> ! {
    // As an interpreter the kernel gives us our own base; as a command there is no interpreter, and 0.
    let loader = if stack.auxiliary(AT_BASE).unwrap_or(0) == 0 {
        run_as_command(&mut stack)
    } else {
        interpret(&stack)
    };
    stack.set_auxiliary(AT_BASE, loader.bias as usize);
    // SAFETY: the stack is as the kernel left it, but for arguments dropped with the ABI in mind; the loader was
    // mapped from a checked image and starts at its entry point.
    unsafe { crate::arch::enter(stack.top(), loader.entry as usize) }
}

/// The kernel mapped the program and gave control to us.
fn interpret(stack: &InitialStack) -> Loader {
    let path = stack.auxiliary(AT_EXECFN).map_or(c"?", |address| {
        // SAFETY: the kernel points AT_EXECFN at a string that stays (getauxval(3)).
        unsafe { CStr::from_ptr(address as *const core::ffi::c_char) }
    });
    supervised(
        stack,
        path,
        None,
        Wanted { asked: Supervisor::Default, shared: true, offline: false },
        Wish::Unsaid,
    )
}

/// `sonde-interp PROGRAM ARGS…`
fn run_as_command(stack: &mut InitialStack) -> Loader {
    let command = Command::parse(|index| stack.argument(index));
    let (path, skip, wanted, wish) = match command {
        Command::Run { program, skip, supervisor: asked, wish, offline } => {
            (program, skip, Wanted { asked, shared: true, offline }, wish)
        }
        Command::Version => {
            sys::write(1, VERSION.as_bytes());
            sys::exit(0)
        }
        Command::Help => {
            sys::write(1, HELP.as_bytes());
            sys::exit(0)
        }
        Command::NoProgram => {
            complain(&Sentence::NoProgram.pieces());
            sys::exit(NOT_FOUND)
        }
        Command::BadOption(option) => {
            complain(&Sentence::BadOption(option.to_bytes()).pieces());
            sys::exit(NOT_FOUND)
        }
    };
    let give_up = |reason: &[u8], status: i32| -> ! {
        complain(&Sentence::CannotRun { program: path.to_bytes(), reason }.pieces());
        sys::exit(status)
    };
    let status_of = |errno| if errno == ENOENT { NOT_FOUND } else { NOT_RUNNABLE };
    let file = sys::open(path).unwrap_or_else(|errno| give_up(describe(errno), status_of(errno)));
    if sys::executable(path).is_err() {
        give_up(describe(EACCES), NOT_RUNNABLE);
    }
    let head = Head::read(&file).unwrap_or_else(|error| give_up(error.message(), NOT_RUNNABLE));
    let image = match head.image() {
        Ok(image) => image,
        Err(error) => give_up(error.message(), NOT_RUNNABLE),
    };
    stack.drop_arguments(skip);
    if image.interpreter.is_none() {
        // A static program needs nothing of us.
        let errno = execute_untouched(stack, path);
        give_up(describe(errno), status_of(errno));
    }

    let bias = match executable::map_program(&file, &image) {
        Ok(bias) => bias,
        Err(error) => give_up(error.message(), NOT_RUNNABLE),
    };
    executable::describe_program(stack, &image, bias, path);
    // Where this is not allowed the program still runs; docs/kernel-support.md says what it may notice. It comes before
    // the hello, so that the supervisor too finds the program behind /proc/PID/exe.
    let _ = executable::take_name(path)
        .and_then(|()| executable::announce_program(stack, &image, bias, Some(&file)));
    let loader = supervised(stack, path, Some(&file), wanted, wish);
    // Once more, with the loader in /proc/self/auxv, where debuggers look for it.
    stack.set_auxiliary(AT_BASE, loader.bias as usize);
    let _ = executable::announce_program(stack, &image, bias, None);
    loader
}

fn execute_untouched(stack: &InitialStack, path: &CStr) -> Errno {
    let null = |strings: &[*const core::ffi::c_char]| {
        // SAFETY: the kernel ends both vectors with a null pointer, one behind the last string.
        unsafe { NullTerminated::new(core::slice::from_raw_parts(strings.as_ptr(), strings.len() + 1)) }
    };
    sys::execute(path, &null(stack.arguments()), &null(stack.environment()))
}

/// Makes the program part of a tree and maps the loader that its supervisor chose; or falls back.
fn supervised(
    stack: &InitialStack,
    path: &CStr,
    file: Option<&Descriptor>,
    mut wanted: Wanted<'_>,
    wish: Wish,
) -> Loader {
    if stack.auxiliary(AT_SECURE) != Some(0) {
        // Privileges that its user does not have: nothing of the user's may be believed, nor anything started for it
        // (docs/decisions/0005-raised-privileges.md).
        return fallback(stack, path, None);
    }
    let supervisor = supervisor::path(stack, wanted.asked);
    if wish == Wish::Unsaid
        && wanted.may_ask_nobody()
        && let Some(loader) = warm::start(stack, file, supervisor)
    {
        return loader;
    }
    let trouble = |errno| fallback(stack, path, Some((supervisor, errno)));
    let mut gone = EPROTO;
    for _ in 0..ATTEMPTS {
        let connection = match supervisor::connect(stack, wanted) {
            Ok(connection) => connection,
            Err(errno) => return trouble(errno),
        };
        let (socket, mut mailbox) = (&connection.socket, Mailbox::new());
        match supervisor::ask(socket, path, file, wish, supervisor, &mut mailbox) {
            Ok((Answer::Welcome(welcome), Received { first: Some(loader), second: keeper })) => {
                let welcomed = match welcome.engine {
                    Engine::Inline => join_inline(stack, supervisor, socket, &welcome, &loader),
                    _ => join(socket, &welcome, &loader, keeper.as_ref()),
                };
                return welcomed.unwrap_or_else(trouble);
            }
            Ok((Answer::Refusal(refusal), _)) => {
                if !refusal.message.is_empty() {
                    complain(&[refusal.message]);
                }
                if refusal.exit_code != 0 {
                    sys::exit(i32::from(refusal.exit_code));
                }
                return fallback(stack, path, None);
            }
            Ok((Answer::Private, _)) => wanted.shared = false,
            // It has just ended, or died over somebody else's program: there will be another.
            Err(errno @ (ECONNRESET | ENOTCONN | EPIPE))
                if !matches!(wanted.asked, Supervisor::Socket(_)) =>
            {
                gone = errno;
            }
            _ if connection.shared => wanted.shared = false, // one of another version
            Ok(_) => return trouble(EPROTO),
            Err(errno) => return trouble(errno),
        }
    }
    trouble(gone)
}

/// Engine inline: maps the loader, changed; or, if it cannot be changed here, does as the supervisor says then.
fn join_inline(
    stack: &InitialStack,
    supervisor: &CStr,
    socket: &Descriptor,
    welcome: &Welcome<'_>,
    loader: &Descriptor,
) -> Result<Loader, Errno> {
    let loaded = Address::of(welcome.door.iter().copied()).and_then(|door| {
        let contents = Contents::default();
        let wanted =
            inline::Change { sites: welcome.sites, cache: welcome.cache, contents, door: Some(door) };
        inline::load(loader, &wanted, stack, supervisor)
    });
    let errno = match loaded {
        Ok(loader) => {
            sys::permit_reader(welcome.supervisor_pid);
            let _ = supervisor::report(socket, &Ok(None));
            return Ok(loader);
        }
        Err(errno) => errno,
    };
    supervisor::report(socket, &Err(errno))?;
    let mut mailbox = Mailbox::new();
    match supervisor::answer(socket, &mut mailbox)? {
        (Answer::Welcome(next), Received { first: Some(loader), second: keeper })
            if next.engine != Engine::Inline =>
        {
            join(socket, &next, &loader, keeper.as_ref())
        }
        (Answer::Refusal(refusal), _) => {
            complain(&[refusal.message]);
            load(loader, Place::Anywhere).map_err(|error| match error {
                map::MapError::System(errno) => errno,
                map::MapError::Elf(_) => ENOEXEC,
            })
        }
        _ => Err(EPROTO),
    }
}

/// Maps the loader, and becomes part of the tree by the engine that the supervisor names; or, if it comes to that, by
/// the next one.
fn join(
    socket: &Descriptor,
    welcome: &Welcome<'_>,
    loader: &Descriptor,
    keeper: Option<&Descriptor>,
) -> Result<Loader, Errno> {
    let loader = load(loader, Place::At(welcome.loader_base)).map_err(|error| match error {
        map::MapError::System(errno) => errno,
        map::MapError::Elf(_) => ENOEXEC,
    })?;
    sys::permit_reader(welcome.supervisor_pid);
    // From here on there is nothing to fall back to: if the supervisor has just gone, opens that it would have
    // answered fail, and the loader's own message follows.
    let joined = match welcome.engine {
        _ if welcome.filter.is_empty() => {
            // A member has its tree's filter, or tracer, from its birth.
            let _ = supervisor::report(socket, &Ok(None));
            Ok(())
        }
        Engine::Ptrace => be_traced(socket, welcome),
        Engine::Seccomp => be_notified(socket, welcome, keeper),
        Engine::Inline => Err(EPROTO),
    };
    if let Err(errno) = joined {
        complain(&Sentence::NotSupervised { reason: describe(errno) }.pieces());
    }
    Ok(loader)
}

/// Engine seccomp: installs the filter that knows the loader by its place, and hands the listener over.
fn be_notified(socket: &Descriptor, welcome: &Welcome<'_>, keeper: Option<&Descriptor>) -> Result<(), Errno> {
    let listener = sys::install_filter(welcome.filter, welcome.filter_flags, welcome.no_new_privs).map(Some);
    // The keeper first: if the supervisor dies in this moment, the next one must have the listener.
    if let Some(keeper) = keeper {
        let _ = supervisor::report(keeper, &listener);
    }
    let reported = supervisor::report(socket, &listener);
    let Err(errno) = listener else { return Ok(()) };
    reported?;
    let mut mailbox = Mailbox::new();
    match supervisor::answer(socket, &mut mailbox) {
        Ok((Answer::Welcome(next), _)) if next.engine == Engine::Ptrace => be_traced(socket, &next),
        Ok((Answer::Refusal(refusal), _)) => {
            complain(&[refusal.message]);
            Ok(())
        }
        _ => Err(errno),
    }
}

/// Engine ptrace: lets the supervisor become the tracer, and only then installs the filter that needs one.
fn be_traced(socket: &Descriptor, welcome: &Welcome<'_>) -> Result<(), Errno> {
    supervisor::report(socket, &Ok(None))?;
    let mut mailbox = Mailbox::new();
    match supervisor::answer(socket, &mut mailbox)? {
        (Answer::Proceed, _) => {}
        (Answer::Refusal(refusal), _) => {
            complain(&[refusal.message]);
            return Ok(());
        }
        _ => return Err(EPROTO),
    }
    let filter = sys::install_traced_filter(welcome.filter, welcome.no_new_privs).map(|()| None);
    supervisor::report(socket, &filter)?;
    // It may have to see to it that every call stops, if there is no filter.
    let _ = supervisor::answer(socket, &mut mailbox);
    Ok(())
}

fn load(file: &Descriptor, place: Place) -> Result<Loader, map::MapError> {
    let head = Head::read(file)?;
    let image = head.image()?;
    map::map_loader(file, &image, place)
}

/// Without a supervisor: the loader that `NIX_LD` names, or, if that cannot be had, the compiled-in one, or the end.
fn fallback(stack: &InitialStack, path: &CStr, trouble: Option<(&CStr, Errno)>) -> Loader {
    let trusted = stack.auxiliary(AT_SECURE) == Some(0);
    // The per-system name replaces the generic one, as in nix-ld.
    let named = stack.variable("NIX_LD_x86_64_linux").or_else(|| stack.variable("NIX_LD"));
    let load_at = |path: &CStr| {
        let file = sys::open(path).map_err(describe)?;
        load(&file, Place::Anywhere).map_err(map::MapError::message)
    };
    let wanted = named.filter(|_| trusted).unwrap_or(COMPILED_IN_LOADER);
    let (loader_path, loaded) = match load_at(wanted) {
        Ok(loader) => (wanted, Ok(loader)),
        // What was wanted is what the last words are about.
        Err(reason) => load_at(COMPILED_IN_LOADER)
            .map_or((wanted, Err(reason)), |loader| (COMPILED_IN_LOADER, Ok(loader))),
    };
    let guarded = stack.variable(sonde_interp::handoff::GUARD_VARIABLE).is_some();
    match (loaded, trouble) {
        (Ok(loader), Some((supervisor, errno))) if trusted && !guarded => {
            let (supervisor, reason) = (supervisor.to_bytes(), describe(errno));
            let (program, loader_path) = (path.to_bytes(), loader_path.to_bytes());
            complain(&Sentence::NoSupervisor { supervisor, reason, program, loader: loader_path }.pieces());
            loader
        }
        (Ok(loader), _) => loader,
        (Err(reason), trouble) => {
            let supervisor = trouble.map(|(at, errno)| (at.to_bytes(), describe(errno)));
            let (program, loader) = (path.to_bytes(), loader_path.to_bytes());
            complain(&Sentence::NoLoader { program, loader, reason, supervisor }.pieces());
            sys::exit(NOT_FOUND)
        }
    }
}
