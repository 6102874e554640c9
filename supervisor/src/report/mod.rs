//! What happened, as data, and how it is shown. `tracing` is for developers; this is the product.

mod candidates;
pub(crate) mod databases;
pub(crate) mod decisions;
pub(crate) mod errors;
pub(crate) mod event;
pub(crate) mod export;
pub(crate) mod find;
mod lossy;
pub(crate) mod plan;
pub(crate) mod plans;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod trace;
pub(crate) mod watcher;
