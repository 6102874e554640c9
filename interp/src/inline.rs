//! Engine inline: the loader itself is changed where it opens files, so that what it cannot open is asked for.
//!
//! Before the loader runs its one instruction for opens becomes a jump into [`crate::arch`]. From then on
//! the shim's code is called in the middle of a program that knows nothing of it: in any thread, between fork and exec,
//! in signal handlers, on small stacks. So [`open`] keeps nothing open, changes nothing that others see, allocates
//! nothing, and is given back to the loader with the kernel's own answer whenever anything is in doubt.

use core::ffi::{CStr, c_char};
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use linux_raw_sys::errno::{EACCES, EINVAL, ENOENT, EPIPE};
use linux_raw_sys::general::{
    AT_FDCWD, MAP_ANONYMOUS, MAP_PRIVATE, O_ACCMODE, O_CLOEXEC, O_RDONLY, PROT_READ, PROT_WRITE,
};
use sonde_interp::contents::{Contents, Presence};
use sonde_interp::elf::PAGE;
use sonde_interp::handoff::{Answer, MAX_VERDICT, Miss};
use sonde_interp::plan::digest;
use sonde_interp::served::Served;
use sonde_interp::site::{self, Replaced, Sites};
use sonde_interp::stack::InitialStack;

use crate::change::change;
use crate::map::{self, Head, Loader, MapError, Place};
use crate::supervisor;
use crate::sys::{self, Address, Descriptor, Errno, Received};

/// How far below ourselves the loader is mapped: out of the way of a heap, which grows upwards, and near enough to jump.
const BELOW: u64 = 4 << 20;

/// A descriptor that is open while a question is asked has at least this number, where nobody expects the next one.
const HIGH: i32 = 512;

/// So many supervisors may die over one question.
const ATTEMPTS: usize = 4;

/// The time stamp of a file in the store when all of it is written, in seconds since 1970.
const WHOLE: u64 = 1;

/// What is to be changed in a loader, and for what.
pub(crate) struct Change<'a> {
    pub(crate) sites: Sites,
    /// Where the loader looks for its cache, and what it is to find there.
    pub(crate) cache: [&'a [u8]; 2],
    /// What is known of folders; copied.
    pub(crate) contents: Contents<'a>,
    /// Where to ask; nowhere means that a supervisor is started for each question.
    pub(crate) door: Option<Address>,
}

/// What is known from the start, because it cannot be found out later: the program may have changed its environment.
struct Known {
    door: Option<Address>,
    supervisor: &'static CStr,
    environment: &'static [*const c_char],
    /// Where the loader looks for its cache, and what it is to find there; both empty if that has to be asked for.
    loader_cache: &'static CStr,
    served_cache: &'static CStr,
    /// See [`filters`].
    filters: Option<u32>,
    /// Where the loader opens files, and how.
    instruction: u64,
    replaced: Replaced,
    contents: Contents<'static>,
    cache: Cache,
}

/// The cache that the loader was given, mapped: what it has is found there, whatever folders are looked in before.
///
/// Page number and number of pages of the mapping in one word, so that threads see both or neither; 0 if there is none.
#[derive(Default)]
struct Cache {
    pages: AtomicU64,
    /// The digest of a name that it has: the loader looks for one in many folders, one after the other.
    last: AtomicU64,
}

/// Page numbers on x86-64 have no more bits than this (47 bits of address space, 12 of them in a page).
const PAGE_NUMBER_BITS: u32 = 35;

static KNOWN: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());

