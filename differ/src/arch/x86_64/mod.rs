//! x86-64.

mod counts;
mod decode;
mod escape;
mod kept;
mod labels;
mod machine;
mod members;
mod operands;
mod reads;
pub mod relocations;

pub use machine::MACHINE;
pub(super) use machine::X86_64;
