//! What the crate answers.

mod diff;
mod kernel_options;
mod patch_object;
mod sources;

pub use diff::*;
pub use kernel_options::*;
pub use patch_object::*;
pub use sources::*;
