//! Random pairs of an original and a patched program, and the proof that a live patch makes one of the other.
//!
//! csmith writes the bulk of a program, our own features (`features/`) what it knows nothing of: jump tables,
//! static locals, strings, library calls, exceptions. A mutator makes the patched side. The oracle is the
//! cold-built patched program: what it prints after its start, the patched process has to print once its
//! variables are set back to their values at start (`driver.c`).

pub(crate) mod build;
mod campaign;
pub(crate) mod csmith;
pub(crate) mod feature;
mod listing;
mod mutate;
pub(crate) mod pair;
pub(crate) mod plan;
pub(crate) mod process;
mod program;
mod sanitize;

pub use campaign::{Campaign, Summary};
pub use pair::Outcome;
