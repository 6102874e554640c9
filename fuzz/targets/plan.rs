//! A plan file, damaged behind a head whose lengths and checksum are right: as the shim reads it, and the supervisor.
#![no_main]

use std::ffi::CStr;

use libfuzzer_sys::fuzz_target;
use sonde_interp::plan::layout::{FIXED, checksum_of};
use sonde_interp::plan::{Plan, Stamp, World};

/// Where a plan has the lengths of its head and file, and the head's checksum; see `interp/src/plan/layout.rs`.
const HEAD: std::ops::Range<usize> = 12..16;
const LENGTH: std::ops::Range<usize> = 16..24;
const CHECKSUM: std::ops::Range<usize> = 24..32;

/// Everything is whole, and nothing is as it was.
struct Elsewhere;

impl World for Elsewhere {
    fn stamp_at(&self, _: &CStr) -> Stamp {
        Stamp { modified: 1, ..Stamp::ABSENT }
    }
    fn now(&self) -> u64 {
        1
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= FIXED {
        let head = u32::from_le_bytes(bytes[HEAD].try_into().unwrap()) as usize;
        let head = head.clamp(FIXED, bytes.len());
        let length = bytes.len() as u64;
        bytes[HEAD].copy_from_slice(&(head as u32).to_le_bytes());
        bytes[LENGTH].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum_of(&bytes[..head]);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
    let understood = sonde::fuzzing::plan(&bytes);
    let Some(plan) = Plan::read(&bytes) else { return assert!(!understood) };
    let _ = plan.holds(plan.program().to_bytes(), plan.stamp(), &Elsewhere);
    let _ = (plan.flags(), plan.sites(), plan.is_expired(u64::MAX), plan.build_id(), plan.loader());
    let _ = (plan.loader_cache(), plan.served_cache(), plan.body());
    let _ = (plan.bundled().count(), plan.conditions().count(), plan.objects().count());
    let _ = (plan.settled().count(), plan.provided().count(), plan.contents());
    let _ = plan.contents().presence_of(b"/nix/store/0-x/lib/libx.so");
});
