//! All assembly of the shim, and the C functions that the compiler takes for granted.
//!
//! Calling conventions: System V ABI for AMD64, and syscall(2) for system calls.

use core::arch::{asm, global_asm, naked_asm};
use core::ffi::c_char;
use core::sync::atomic::AtomicUsize;

use linux_raw_sys::general::{
    __NR_clone, __NR_exit, __NR_openat, __NR_prctl, AT_FDCWD, CLONE_NEWUSER, CLONE_VFORK, CLONE_VM,
};
use linux_raw_sys::prctl::{PR_SET_MM, PR_SET_MM_MAP, prctl_mm_map};

// The kernel enters here with the stack pointer at argc and undefined registers. `_DYNAMIC` and
// `__ehdr_start` come from the linker; both are reached relative to the instruction pointer, because
// nothing has been relocated yet.
global_asm!(
    ".globl _start",
    ".hidden _start",
    ".hidden _DYNAMIC",
    ".hidden __ehdr_start",
    ".type _start, @function",
    "_start:",
    "endbr64",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "lea rsi, [rip + __ehdr_start]",
    "lea rdx, [rip + _DYNAMIC]",
    "and rsp, -16",
    "call {entry}",
    "ud2",
    entry = sym crate::entry,
);

/// Enters a program or loader as the kernel would: this stack pointer, clean registers, no way back.
///
/// # Safety
/// `top` must point to an initial stack and `entry` to code that expects one.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(top: *mut usize, entry: usize) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "mov rax, rsi",
        "xor edx, edx", // System V ABI: rdx is a function to register with atexit; there is none
        "xor ebx, ebx",
        "xor ecx, ecx",
        "xor esi, esi",
        "xor edi, edi",
        "xor ebp, ebp",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "xor r12d, r12d",
        "xor r13d, r13d",
        "xor r14d, r14d",
        "xor r15d, r15d",
        "jmp rax",
    )
}

/// Where [`open`] goes on: behind the loader's own `syscall`.
pub(crate) static BACK_FROM_OPEN: AtomicUsize = AtomicUsize::new(0);

/// Where [`look`] goes on.
pub(crate) static BACK_FROM_LOOK: AtomicUsize = AtomicUsize::new(0);

/// Keeps what a system call leaves as it was: all registers but rax, rcx and r11, and the red zone below the stack pointer
/// (System V ABI, 3.2.2), which is in rcx then. Of the vector registers the shim's own code changes no more than what fxsave
/// keeps: it is compiled for plain x86-64, whose instructions leave the upper parts of wider registers alone.
macro_rules! keep_registers {
    () => {
        "mov rcx, rsp
        lea rsp, [rsp - 128]
        push rbp
        push rdi
        push rsi
        push rdx
        push r8
        push r9
        push r10
        mov rbp, rsp
        sub rsp, 512
        and rsp, -16
        fxsave64 [rsp]"
    };
}

/// Undoes [`keep_registers`].
macro_rules! restore_registers {
    () => {
        "fxrstor64 [rsp]
        mov rsp, rbp
        pop r10
        pop r9
        pop r8
        pop rdx
        pop rsi
        pop rdi
        pop rbp
        lea rsp, [rsp + 128]"
    };
}

/// Stands in for `mov $AT_FDCWD,%edi; syscall` in the loader, which jumps here and is jumped back to.
///
/// # Safety
/// Not to be called: only a loader that was changed for it may jump here, once [`BACK_FROM_OPEN`] is set.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn open_without_folder() {
    naked_asm!(
        "mov edi, {at_fdcwd}",
        "cmp eax, {openat}",
        "jmp {open}",
        at_fdcwd = const AT_FDCWD,
        openat = const __NR_openat,
        open = sym open,
    )
}

/// Stands in for `mov $__NR_openat,%eax; syscall`.
///
/// # Safety
/// As [`open_without_folder`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn open_without_number() {
    naked_asm!(
        "mov eax, {openat}",
        "cmp edi, {at_fdcwd}",
        "jmp {open}",
        at_fdcwd = const AT_FDCWD,
        openat = const __NR_openat,
        open = sym open,
    )
}

/// If the last comparison has found it to be the loader's open of a path, [`crate::inline::open`] makes the call.
///
/// # Safety
/// As [`open_without_folder`].
#[unsafe(naked)]
unsafe extern "C" fn open() {
    naked_asm!(
        "jne 2f",
        keep_registers!(),
        "mov rdi, rsi", // the path
        "mov esi, edx", // the flags
        "mov rdx, rcx", // the loader's stack pointer
        "mov ecx, r10d", // the mode of what is made
        "call {open}",
        restore_registers!(),
        "jmp qword ptr [rip + {back}]",
        "2:",
        "syscall",
        "jmp qword ptr [rip + {back}]",
        back = sym BACK_FROM_OPEN,
        open = sym crate::inline::open,
    )
}

