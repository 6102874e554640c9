//! Reading and writing another process's memory (process_vm_readv(2)).
//!
//! The calls themselves are safe (they touch only the other process); what is not is believing the result:
//! callers check that the thread still waits, after the read.
#![allow(unsafe_code)]

use std::io::{self, IoSlice, IoSliceMut};

use nix::sys::stat::FileStat;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

const PAGE: usize = 4096;

/// Reads a NUL-terminated string of at most `limit` bytes, without the NUL.
///
/// Reads stop at page boundaries, so that a string at the very end of a mapping is read whole.
pub(crate) fn read_string(process: u32, address: u64, limit: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(256.min(limit));
    let mut at = usize::try_from(address).map_err(io::Error::other)?;
    while text.len() < limit {
        let mut chunk = [0_u8; 256];
        let length = chunk.len().min(limit - text.len()).min(PAGE - at % PAGE);
        let remote = [RemoteIoVec { base: at, len: length }];
        let count = process_vm_readv(pid(process), &mut [IoSliceMut::new(&mut chunk[..length])], &remote)?;
        let chunk = &chunk[..count];
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&chunk[..end]);
            return Ok(text);
        }
        if count == 0 {
            break;
        }
        text.extend_from_slice(chunk);
        at += count;
    }
    Err(io::Error::from(io::ErrorKind::FileTooLarge))
}

/// May other processes be read at all, as far as this one can tell by reading itself?
pub(crate) fn is_allowed() -> bool {
    let known = c"sonde";
    read_string(std::process::id(), known.as_ptr() as u64, 16).is_ok_and(|text| text == known.to_bytes())
}

/// Reads as much as there is, up to the length of the buffer; how many bytes that were.
pub(crate) fn read(process: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let base = usize::try_from(address).map_err(io::Error::other)?;
    // In pages of their own: a transfer goes as far as the last part that is there as a whole (process_vm_readv(2)).
    let end = base.saturating_add(buffer.len());
    let borders = (base / PAGE + 1..end.div_ceil(PAGE)).map(|page| page * PAGE);
    let starts = std::iter::once(base).chain(borders.clone());
    let remote: Vec<RemoteIoVec> = starts
        .zip(borders.chain([end]))
        .map(|(start, end)| RemoteIoVec { base: start, len: end - start })
        .collect();
    Ok(process_vm_readv(pid(process), &mut [IoSliceMut::new(buffer)], &remote)?)
}

/// Reads an `int`.
pub(crate) fn read_number(process: u32, address: u64) -> io::Result<i32> {
    let mut bytes = [0; 4];
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let remote = [RemoteIoVec { base, len: bytes.len() }];
    match process_vm_readv(pid(process), &mut [IoSliceMut::new(&mut bytes)], &remote)? {
        4 => Ok(i32::from_ne_bytes(bytes)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes bytes; all of them, or an error.
pub(crate) fn write(process: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let base = usize::try_from(address).map_err(io::Error::other)?;
    let remote = [RemoteIoVec { base, len: bytes.len() }];
    match process_vm_writev(pid(process), &[IoSlice::new(bytes)], &remote)? {
        count if count == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Writes what stat(2) would have written. The kernel's `struct stat` on x86-64 is glibc's.
pub(crate) fn write_stat(process: u32, address: u64, stat: &FileStat) -> io::Result<()> {
    // SAFETY: a `struct stat` is plain integers; viewing all of its bytes is sound because it was filled in by the
    // kernel as a whole, padding included.
    let bytes =
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(stat).cast::<u8>(), size_of::<FileStat>()) };
    write(process, address, bytes)
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(process.cast_signed())
}