/// Maps a loader and changes it. On any error it is as if nothing had been done.
pub(crate) fn load(
    file: &Descriptor,
    wanted: &Change<'_>,
    stack: &InitialStack,
    supervisor: &CStr,
) -> Result<Loader, Errno> {
    let errno = |error| match error {
        MapError::System(errno) => errno,
        MapError::Elf(_) => EINVAL,
    };
    let head = Head::read(file).map_err(errno)?;
    let image = head.image().map_err(errno)?;
    let place = Place::Near((crate::own_base() as u64).saturating_sub(BELOW));
    let loader = map::map_loader(file, &image, place).map_err(errno)?;
    let kept = change(&image, &loader, wanted.sites).and_then(|place| keep(wanted, place, stack, supervisor));
    match kept {
        Ok(()) => Ok(loader),
        Err(errno) => {
            // SAFETY: it was just mapped there, and nobody has used it.
            unsafe { sys::unmap(image.start.wrapping_add(loader.bias), image.end - image.start) };
            Err(errno)
        }
    }
}

/// Copies what [`open`] will need to pages of our own.
fn keep(
    wanted: &Change<'_>,
    (instruction, replaced): (u64, Replaced),
    stack: &InitialStack,
    supervisor: &CStr,
) -> Result<(), Errno> {
    let Change { cache, contents, door, .. } = *wanted;
    let own = |text: &'static CStr| text.to_bytes();
    let strings = || stack.variables().map(own).chain([supervisor.to_bytes()]).chain(cache);
    let count = stack.environment().len();
    let pointers_size = (count + 1 + cache.len()) * size_of::<*const c_char>();
    let text: usize = strings().map(|string| string.len() + 1).sum();
    let Contents { folders, entries, settled } = contents;
    let tables = folders.len() + entries.len() + settled.len();
    let length = size_of::<Known>() + pointers_size + text + tables;
    let (protection, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    // SAFETY: the mapping is new, zeroed, large enough for all of it, in this order and aligned so, and stays for ever.
    unsafe {
        let known = sys::map(0, length as u64, protection, flags, None)? as *mut Known;
        let pointers = known.add(1).cast::<*const c_char>();
        let mut next = pointers.byte_add(pointers_size).cast::<u8>();
        for (index, string) in strings().enumerate() {
            ptr::copy_nonoverlapping(string.as_ptr(), next, string.len());
            *pointers.add(index) = next.cast();
            next = next.add(string.len() + 1);
        }
        let mut table = |table: &[u8]| {
            ptr::copy_nonoverlapping(table.as_ptr(), next, table.len());
            let copy = slice::from_raw_parts(next.cast_const(), table.len());
            next = next.add(table.len());
            copy
        };
        let contents = Contents { folders: table(folders), entries: table(entries), settled: table(settled) };
        let string = |index: usize| CStr::from_ptr(*pointers.add(index));
        known.write(Known {
            door,
            supervisor: string(count),
            environment: slice::from_raw_parts(pointers, count),
            loader_cache: string(count + 1),
            served_cache: string(count + 2),
            filters: if sys::is_filtered() { filters() } else { Some(0) },
            instruction,
            replaced,
            contents,
            cache: Cache::default(),
        });
        KNOWN.store(known, Ordering::Relaxed);
    }
    Ok(())
}

/// Makes an open of the loader's; returns what it is to get for it, errors as `-errno`.
///
/// # Safety
/// `path` must be a path with its NUL.
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: u32, stack: usize, mode: u32) -> isize {
    const MISSED: [isize; 2] = [-(ENOENT as isize), -(EACCES as isize)];
    // SAFETY: set before the loader ran, and never changed.
    let known = unsafe { KNOWN.load(Ordering::Relaxed).as_ref() };
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(path) };
    // By the loader's own system call: a filter of the program's may kill for another.
    let is_by_path = known.is_some_and(|known| known.replaced == Replaced::Open);
    let as_asked = || match is_by_path {
        true => sys::open_by_path(text, flags, mode),
        false => sys::open_raw(text, flags, mode),
    };
    let Some(known) = known.filter(|_| flags & (O_ACCMODE | O_CLOEXEC) == O_RDONLY | O_CLOEXEC) else {
        return as_asked();
    };
    let presence = known.contents.presence_of(text.to_bytes());
    let result = if presence == Presence::Absent { MISSED[0] } else { as_asked() };
    let on_stack = (stack..stack.saturating_add(site::NEAR_STACK)).contains(&(path as usize));
    let provided = if result >= 0 {
        let file = Descriptor::inherited(result as i32);
        // Nix unpacks a package where it stays, and sets all time stamps to 1 when it is whole.
        let may_be_unfinished = presence == Presence::Unknown && site::is_in_store(text.to_bytes());
        let is_unfinished = || sys::status_of(&file).is_ok_and(|status| status.modified != WHOLE);
        let provided =
            if may_be_unfinished && is_unfinished() { missed(known, text, on_stack) } else { None };
        Some(provided.unwrap_or(file))
    } else if MISSED.contains(&result) && !(on_stack && known.settles(text.to_bytes(), presence)) {
        missed(known, text, on_stack)
    } else {
        None
    };
    provided.map_or(result, |file| file.into_number() as isize)
}

