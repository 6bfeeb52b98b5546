//! The patch ELF (`foo.upatch`): what is mapped into a process, and how it is tied to its target.

mod codec;
mod debug;
mod elf;
mod model;
mod parse;
mod tables;
mod validate;

#[cfg(test)]
mod tests;

pub use debug::DebugLink;
pub use model::*;
pub use validate::validate_together;
