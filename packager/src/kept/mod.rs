//! Original builds that are kept between runs: what they recorded, what they linked, and their trees.

mod key;
mod pack;
mod places;
mod store;
mod system;

pub(crate) use key::BuildKey;
pub(crate) use store::{KeptBuild, KeptBuilds};
