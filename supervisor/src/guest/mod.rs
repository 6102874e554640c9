//! One supervised process, as types: its addresses, its pending open, the filter that it runs under, and how
//! it is started.

mod dlopen;
pub(crate) mod filter;
pub(crate) mod launch;
pub(crate) mod mount;
pub(crate) mod notification;
pub(crate) mod privileged;
pub(crate) mod remote;
pub(crate) mod stopped;
