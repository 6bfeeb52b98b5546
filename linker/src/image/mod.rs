//! The patch image of an ELF file of user space.

mod asked_where;
pub(crate) mod epilogue;
mod exports;
mod far_data;
mod getter;
mod hooks;
pub(crate) mod input;
pub(crate) mod inside;
mod join;
mod layout;
mod libraries;
mod library;
mod new_tls;
mod padding;
mod redirect;
mod relocate;
mod resolve;
mod settled;
mod tail_calls;
mod target;
mod tls;

pub use input::{ChangedFunction, Elsewhere, LinkInput, LinkOutput, NewSymbol, SiblingUse, UnitPatch};
pub use join::link;
pub use libraries::{Export, Libraries, LibraryFiles, Sibling};
