//! The ELF files that the patch must fit, and how well the rebuild matches them.

mod collect;
mod fidelity;

pub use collect::{TargetFile, from_files, from_links, from_root};
pub use fidelity::{Fidelity, Match, Stages, match_links};