impl Known {
    /// Does a search that finds nothing here go on to what is known already?
    fn settles(&self, path: &[u8], presence: Presence) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let digest = digest(name);
        self.cache.has(name, digest) || presence == Presence::Absent && self.contents.settles(digest)
    }
}

/// Looks at a file for the loader; returns what that returns, errors as `-errno`. Its cache is the one that is served.
///
/// # Safety
/// That of fstatat(2): `path` must be null or a path with its NUL, and the kernel able to write to `status`.
pub(crate) unsafe extern "C" fn look(folder: i32, path: *const c_char, status: usize, flags: u32) -> isize {
    const MISSED: isize = -(ENOENT as isize);
    // SAFETY: set before the loader ran, and never changed.
    let known = unsafe { KNOWN.load(Ordering::Relaxed).as_ref() };
    // SAFETY: the caller's promise.
    let as_asked = || unsafe { sys::look(folder, path, status, flags) };
    let Some(known) = known.filter(|_| !path.is_null()) else { return as_asked() };
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(path) };
    if known.contents.presence_of(text.to_bytes()) == Presence::Absent {
        return MISSED;
    }
    match as_asked() {
        MISSED if text == known.loader_cache && !known.served_cache.is_empty() => {
            // SAFETY: the caller's promise; the other path has its NUL too.
            unsafe { sys::look(AT_FDCWD, known.served_cache.as_ptr(), status, flags) }
        }
        result => result,
    }
}

/// Something is not there, or not whole: what is to be taken for it, if anything is.
fn missed(known: &Known, text: &CStr, on_stack: bool) -> Option<Descriptor> {
    let path = text.to_bytes();
    if path == known.loader_cache.to_bytes()
        && let Ok(file) = sys::open(known.served_cache)
    {
        known.cache.keep(&file);
        return Some(file);
    }
    // A filter that the program has installed allows what the program needs, and may kill it for a socket.
    if !site::is_worth_asking(path) || known.filters.is_none() || filters() != known.filters {
        return None;
    }
    match ask(known, &Miss { instruction: known.instruction, on_stack, path })? {
        Verdict::Opened(file) => {
            if path.ends_with(site::CACHE) {
                known.cache.keep(&file);
            }
            Some(file)
        }
        Verdict::Again => sys::open_at(AT_FDCWD, text, O_RDONLY | O_CLOEXEC).ok(),
    }
}

impl Cache {
    /// Maps the first one that comes, for good.
    fn keep(&self, file: &Descriptor) {
        if self.pages.load(Ordering::Acquire) != 0 {
            return;
        }
        let Ok(sys::Status { length, .. }) = sys::status_of(file) else { return };
        // SAFETY: a mapping anywhere replaces nothing.
        let mapped = unsafe { sys::map(0, length, PROT_READ, MAP_PRIVATE, Some((file, 0))) };
        let Ok(address) = mapped else { return };
        let packed = (address / PAGE) | (length.div_ceil(PAGE) << PAGE_NUMBER_BITS);
        if self.pages.compare_exchange(0, packed, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // Another thread was faster.
            // SAFETY: nobody else has seen it.
            unsafe { sys::unmap(address, length) };
        }
    }

