//! What one program's sonames and paths resolve to: its loader, its own needs, the served cache, the host's drivers.

pub(crate) mod cache;
pub(crate) mod closure;
pub(crate) mod conditions;
pub(crate) mod draft;
pub(crate) mod drivers;
pub(crate) mod folders;
pub(crate) mod loader;
pub(crate) mod reach;
pub(crate) mod roots;
pub(crate) mod shelf;
pub(crate) mod sweep;
