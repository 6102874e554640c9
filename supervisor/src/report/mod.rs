//! What happened, as data, and how it is shown. `tracing` is for developers; this is the product.

pub(crate) mod errors;
pub(crate) mod event;
pub(crate) mod human;