    /// `digest` is the name's.
    fn has(&self, name: &[u8], digest: u64) -> bool {
        let packed = self.pages.load(Ordering::Acquire);
        if packed == 0 {
            return false;
        }
        let address = (packed & ((1 << PAGE_NUMBER_BITS) - 1)) * PAGE;
        let length = (packed >> PAGE_NUMBER_BITS) * PAGE;
        // SAFETY: mapped for good; the supervisor has sealed the file, or replaces it, and never changes it. Behind its end
        // the last page is zero (mmap(2)).
        let bytes = unsafe { slice::from_raw_parts(address as *const u8, length as usize) };
        let has = self.last.load(Ordering::Relaxed) == digest
            || Served::read(bytes).is_some_and(|cache| cache.has(name));
        if has {
            self.last.store(digest, Ordering::Relaxed);
        }
        has
    }
}

/// What a supervisor says of a miss.
enum Verdict {
    Opened(Descriptor),
    Again,
}

/// Asks, at the door or else a supervisor that has to be started.
#[inline(never)]
fn ask(known: &Known, miss: &Miss<'_>) -> Option<Verdict> {
    let head = miss.head().ok()?;
    let mut may_share = true;
    for _ in 0..ATTEMPTS {
        let shared = if may_share { known.door.and_then(|door| sys::connect(&door).ok()) } else { None };
        may_share = shared.is_some();
        let socket = match shared {
            Some(socket) => socket,
            None => supervisor::start(known.environment, known.supervisor, false).ok()?,
        };
        let socket = match sys::duplicate_above(&socket, HIGH) {
            Ok(high) => high,
            Err(_) => socket,
        };
        let mut buffer = [0; MAX_VERDICT];
        // Who turns us away may have done so, and hung up, before it heard what we want.
        let sent = match sys::send_parts(&socket, [&head, miss.path], None) {
            Err(EPIPE) => Ok(()),
            sent => sent,
        };
        let answer = sent
            .and_then(|()| sys::receive(&socket, &mut buffer))
            .map(|(message, received)| (Answer::decode(message), received));
        match answer {
            Ok((Ok(Answer::File), Received { first: Some(file), .. })) => return Some(Verdict::Opened(file)),
            Ok((Ok(Answer::Proceed), _)) => return Some(Verdict::Again),
            Ok((Ok(Answer::Absent), _)) => return None,
            // It is another's, or of another version, or has just ended, or died over somebody else's question.
            Ok((Ok(Answer::Private), _)) => may_share = false,
            Ok(_) if may_share => may_share = false,
            Ok(_) => return None,
            Err(_) => may_share = true,
        }
    }
    None
}

/// How many seccomp filters stand over this thread; `None` where that cannot be seen. It is looked up with calls that a
/// loader makes anyway, so that it is safe to do under a filter that kills for others.
#[inline(never)]
fn filters() -> Option<u32> {
    const LINE: &[u8] = b"\nSeccomp_filters:\t";
    let status = sys::open(c"/proc/thread-self/status").ok()?;
    let (mut matched, mut number) = (0, None);
    let mut buffer = [0; 256];
    let mut offset = 0;
    loop {
        let count = sys::read_at(&status, &mut buffer, offset).ok().filter(|count| *count > 0)?;
        for &byte in buffer.get(..count)? {
            match (matched == LINE.len(), byte) {
                (true, b'0'..=b'9') => number = Some(number.unwrap_or(0) * 10 + u32::from(byte - b'0')),
                (true, _) => return number,
                // The line's first byte is nowhere else in it.
                (false, _) if byte == LINE[matched] => matched += 1,
                (false, _) => matched = usize::from(byte == LINE[0]),
            }
        }
        offset += count as u64;
    }
}
