//! The patch image of an ELF file of user space.

mod caller_module;
mod dladdr;
mod exports;
mod hooks;
mod input;
mod inputs;
mod layout;
mod libraries;
mod library;
mod make;
mod new_tls;
mod padding;
mod redirects;
mod relocate;
mod replacements;
mod resolve;
mod settled;
mod tail_calls;
mod target;

pub use input::{ChangedFunction, LinkInput, LinkOutput, MovedDefinitions, NewSymbol, UnitPatch};
pub use libraries::{Export, Libraries, LibraryFiles, Sibling};
pub use make::link;
pub use replacements::NOT_IN_FILE;
