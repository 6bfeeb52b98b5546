//! What the crate answers.

mod diff;
mod patch_object;
mod sources;

pub use diff::*;
pub use patch_object::*;
pub use sources::*;
