//! Where the loader looks for a library before it asks its cache: `ld.so`'s lookup order as a pure function.
//!
//! It answers what a program finds by itself, so that only the rest is provided. It opens nothing: the caller
//! tries the folders, in the program's own root.

mod order;
mod tokens;

pub use order::{Folder, Requester, Rule, folders};
pub use tokens::expand;
