//! Starting a program that the kernel did not: for when the shim is run as a command.
//!
//! What execve(2) would have done is made up for as far as an ordinary process may: the program is mapped,
//! the auxiliary vector speaks of it, and the kernel is told so, that `/proc/self/exe`, `cmdline`, `auxv` and
//! the process's name are those of a native start.

use core::ffi::CStr;

use linux_raw_sys::auxvec::{AT_ENTRY, AT_EXECFN, AT_PHDR, AT_PHENT, AT_PHNUM};
use linux_raw_sys::elf::Elf_Phdr;
use linux_raw_sys::general::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE};
use linux_raw_sys::prctl::prctl_mm_map;
use sonde_interp::elf::{Image, PAGE};
use sonde_interp::stack::InitialStack;

use crate::map::{self, MapError, Place};
use crate::sys::{self, Descriptor, Errno};

/// Where the kernel puts position-independent programs on x86-64: two thirds of the address space, and up to
/// 2^28 random pages (`ELF_ET_DYN_BASE`, `vm.mmap_rnd_bits`).
const PROGRAM_BASE: u64 = 0x5555_5555_4000;
const RANDOM_PAGES: u64 = 1 << 28;

/// Maps a program where the kernel would have, and returns its load bias.
pub(crate) fn map_program(file: &Descriptor, image: &Image<'_>) -> Result<u64, MapError> {
    let base = PROGRAM_BASE + sys::random() % RANDOM_PAGES * PAGE;
    map::map_image(file, image, Place::At(base)).or_else(|_| map::map_image(file, image, Place::Anywhere))
}

/// Makes the auxiliary vector speak of the program instead of the shim.
pub(crate) fn describe_program(stack: &mut InitialStack, image: &Image<'_>, bias: u64, path: &'static CStr) {
    let entries = [
        (AT_PHDR, image.header_address.wrapping_add(bias) as usize),
        (AT_PHENT, size_of::<Elf_Phdr>()),
        (AT_PHNUM, usize::from(image.header_count)),
        (AT_ENTRY, image.entry.wrapping_add(bias) as usize),
        (AT_EXECFN, path.as_ptr() as usize),
    ];
    for (kind, value) in entries {
        stack.set_auxiliary(kind, value);
    }
}

/// Gives the process the program's name, and makes it possible to let go of the shim's file.
pub(crate) fn take_name(path: &CStr) -> Result<(), Errno> {
    let name = path.to_bytes_with_nul();
    let start = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    if let Ok(name) = CStr::from_bytes_with_nul(&name[start..]) {
        sys::set_name(name);
    }
    forget_own_file()
}

/// Tells the kernel that this process runs the program: its memory, arguments and auxiliary vector as they are now, and
/// with `file` what `/proc/self/exe` is.
///
/// The file may be refused, where the process has no capability for it and may not make a user namespace: the program
/// runs all the same, but finds the shim behind `/proc/self/exe`.
pub(crate) fn announce_program(
    stack: &InitialStack,
    image: &Image<'_>,
    bias: u64,
    file: Option<&Descriptor>,
) -> Result<(), Errno> {
    let code = image.segments().find(|segment| segment.execute);
    let data = image.segments().find(|segment| segment.write).or(code);
    let extent = |segment: Option<sonde_interp::elf::Segment>| {
        segment.map_or((bias, bias), |segment| {
            let start = segment.address.wrapping_add(bias);
            (start, start + segment.file_size)
        })
    };
    let ((start_code, end_code), (start_data, end_data)) = (extent(code), extent(data));
    let heap = image.data_end().wrapping_add(bias).next_multiple_of(PAGE) + PAGE;
    let (arguments, environment) = strings(stack);
    let (auxiliary, auxiliary_size) = stack.auxiliary_extent();
    let memory = prctl_mm_map {
        start_code,
        end_code,
        start_data,
        end_data,
        start_brk: heap,
        brk: heap,
        start_stack: stack.top() as u64,
        arg_start: arguments.0,
        arg_end: arguments.1,
        env_start: environment.0,
        env_end: environment.1,
        auxv: auxiliary.cast_mut().cast(),
        auxv_size: auxiliary_size as u32,
        exe_fd: file.map_or(sys::NO_FILE, |file| file.number() as u32),
    };
    // SAFETY: the addresses are those of what was mapped and of the initial stack. The old heap is empty, as
    // nothing in the shim ever asked for one.
    unsafe { sys::set_memory_map(&memory) }
}

/// Where the strings of arguments and environment start and end; the kernel lays them out one behind the other.
fn strings(stack: &InitialStack) -> ((u64, u64), (u64, u64)) {
    let extent = |first: Option<&'static CStr>, last: Option<&'static CStr>, none: u64| match (first, last) {
        (Some(first), Some(last)) => {
            let end = last.as_ptr() as u64 + last.to_bytes_with_nul().len() as u64;
            (first.as_ptr() as u64, end)
        }
        _ => (none, none),
    };
    let count = stack.arguments().len();
    let here = stack.top() as u64;
    let arguments = extent(stack.argument(0), stack.argument(count.wrapping_sub(1)), here);
    let mut variables = stack.variables();
    let first = variables.next();
    (arguments, extent(first, variables.last().or(first), arguments.1))
}

/// Replaces the shim's own pages by anonymous copies: the kernel does not let go of a program's file while
/// any of it is mapped (`replace_mm_exe_file`, kernel/fork.c).
fn forget_own_file() -> Result<(), Errno> {
    let own = sys::open(c"/proc/self/exe")?;
    let Ok(head) = map::Head::read(&own) else { return Ok(()) };
    let Ok(image) = head.image() else { return Ok(()) };
    let bias = crate::own_base() as u64;
    for segment in image.segments() {
        let start = segment.address.wrapping_add(bias) & !(PAGE - 1);
        let end = (segment.address + segment.memory_size).wrapping_add(bias).next_multiple_of(PAGE);
        let length = end - start;
        let protection = match (segment.write, segment.execute) {
            (true, _) => PROT_READ | PROT_WRITE,
            (false, true) => PROT_READ | PROT_EXEC,
            (false, false) => PROT_READ,
        };
        let (writable, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        // SAFETY: the copy holds the same bytes at the same addresses; the code that is running does not notice,
        // and nothing writes to the shim's few statics in between.
        unsafe {
            let copy = sys::map(0, length, writable, flags, None)?;
            core::ptr::copy_nonoverlapping(start as *const u8, copy as *mut u8, length as usize);
            sys::protect(copy, length, protection)?;
            sys::move_pages(copy, length, start)?;
        }
    }
    Ok(())
}
