//! The ELF files that the patch must fit, and how well the rebuild matches them.

mod adopt;
mod collect;
mod fidelity;

pub(crate) use adopt::adopt_shipped;
pub(crate) use collect::is_linked;
pub(crate) use collect::{TargetFile, from_files, from_links, from_root, strays};
pub(crate) use fidelity::{Fidelity, Match, Stages, match_links};
