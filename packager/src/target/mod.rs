//! The ELF files that the patch must fit, and how well the rebuild matches them.

mod adopt;
mod causes;
mod collect;
mod fidelity;
mod identity;

pub(crate) use adopt::adopt_shipped;
pub(crate) use causes::causes;
pub(crate) use collect::is_linked;
pub(crate) use collect::{TargetFile, from_files, from_links, from_root, strays};
pub(crate) use fidelity::{Fidelity, Match, Stages, match_links};
pub(crate) use identity::check_targets;
