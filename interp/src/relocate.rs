//! Relocates the shim itself, the first thing that happens in the process.
//!
//! A static-pie is loaded at an address that the linker did not know. Until `relocate_self` has returned,
//! nothing may be used that needs a relocation: no static that holds a pointer, no trait object, no panic
//! with a message. It cannot fail: the tables come from our own linker, and there would be nobody to tell.

use linux_raw_sys::elf::{DT_NULL, DT_RELA, DT_RELASZ, Elf_Dyn, Elf_Rela};

const R_X86_64_RELATIVE: usize = 8;

/// Applies the relative relocations of the image at `base`.
///
/// # Safety
/// `base` must be where this very image is mapped, `dynamic` its dynamic section, and neither may have been
/// relocated before.
pub(crate) unsafe fn relocate_self(base: usize, mut dynamic: *const Elf_Dyn) {
    let (mut table, mut size) = (0, 0);
    // SAFETY: the dynamic section ends with DT_NULL; RELA entries lie within the image and so do their targets,
    // which the linker placed in writable segments (RELRO is not applied).
    unsafe {
        while (*dynamic).d_tag != DT_NULL {
            match (*dynamic).d_tag {
                DT_RELA => table = (*dynamic).d_un.d_ptr,
                DT_RELASZ => size = (*dynamic).d_un.d_ptr,
                _ => {}
            }
            dynamic = dynamic.add(1);
        }
        let first = (base + table) as *const Elf_Rela;
        for index in 0..size / size_of::<Elf_Rela>() {
            let relocation = &*first.add(index);
            if relocation.r_info as usize == R_X86_64_RELATIVE {
                *((base + relocation.r_offset) as *mut usize) = base.wrapping_add(relocation.r_addend);
            }
        }
    }
}