/// Stands in for `mov $__NR_open,%eax; syscall`: [`crate::inline::open`] makes the call.
///
/// # Safety
/// As [`open_without_folder`].
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn open_by_path() {
    naked_asm!(
        keep_registers!(),
        "mov eax, edx", // the mode of what is made; path and flags are where a function has them too
        "mov rdx, rcx", // the loader's stack pointer
        "mov ecx, eax",
        "call {open}",
        restore_registers!(),
        "jmp qword ptr [rip + {back}]",
        back = sym BACK_FROM_OPEN,
        open = sym crate::inline::open,
    )
}

/// Stands in for `mov $__NR_newfstatat,%eax; syscall`: [`crate::inline::look`] makes the call.
///
/// # Safety
/// Not to be called: only a loader that was changed for it may jump here, once [`BACK_FROM_LOOK`] is set.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn look() {
    naked_asm!(
        keep_registers!(),
        "mov ecx, r10d", // the flags; the first three arguments are where a function has them too
        "call {look}",
        restore_registers!(),
        "jmp qword ptr [rip + {back}]",
        back = sym BACK_FROM_LOOK,
        look = sym crate::inline::look,
    )
}

#[cfg(target_feature = "avx")]
compile_error!("the engine inline keeps no more of the vector registers than plain x86-64 has");

/// Makes a system call; the result is the kernel's, errors as `-errno`.
///
/// # Safety
/// That of the system call: pointers among the arguments must be valid for what it does with them.
pub(crate) unsafe fn syscall(number: u32, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the kernel clobbers rax, rcx and r11 only (syscall(2)); the rest is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// `prctl(PR_SET_MM, PR_SET_MM_MAP)` from a child that shares this memory but lives in a user namespace of
/// its own, where it has the capability that this asks for (prctl(2): `CAP_CHECKPOINT_RESTORE` in the
/// caller's user namespace). The process itself stays in the namespace that it is in.
///
/// Returns the child's process id, or `-errno`; the child's exit status is the errno of its prctl.
///
/// # Safety
/// `map` must describe this process's memory truthfully.
pub(crate) unsafe fn set_memory_map_from_namespace(map: &prctl_mm_map) -> isize {
    let result: isize;
    // SAFETY: the child runs on the parent's stack while `CLONE_VFORK` suspends the parent, so it must touch
    // no memory: it makes two system calls from registers and is gone.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {prctl}",
            "mov edi, {set_mm}",
            "mov esi, {set_mm_map}",
            "mov rdx, r12",
            "mov r10d, {size}",
            "xor r8d, r8d",
            "syscall",
            "neg rax",
            "mov rdi, rax",
            "mov eax, {exit}",
            "syscall",
            "2:",
            prctl = const __NR_prctl,
            exit = const __NR_exit,
            set_mm = const PR_SET_MM,
            set_mm_map = const PR_SET_MM_MAP,
            size = const size_of::<prctl_mm_map>(),
            inlateout("rax") __NR_clone as isize => result,
            inlateout("rdi") (CLONE_VM | CLONE_VFORK | CLONE_NEWUSER) as usize => _,
            inlateout("rsi") 0usize => _,
            inlateout("rdx") 0usize => _,
            inlateout("r10") 0usize => _,
            inlateout("r8") 0usize => _,
            in("r12") map,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

// The compiler calls these by name even without a libc. `rep` instructions keep it from recognising the
// bodies as what they implement, which would make them call themselves.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(destination: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller promises two valid ranges that do not overlap; the direction flag is clear (ABI).
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") destination => _, inout("rsi") source => _,
            options(nostack, preserves_flags));
    }
    destination
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(destination: *mut u8, source: *const u8, count: usize) -> *mut u8 {
    if (destination as usize).wrapping_sub(source as usize) >= count {
        // SAFETY: copying forwards never overwrites what is still to be read.
        return unsafe { memcpy(destination, source, count) };
    }
    // SAFETY: the ranges are valid (caller); backwards, because the destination starts inside the source.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _,
            inout("rdi") destination.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") source.wrapping_add(count).wrapping_sub(1) => _, options(nostack));
    }
    destination
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(destination: *mut u8, value: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller promises a valid range; the direction flag is clear (ABI).
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") destination => _, in("al") value as u8,
            options(nostack, preserves_flags));
    }
    destination
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller promises `count` readable bytes at both.
        let (a, b) = unsafe { (*left.add(index), *right.add(index)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the contract is memcmp's.
    unsafe { memcmp(left, right, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut length = 0;
    // SAFETY: the caller promises a NUL-terminated string. The read is volatile so that the loop is not
    // recognised as strlen itself.
    unsafe {
        while text.add(length).read_volatile() != 0 {
            length += 1;
        }
    }
    length
}
