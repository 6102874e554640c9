//! What one program's sonames resolve to: its loader, its own needs, the served cache.

pub(crate) mod cache;
pub(crate) mod closure;
pub(crate) mod loader;
pub(crate) mod roots;
