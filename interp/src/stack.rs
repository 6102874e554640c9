//! The stack as the kernel leaves it: argument, environment and auxiliary vectors (`create_elf_tables`,
//! fs/binfmt_elf.c; System V ABI for AMD64, figure 3.9).
//!
//! ```text
//! top ─► argc │ argv[0] … argv[argc-1] │ 0 │ envp[0] … │ 0 │ (type, value) … │ (AT_NULL, 0)
//! ```
//!
//! The real loader is later entered with this very stack, so the shim changes it in place and as little as
//! it can. Nothing here makes a system call.
#![allow(unsafe_code)]

use core::ffi::{CStr, c_char};
use core::slice;

use linux_raw_sys::auxvec::AT_NULL;

/// The initial stack of this process.
#[derive(Debug)]
pub struct InitialStack {
    top: *mut usize,
}

impl InitialStack {
    /// Takes the stack pointer that the process was entered with.
    ///
    /// # Safety
    /// `top` must point to a stack laid out as above which stays valid, and is reached through no other
    /// reference, for the rest of the process; the strings must stay unchanged.
    pub unsafe fn new(top: *mut usize) -> Self {
        Self { top }
    }

    /// The stack pointer with which the loader is to be entered; 16-byte aligned if it was so at entry.
    #[must_use]
    pub fn top(&self) -> *mut usize {
        self.top
    }

    /// The pointers to the arguments, `argv[0]` first.
    #[must_use]
    pub fn arguments(&self) -> &[*const c_char] {
        // SAFETY: by the contract of `new`, `argc` pointers follow the word at `top`.
        unsafe { slice::from_raw_parts(self.top.add(1).cast(), *self.top) }
    }

