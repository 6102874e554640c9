//! The filter of a tree (BPF as in seccomp(2)). A narrow one traps the loader's own opens only; a wide one, for programs
//! that were built by Nix, also what could be the open of a loader somewhere else.
//!
//! The loader is recognised by the instruction pointer, which libseccomp cannot match on; hence raw rows. Under a narrow
//! filter the program's own system calls run through eight rows, its own opens through nine.

use std::mem::offset_of;
use std::ops::Range;

use sonde_interp::handoff::CALL_DIRFD;

// linux/bpf_common.h, linux/seccomp.h, linux/audit.h
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const ALLOW: u32 = 0x7fff_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// What a filter for a tracer tells it, by which ours is known from one that the program may have for a tracer of its
/// own (`SECCOMP_RET_DATA`).
pub(crate) const TRACE_DATA: u16 = 0x534f;

/// Who is told of a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Whoever has the filter's listener.
    Listener,
    /// The tracer (`SECCOMP_RET_TRACE`).
    Tracer,
}

/// `struct seccomp_data`, linux/seccomp.h.
#[repr(C)]
struct Data {
    number: u32,
    architecture: u32,
    instruction_pointer: u64,
    arguments: [u64; 6],
}

const NUMBER: usize = offset_of!(Data, number);
const ARCHITECTURE: usize = offset_of!(Data, architecture);
const POINTER_LOW: usize = offset_of!(Data, instruction_pointer);
const POINTER_HIGH: usize = POINTER_LOW + 4;
const FIRST_ARGUMENT_LOW: usize = offset_of!(Data, arguments);
const FLAGS_LOW: usize = FIRST_ARGUMENT_LOW + 2 * size_of::<u64>();

/// Where the parts of the program start, as row numbers; the wide one has [`WIDER`] rows more from `STAT` on.
const OPENAT: u8 = 7;
const STAT: u8 = 9;
const LOADER: u8 = 11;
const PASS: u8 = 16;
const TRAP: u8 = 17;
const WIDER: u8 = 3;

/// With which flags glibc's loader opens whatever it opens (`open_verify`, elf/dl-load.c, and
/// `_dl_sysdep_read_whole_file`, elf/dl-misc.c): on x86-64 there is no more to see of them.
const LOADERS_FLAGS: u32 = libc::O_CLOEXEC.cast_unsigned();

/// What is trapped.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// Where the tree's loaders are mapped. A range that crosses a 4 GiB boundary is trapped up to the boundary only; the
    /// supervisor chooses none such.
    pub(crate) loader: Range<u64>,
    /// Must a `stat` of a loader be answered?
    pub(crate) looks: bool,
    /// Also the opens that look like a loader's, wherever they come from: a program that the kernel starts under a loader
    /// of its own has it anywhere.
    pub(crate) wide: bool,
}

/// One `struct sock_filter`: operation, where to go on when its test holds and when not, operand.
struct Row(u16, u8, u8, u32);

impl Scope {
    /// The filter, as `struct sock_filter` rows of 8 bytes each.
    pub(crate) fn filter(&self, told: Told) -> Vec<u8> {
        let trap = match told {
            Told::Listener => USER_NOTIF,
            Told::Tracer => TRACE | TRACE_DATA as u32,
        };
        let (start, end) = (self.loader.start, self.loader.end.min(self.loader.start | 0xffff_ffff));
        let (high, low_start, low_end) = ((start >> 32) as u32, start as u32, end as u32);
        let number = |syscall: i64| syscall as u32;
        let wider = if self.wide { WIDER } else { 0 };
        let (stat, loader, pass, trapped) = (STAT + wider, LOADER + wider, PASS + wider, TRAP + wider);
        let mut program = vec![
            // i386 and x32 calls of the same process have other numbers, and their loaders are not ours.
            Row(LOAD, 0, 0, ARCHITECTURE as u32),
            Row(JUMP_EQUAL, 2, pass, AUDIT_ARCH_X86_64),
            Row(LOAD, 0, 0, NUMBER as u32),
            Row(JUMP_EQUAL, OPENAT, 4, number(libc::SYS_openat)),
            Row(JUMP_EQUAL, if self.looks { stat } else { pass }, 5, number(libc::SYS_newfstatat)),
            Row(JUMP_EQUAL, loader, 6, number(libc::SYS_open)),
            Row(JUMP_EQUAL, loader, pass, number(libc::SYS_openat2)),
            // OPENAT: a call to the supervisor is trapped wherever it comes from.
            Row(LOAD, 0, 0, FIRST_ARGUMENT_LOW as u32),
            Row(JUMP_EQUAL, trapped, if self.wide { OPENAT + 2 } else { loader }, CALL_DIRFD.cast_unsigned()),
        ];
        if self.wide {
            program.extend([
                Row(JUMP_EQUAL, OPENAT + 3, loader, libc::AT_FDCWD.cast_unsigned()),
                Row(LOAD, 0, 0, FLAGS_LOW as u32),
                Row(JUMP_EQUAL, trapped, loader, LOADERS_FLAGS),
            ]);
        }
        program.extend([
            // STAT: looking at an open file, which glibc does with each library, is none of our business.
            Row(LOAD, 0, 0, FIRST_ARGUMENT_LOW as u32),
            Row(JUMP_EQUAL, loader, pass, libc::AT_FDCWD.cast_unsigned()),
            // LOADER: is the instruction one of the loader's?
            Row(LOAD, 0, 0, POINTER_HIGH as u32),
            Row(JUMP_EQUAL, loader + 2, pass, high),
            Row(LOAD, 0, 0, POINTER_LOW as u32),
            Row(JUMP_AT_LEAST, loader + 4, pass, low_start),
            Row(JUMP_AT_LEAST, pass, trapped, low_end),
            Row(RETURN, 0, 0, ALLOW),
            Row(RETURN, 0, 0, trap),
        ]);
        let mut bytes = Vec::with_capacity(program.len() * 8);
        for (index, Row(code, then, otherwise, operand)) in (0_u8..).zip(program) {
            // The kernel wants distances from the next row.
            let distance = |to: u8| to.saturating_sub(index + 1);
            bytes.extend_from_slice(&code.to_le_bytes());
            bytes.extend_from_slice(&[distance(then), distance(otherwise)]);
            bytes.extend_from_slice(&operand.to_le_bytes());
        }
        bytes
    }

