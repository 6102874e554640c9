//! What one program's sonames and paths resolve to: its loader, its own needs, the served cache, the host's drivers.

pub(crate) mod cache;
pub(crate) mod closure;
pub(crate) mod drivers;
pub(crate) mod folders;
pub(crate) mod loader;
pub(crate) mod roots;
