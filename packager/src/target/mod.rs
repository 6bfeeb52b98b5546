//! The ELF files that the patch must fit, and how well the rebuild matches them.

mod adopt;
mod collect;
mod fidelity;

pub use adopt::adopt_shipped;
pub(crate) use collect::is_linked;
pub use collect::{TargetFile, from_files, from_links, from_root, strays};
pub use fidelity::{Fidelity, Match, Stages, match_links};
