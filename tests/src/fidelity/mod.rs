//! Random programs built in pairs that differ in one thing, and the proof that a patch made for one of them
//! is not taken for one that fits the other.
//!
//! The sources of a program have marks: places where its target may have been built otherwise, and places
//! where a fix changes it. One side is the rebuild, the other the target. Where the engine says that they are
//! the same, the patch is applied to the running target, which then has to do what its own sources with the
//! fix do.

mod campaign;
mod judge;
mod marks;
mod model;
mod rebuild;
mod summary;
mod vary;

pub use campaign::Campaign;
pub use summary::Summary;