    /// What the filter says, where there is none: is this call of the x86-64 kind trapped?
    pub(crate) fn wants(&self, number: u64, pointer: u64, arguments: &[u64; 6]) -> bool {
        let directory = arguments[0] as u32 as i32;
        let by_the_loader = self.loader.contains(&pointer);
        let looks_like_one = directory == libc::AT_FDCWD && arguments[2] as u32 == LOADERS_FLAGS;
        match i64::try_from(number) {
            Ok(libc::SYS_openat) => by_the_loader || directory == CALL_DIRFD || self.wide && looks_like_one,
            Ok(libc::SYS_newfstatat) => by_the_loader && self.looks && directory == libc::AT_FDCWD,
            Ok(libc::SYS_open | libc::SYS_openat2) => by_the_loader,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOADER_AT: Range<u64> = 0x7e95_1234_5000..0x7e95_1237_c000;
    const INSIDE: u64 = 0x7e95_1235_0123;
    const AT_FDCWD: u64 = 0xffff_ff9c;

    fn scope(looks: bool, wide: bool) -> Scope {
        Scope { loader: LOADER_AT, looks, wide }
    }

    /// Interprets a filter as the kernel does (classic BPF over `struct seccomp_data`).
    fn verdict(filter: &[u8], number: i64, architecture: u32, pointer: u64, arguments: [u64; 3]) -> u32 {
        let mut data = Vec::new();
        data.extend_from_slice(&(number as u32).to_le_bytes());
        data.extend_from_slice(&architecture.to_le_bytes());
        data.extend_from_slice(&pointer.to_le_bytes());
        arguments.iter().for_each(|argument| data.extend_from_slice(&argument.to_le_bytes()));
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut row, mut register) = (0, 0);
        loop {
            let bytes = &filter[row * 8..row * 8 + 8];
            let operand = word(bytes, 4);
            let jump = |holds: bool| usize::from(if holds { bytes[2] } else { bytes[3] });
            row += 1;
            match u16::from_le_bytes([bytes[0], bytes[1]]) {
                LOAD => register = word(&data, operand as usize),
                JUMP_EQUAL => row += jump(register == operand),
                JUMP_AT_LEAST => row += jump(register >= operand),
                RETURN => return operand,
                code => panic!("unknown operation {code:#x}"),
            }
        }
    }

    fn of(number: i64, pointer: u64, first: u64) -> u32 {
        let filter = scope(true, false).filter(Told::Listener);
        verdict(&filter, number, AUDIT_ARCH_X86_64, pointer, [first, 0, 0x80000])
    }

    #[test]
    fn the_loaders_opens_are_trapped() {
        for number in [libc::SYS_openat, libc::SYS_open, libc::SYS_openat2, libc::SYS_newfstatat] {
            assert_eq!(of(number, INSIDE, AT_FDCWD), USER_NOTIF);
            assert_eq!(of(number, LOADER_AT.start, AT_FDCWD), USER_NOTIF);
            assert_eq!(of(number, LOADER_AT.end - 1, AT_FDCWD), USER_NOTIF);
        }
    }

    #[test]
    fn everybody_elses_opens_are_not() {
        let elsewhere = [0, 0x40_0000, LOADER_AT.start - 1, LOADER_AT.end, INSIDE + (1 << 32), u64::MAX];
        for pointer in elsewhere {
            for number in [libc::SYS_openat, libc::SYS_open, libc::SYS_openat2, libc::SYS_newfstatat] {
                assert_eq!(of(number, pointer, AT_FDCWD), ALLOW);
            }
        }
    }

    #[test]
    fn the_loaders_other_calls_are_not() {
        for number in (0..500).filter(|number| ![2, 257, 262, 437].contains(number)) {
            assert_eq!(of(number, INSIDE, AT_FDCWD), ALLOW, "system call {number}");
        }
    }

    #[test]
    fn a_call_to_the_supervisor_is_trapped_from_anywhere_but_by_openat_only() {
        let dirfd = u64::from(CALL_DIRFD.cast_unsigned());
        assert_eq!(of(libc::SYS_openat, 0x40_0000, dirfd), USER_NOTIF);
        assert_eq!(of(libc::SYS_openat2, 0x40_0000, dirfd), ALLOW);
        assert_eq!(of(libc::SYS_close, 0x40_0000, dirfd), ALLOW);
    }

    #[test]
    fn looking_at_an_open_file_is_not_trapped() {
        assert_eq!(of(libc::SYS_newfstatat, INSIDE, 3), ALLOW);
        assert_eq!(of(libc::SYS_newfstatat, INSIDE, 0xffff_ffff_ffff_ff9c), USER_NOTIF);
    }

    #[test]
    fn a_loader_that_does_not_look_at_its_cache_is_not_stopped_at_folders() {
        let filter = scope(false, false).filter(Told::Listener);
        let verdict = |number| verdict(&filter, number, AUDIT_ARCH_X86_64, INSIDE, [AT_FDCWD, 0, 0]);
        assert_eq!(verdict(libc::SYS_newfstatat), ALLOW);
        assert_eq!(verdict(libc::SYS_openat), USER_NOTIF);
    }

    #[test]
    fn other_architectures_are_left_alone() {
        let filter = scope(true, true).filter(Told::Listener);
        assert_eq!(verdict(&filter, libc::SYS_openat, 0x4000_0003, INSIDE, [AT_FDCWD, 0, 0x80000]), ALLOW);
        let x32 = libc::SYS_openat | 0x4000_0000;
        assert_eq!(verdict(&filter, x32, AUDIT_ARCH_X86_64, INSIDE, [AT_FDCWD, 0, 0x80000]), ALLOW);
    }

    #[test]
    fn what_a_tracer_chooses_by_itself_is_what_the_filter_would() {
        let pointers =
            [LOADER_AT.start - 1, LOADER_AT.start, INSIDE, LOADER_AT.end - 1, LOADER_AT.end, 0x40_0000];
        let firsts = [AT_FDCWD, 0xffff_ffff_ffff_ff9c, 3, u64::from(CALL_DIRFD.cast_unsigned())];
        for (looks, wide) in [(true, true), (true, false), (false, true), (false, false)] {
            let scope = scope(looks, wide);
            let filter = scope.filter(Told::Tracer);
            for number in (0..500).chain([libc::SYS_openat | 0x4000_0000]) {
                for pointer in pointers {
                    for (first, flags) in firsts.iter().flat_map(|first| [(*first, 0x80000), (*first, 0)]) {
                        let says = verdict(&filter, number, AUDIT_ARCH_X86_64, pointer, [first, 0, flags]);
                        let wanted = scope.wants(number as u64, pointer, &[first, 0, flags, 0, 0, 0]);
                        assert_eq!(says, if wanted { TRACE | 0x534f } else { ALLOW }, "call {number}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_wide_filter_traps_what_looks_like_a_loaders_open() {
        let filter = scope(true, true).filter(Told::Listener);
        let of =
            |number, first, flags| verdict(&filter, number, AUDIT_ARCH_X86_64, 0x40_0000, [first, 0, flags]);
        assert_eq!(of(libc::SYS_openat, AT_FDCWD, 0x80000), USER_NOTIF);
        assert_eq!(of(libc::SYS_openat, AT_FDCWD, 0x80241), ALLOW, "for writing");
        assert_eq!(of(libc::SYS_openat, 3, 0x80000), ALLOW, "in a folder");
        assert_eq!(of(libc::SYS_open, AT_FDCWD, 0x80000), ALLOW);
        assert_eq!(of(libc::SYS_newfstatat, AT_FDCWD, 0x80000), ALLOW);
    }

    #[test]
    fn the_program_fits_a_welcome() {
        assert!(scope(true, true).filter(Told::Listener).len() / 8 <= sonde_interp::handoff::MAX_FILTER_ROWS);
    }
}
