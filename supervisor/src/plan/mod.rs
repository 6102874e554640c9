//! What one program's sonames and paths resolve to: its loader, its own needs, the seeds, the served cache, the host's drivers.

pub(crate) mod cache;
pub(crate) mod closure;
pub(crate) mod conditions;
pub(crate) mod contents;
pub(crate) mod draft;
pub(crate) mod drivers;
pub(crate) mod folder;
pub(crate) mod folders;
pub(crate) mod foresight;
pub(crate) mod gate;
pub(crate) mod libraries;
pub(crate) mod loader;
pub(crate) mod objections;
pub(crate) mod permission;
pub(crate) mod prefetch;
pub(crate) mod preview;
pub(crate) mod reach;
pub(crate) mod roots;
pub(crate) mod seeds;
pub(crate) mod shelf;
pub(crate) mod supply;
pub(crate) mod sweep;
pub(crate) mod targets;
