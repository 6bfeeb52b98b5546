//! Scratch space of one run, and the source trees in it.

mod tree;
mod trees;
mod work;

pub(crate) use tree::Tree;
pub(crate) use work::Work;
