//! A warm start: by the plan that an earlier start has left, with a changed loader, and without asking anybody.
//!
//! The supervisor has said in the plan that configuration and policy allow this. Whatever does not fit, the start is one
//! like any other.

use core::ffi::CStr;

use linux_raw_sys::general::{
    AT_FDCWD, MAP_PRIVATE, O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, PROT_READ, S_IFMT, S_IFREG,
};
use sonde_interp::handoff::GUARD_VARIABLE;
use sonde_interp::plan::{ELSEWHERE, FOLDER, INLINE, LARGEST, Plan, Stamp, World, file_name, key};
use sonde_interp::stack::InitialStack;

use crate::inline::{self, Change};
use crate::map::Loader;
use crate::supervisor;
use crate::sys::{self, Descriptor};

/// The longest path, with its NUL (`PATH_MAX`, limits.h).
const PATH_MAX: usize = 4096;

/// What the system calls say.
struct Here;

impl World for Here {
    fn stamp_at(&self, path: &CStr) -> Stamp {
        sys::stamp_at(path)
    }

    fn now(&self) -> u64 {
        sys::now()
    }
}

/// Starts the program by its plan, if it has one that holds; `file` is the program if the kernel did not map it.
pub(crate) fn start(stack: &InitialStack, file: Option<&Descriptor>, supervisor: &CStr) -> Option<Loader> {
    let mut buffer = [0; PATH_MAX];
    let mut link = Text::new();
    match file {
        Some(file) => link.add(b"/proc/self/fd/")?.add_number(file.number())?,
        None => link.add(b"/proc/self/exe")?,
    };
    let program = sys::read_link(link.text()?, &mut buffer).ok()?;
    let mapped = map(stack, program)?;
    let started = Plan::read(mapped.bytes()).and_then(|plan| {
        let fits = plan.flags() & (INLINE | ELSEWHERE) == INLINE;
        let holds = fits && plan.holds(program, sys::stamp_at(link.text()?), &Here);
        // Whose tree it belongs to, and what is a supervisor itself, is not its own master.
        if !holds || stack.variable(GUARD_VARIABLE).is_some() || !supervisor::is_alone() {
            return None;
        }
        let loader = sys::open(plan.loader()).ok()?;
        let cache = [plan.loader_cache(), plan.served_cache()].map(CStr::to_bytes);
        let wanted = Change { sites: plan.sites(), cache, door: supervisor::users_door(stack) };
        inline::load(&loader, &wanted, stack, supervisor).ok()
    });
    mapped.unmap();
    started
}

/// A plan file in memory.
struct Mapped {
    address: u64,
    length: u64,
}

/// Maps the plan of a program, if this user alone can have written it: a plan names the loader.
fn map(stack: &InitialStack, program: &[u8]) -> Option<Mapped> {
    let mut path = Text::new();
    match stack.variable("XDG_CACHE_HOME") {
        Some(folder) if folder.to_bytes().starts_with(b"/") => path.add(folder.to_bytes())?,
        _ => path.add(stack.variable("HOME")?.to_bytes())?.add(b"/.cache")?,
    };
    let key = key(program, |name| stack.variable(name).map(CStr::to_bytes));
    path.add(b"/")?.add(FOLDER.as_bytes())?.add(b"/")?.add(&file_name(key))?;
    // A FIFO must not keep us waiting.
    let flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    let file = sys::open_at(AT_FDCWD, path.text()?, flags).ok()?;
    let status = sys::status_of(&file).ok()?;
    let is_ours = status.owner == sys::user() && status.mode & 0o022 == 0 && status.mode & S_IFMT == S_IFREG;
    if !is_ours || status.length == 0 || status.length > LARGEST {
        return None;
    }
    // SAFETY: a mapping anywhere replaces nothing.
    let address = unsafe { sys::map(0, status.length, PROT_READ, MAP_PRIVATE, Some((&file, 0))) }.ok()?;
    Some(Mapped { address, length: status.length })
}

impl Mapped {
    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, and replaced by rename if it changes; whoever truncates it, who is the same user, harms this one
        // start.
        unsafe { core::slice::from_raw_parts(self.address as *const u8, self.length as usize) }
    }

    fn unmap(self) {
        // SAFETY: nobody has kept anything of it.
        unsafe { sys::unmap(self.address, self.length) };
    }
}

/// A path that is being put together.
struct Text {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; PATH_MAX], length: 0 }
    }

    /// Appends; `None` if it would be too long.
    fn add(&mut self, more: &[u8]) -> Option<&mut Self> {
        let end = self.length.checked_add(more.len()).filter(|end| *end < PATH_MAX)?;
        self.bytes.get_mut(self.length..end)?.copy_from_slice(more);
        self.length = end;
        Some(self)
    }

    fn add_number(&mut self, number: i32) -> Option<&mut Self> {
        let mut rest = number.unsigned_abs();
        let mut digits = [0; 10];
        let mut first = digits.len();
        loop {
            first -= 1;
            *digits.get_mut(first)? = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return self.add(digits.get(first..)?);
            }
        }
    }

    fn text(&self) -> Option<&CStr> {
        CStr::from_bytes_until_nul(&self.bytes).ok()
    }
}
