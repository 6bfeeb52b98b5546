//! x86-64: the decoder, the passes over the data flow, and the table of relocation types. `machine` says
//! which file answers which question.

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

pub(super) use machine::{MACHINE, X86_64};
