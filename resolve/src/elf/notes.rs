//! `PT_NOTE` segments: the build id and the libraries that a file may `dlopen`.
//!
//! Notes are found by owner and type, not by section name: sections may be stripped. A note that is cut short
//! or not what it should be is left out, for a program runs without its notes.

use super::ElfError;
use super::bytes::{Bytes, NoteSegment};
use crate::dlopen_note::{self, DlopenNote};

const NT_GNU_BUILD_ID: u32 = 3;
/// `NT_FDO_DLOPEN_METADATA`, owner `FDO`.
const NT_FDO_DLOPEN: u32 = 0x407c_0c0a;
/// A file has a handful in each segment; a hostile one could have millions.
const MOST_NOTES: usize = 1024;
/// A build id is a hash; a longer one is not one.
const LONGEST_BUILD_ID: usize = 64;

pub(super) fn read(
    file: &Bytes<'_>,
    build_id: &mut Option<Vec<u8>>,
    dlopen: &mut Vec<DlopenNote>,
) -> Result<(), ElfError> {
    for segment in &file.notes {
        let mut at = segment.range.start;
        for _ in 0..MOST_NOTES {
            let Some((owner, kind, payload, next)) = note(file, segment, at) else { break };
            match (owner, kind) {
                (b"GNU\0", NT_GNU_BUILD_ID) if payload.len() <= LONGEST_BUILD_ID => {
                    build_id.get_or_insert_with(|| payload.to_vec());
                }
                (b"FDO\0", NT_FDO_DLOPEN) => dlopen.extend(dlopen_note::parse(payload).unwrap_or_default()),
                _ => {}
            }
            at = next;
        }
    }
    Ok(())
}

/// The note at an offset: owner, type, payload, and where the next one begins.
fn note<'a>(file: &Bytes<'a>, segment: &NoteSegment, at: u64) -> Option<(&'a [u8], u32, &'a [u8], u64)> {
    const WHAT: &str = "a note";
    let pad = |value: u64| value.checked_next_multiple_of(segment.align);
    let payload_at = at.checked_add(12)?;
    let owner_size = u64::from(file.u32(at, WHAT).ok()?);
    let size = u64::from(file.u32(at.checked_add(4)?, WHAT).ok()?);
    let kind = file.u32(at.checked_add(8)?, WHAT).ok()?;
    let owner = file.slice(payload_at, owner_size, WHAT).ok()?;
    // Padding is relative to the segment, which is itself aligned in every file a linker writes.
    let start = segment.range.start;
    let payload_at = start.checked_add(pad(payload_at.checked_add(owner_size)?.checked_sub(start)?)?)?;
    let end = payload_at.checked_add(size)?;
    if end > segment.range.end {
        return None;
    }
    let payload = file.slice(payload_at, size, WHAT).ok()?;
    let next = start.checked_add(pad(end.checked_sub(start)?)?)?;
    Some((owner, kind, payload, next))
}
