//! Applying the fix to the prepared source tree, and keeping the line numbers of unchanged lines.

mod apply;
mod changes;
mod hook;
mod lines;
mod patchfiles;
mod scan;
mod trial;

pub(crate) use apply::{Applied, apply_fix, tree_for};
pub(crate) use changes::Changes;
pub(crate) use hook::{HOOK_COMMAND, Order, PrepAnswer, run as run_hook, settle};
pub(crate) use patchfiles::{PatchFiles, touched_files};
pub(crate) use trial::try_fix;