    /// One argument.
    #[must_use]
    pub fn argument(&self, index: usize) -> Option<&'static CStr> {
        // SAFETY: the kernel puts NUL-terminated strings there, which stay (contract of `new`).
        self.arguments().get(index).map(|pointer| unsafe { CStr::from_ptr(*pointer) })
    }

    /// The pointers to the environment's `NAME=VALUE` strings, without the terminating null.
    #[must_use]
    pub fn environment(&self) -> &[*const c_char] {
        // SAFETY: by the contract of `new`, the environment follows argv and its null, and ends with one.
        unsafe {
            let first = self.top.add(1 + *self.top + 1);
            let mut count = 0;
            while *first.add(count) != 0 {
                count += 1;
            }
            slice::from_raw_parts(first.cast(), count)
        }
    }

    /// The environment's strings.
    pub fn variables(&self) -> impl Iterator<Item = &'static CStr> + '_ {
        // SAFETY: as in `argument`.
        self.environment().iter().map(|pointer| unsafe { CStr::from_ptr(*pointer) })
    }

    /// The value of an environment variable; `None` where it is unset or empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&'static CStr> {
        self.variables().find_map(|entry| {
            let value = entry.to_bytes_with_nul().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            if value.len() > 1 { CStr::from_bytes_with_nul(value).ok() } else { None }
        })
    }

    /// The value of an auxiliary vector entry (getauxval(3)).
    #[must_use]
    pub fn auxiliary(&self, kind: u32) -> Option<usize> {
        // SAFETY: `auxiliary_entry` returns a pointer to the value word of an entry on the stack.
        self.auxiliary_entry(kind).map(|value| unsafe { *value })
    }

    /// Changes an auxiliary vector entry; `false` if the kernel gave none of this kind.
    pub fn set_auxiliary(&mut self, kind: u32, value: usize) -> bool {
        match self.auxiliary_entry(kind) {
            Some(entry) => {
                // SAFETY: the entry lies on the stack, which nobody else refers to (contract of `new`).
                unsafe { *entry = value };
                true
            }
            None => false,
        }
    }

    /// Address and length in bytes of the auxiliary vector, its `AT_NULL` entry included.
    #[must_use]
    pub fn auxiliary_extent(&self) -> (*const usize, usize) {
        let first = self.auxiliary_first();
        let mut words = 2;
        // SAFETY: entries are pairs of words and end with `AT_NULL` (contract of `new`).
        unsafe {
            while *first.add(words - 2) != AT_NULL as usize {
                words += 2;
            }
        }
        (first, words * size_of::<usize>())
    }

    /// Removes the first `count` arguments, so that the program sees only its own.
    ///
    /// Everything from the remaining arguments to the end of the auxiliary vector may move by one word, since
    /// the ABI wants the stack pointer aligned to 16 bytes at entry.
    pub fn drop_arguments(&mut self, count: usize) {
        let count = count.min(self.arguments().len());
        let remaining = self.arguments().len() - count;
        let (auxiliary, length) = self.auxiliary_extent();
        let odd = count % 2;
        // SAFETY: source and destination lie between `top` and the end of the auxiliary vector, which is ours
        // alone (contract of `new`); `copy` allows them to overlap.
        unsafe {
            let first_kept = self.top.add(1 + count);
            let end = auxiliary.byte_add(length);
            let words = end.offset_from_unsigned(first_kept.cast_const());
            let new_top = self.top.add(count - odd);
            first_kept.copy_to(new_top.add(1), words);
            *new_top = remaining;
            self.top = new_top;
        }
    }

    fn auxiliary_first(&self) -> *mut usize {
        // SAFETY: the vector follows the environment's null (contract of `new`).
        unsafe { self.top.add(1 + self.arguments().len() + 1 + self.environment().len() + 1) }
    }

    fn auxiliary_entry(&self, kind: u32) -> Option<*mut usize> {
        let mut entry = self.auxiliary_first();
        // SAFETY: entries are pairs of words and end with `AT_NULL` (contract of `new`).
        unsafe {
            while *entry != AT_NULL as usize {
                if *entry == kind as usize {
                    return Some(entry.add(1));
                }
                entry = entry.add(2);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;
    use linux_raw_sys::auxvec::{AT_BASE, AT_ENTRY, AT_SECURE};
    use std::vec::Vec;

    /// A stack with these arguments and this environment; leaked, as the real one lives for ever.
    fn stack(arguments: &[&'static CStr], environment: &[&'static CStr]) -> InitialStack {
        let word = ptr::without_provenance;
        let mut words: Vec<*const c_char> = vec![word(arguments.len())];
        words.extend(arguments.iter().map(|text| text.as_ptr()));
        words.push(ptr::null());
        words.extend(environment.iter().map(|text| text.as_ptr()));
        words.push(ptr::null());
        words.extend([AT_BASE as usize, 0x1000, AT_ENTRY as usize, 0x2000, AT_NULL as usize, 0].map(word));
        // SAFETY: laid out as the kernel does, and leaked.
        unsafe { InitialStack::new(Vec::leak(words).as_mut_ptr().cast()) }
    }

    fn arguments_of(stack: &InitialStack) -> Vec<&'static CStr> {
        (0..stack.arguments().len()).filter_map(|index| stack.argument(index)).collect()
    }

    #[test]
    fn vectors_are_found_where_the_kernel_puts_them() {
        let mut stack = stack(&[c"prog", c"-x"], &[c"A=1", c"NIX_LD=/l", c"EMPTY="]);
        assert_eq!(arguments_of(&stack), [c"prog", c"-x"]);
        assert_eq!(stack.variable("NIX_LD"), Some(c"/l"));
        assert_eq!(stack.variable("NIX"), None);
        assert_eq!(stack.variable("EMPTY"), None);
        assert_eq!(stack.auxiliary(AT_ENTRY), Some(0x2000));
        assert_eq!(stack.auxiliary(AT_SECURE), None);
        assert!(stack.set_auxiliary(AT_BASE, 7));
        assert!(!stack.set_auxiliary(AT_SECURE, 1));
        assert_eq!(stack.auxiliary(AT_BASE), Some(7));
        assert_eq!(stack.auxiliary_extent().1, 48);
    }

    #[test]
    fn dropping_arguments_keeps_the_rest_and_the_alignment() {
        for count in 0..=5 {
            let mut stack =
                stack(&[c"shim", c"--exec", c"/bin/p", c"--", c"p", c"arg"], &[c"HOME=/h", c"X=y"]);
            let before = stack.top() as usize;
            stack.drop_arguments(count);
            assert_eq!(arguments_of(&stack)[0], [c"shim", c"--exec", c"/bin/p", c"--", c"p", c"arg"][count]);
            assert_eq!(stack.arguments().len(), 6 - count);
            assert_eq!(stack.variables().collect::<Vec<_>>(), [c"HOME=/h", c"X=y"]);
            assert_eq!(stack.auxiliary(AT_ENTRY), Some(0x2000));
            assert_eq!(stack.auxiliary_extent().1, 48);
            assert_eq!((stack.top() as usize - before) % 16, 0);
        }
    }

    #[test]
    fn an_empty_argument_vector_is_survived() {
        let mut stack = stack(&[], &[]);
        assert_eq!(stack.argument(0), None);
        stack.drop_arguments(3);
        assert_eq!(stack.auxiliary(AT_BASE), Some(0x1000));
    }
}
